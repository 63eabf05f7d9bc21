//! The registry: every series of every declared metric, and the handles by which they are recorded.
//!
//! Knows what was counted. Deliberately is no global recorder, and nothing installs it: who records is
//! given handles, so two registries in one process, as in tests, do not see each other, and a recorder
//! that is installed for the macros of `metrics` keeps its own numbers beside this one's.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use metrics::{Counter, Gauge, Histogram};

use crate::{
    declaration::{Declaration, Kind, Label, Metric, in_units},
    exposition::{Format, Page, Value},
    histogram::Buckets,
};

/// Why a registry cannot be built.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryError {
    /// Two declarations have one name.
    #[error("the metric `{name}` is declared twice")]
    Twice {
        /// The name.
        name: &'static str,
    },
    /// Buckets were configured for a name that is no histogram.
    #[error("buckets: there is no histogram named `{name}`")]
    NoSuchHistogram {
        /// The name as configured.
        name: String,
    },
    /// Bounds are missing, not finite or not ascending.
    #[error("buckets of `{name}`: bounds must be finite numbers in ascending order")]
    Bounds {
        /// The histogram's name.
        name: &'static str,
    },
}

/// Every metric of a service. Cheap to clone: all clones are the same registry.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

/// What is done before a page is rendered.
type Read = Box<dyn Fn() + Send + Sync>;

/// What writes at the end of a page.
type Write = Box<dyn Fn(&mut Page) + Send + Sync>;

struct Inner {
    /// In the order of the catalogues, which is that of the page.
    families: Vec<Family>,
    places: HashMap<&'static str, usize>,
    at_scrape: Mutex<Vec<Read>>,
    appended: Mutex<Vec<Write>>,
    is_silent: bool,
}

/// One metric and its series.
struct Family {
    declaration: Declaration,
    bounds: Vec<f64>,
    /// In the order in which they were first asked for.
    series: Mutex<Vec<Series>>,
}

struct Series {
    values: Vec<Cow<'static, str>>,
    cell: Cell,
}

/// Where a series keeps its value.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Counter(Arc<AtomicU64>),
    /// The bits of an `f64`.
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<Buckets>),
}

impl Registry {
    /// A registry of these catalogues. Each series whose labels are known from the start is there from
    /// the start, at zero: a rate needs something to begin from.
    ///
    /// # Errors
    /// When a name is declared twice.
    pub fn new(catalogues: &[&[Declaration]]) -> Result<Self, RegistryError> {
        Self::build(catalogues, &BTreeMap::new(), false)
    }

    /// As [`Self::new`]; `buckets` replaces the declared bounds of the histograms that it names.
    ///
    /// # Errors
    /// When `buckets` names something else than a histogram, its bounds are not ascending, or a name is
    /// declared twice.
    pub fn with_buckets(
        catalogues: &[&[Declaration]],
        buckets: &BTreeMap<String, Vec<f64>>,
    ) -> Result<Self, RegistryError> {
        Self::build(catalogues, buckets, false)
    }

    /// A registry that records nothing: to measure what recording costs.
    ///
    /// # Errors
    /// When a name is declared twice.
    pub fn silent(catalogues: &[&[Declaration]]) -> Result<Self, RegistryError> {
        Self::build(catalogues, &BTreeMap::new(), true)
    }

    fn build(
        catalogues: &[&[Declaration]],
        buckets: &BTreeMap<String, Vec<f64>>,
        is_silent: bool,
    ) -> Result<Self, RegistryError> {
        let mut families = Vec::new();
        let mut places = HashMap::new();
        for &declaration in catalogues.iter().copied().flatten() {
            let name = declaration.name;
            if places.insert(name, families.len()).is_some() {
                return Err(RegistryError::Twice { name });
            }
            families.push(Family::new(declaration, buckets)?);
        }
        let is_histogram = |name: &String| {
            let place = places.get(name.as_str());
            place.is_some_and(|&place| families[place].is_histogram())
        };
        if let Some(name) = buckets.keys().find(|name| !is_histogram(name)) {
            return Err(RegistryError::NoSuchHistogram { name: name.clone() });
        }
        if !is_silent {
            families.iter().for_each(Family::declare);
        }
        Ok(Self(Arc::new(Inner {
            families,
            places,
            at_scrape: Mutex::default(),
            appended: Mutex::default(),
            is_silent,
        })))
    }

    /// The counter with these values of its labels.
    pub fn counter<const LABELS: usize>(
        &self,
        metric: &Metric<Counter, LABELS>,
        labels: [&'static str; LABELS],
    ) -> Counter {
        match self.cell(metric, labels.map(Cow::Borrowed).into()) {
            Some(Cell::Counter(value)) => Counter::from_arc(value),
            _ => Counter::noop(),
        }
    }

    /// The gauge with these values of its labels.
    pub fn gauge<const LABELS: usize>(
        &self,
        metric: &Metric<Gauge, LABELS>,
        labels: [&'static str; LABELS],
    ) -> Gauge {
        match self.cell(metric, labels.map(Cow::Borrowed).into()) {
            Some(Cell::Gauge(value)) => Gauge::from_arc(value),
            _ => Gauge::noop(),
        }
    }

    /// The histogram with these values of its labels.
    pub fn histogram<const LABELS: usize>(
        &self,
        metric: &Metric<Histogram, LABELS>,
        labels: [&'static str; LABELS],
    ) -> Histogram {
        match self.cell(metric, labels.map(Cow::Borrowed).into()) {
            Some(Cell::Histogram(buckets)) => Histogram::from_arc(buckets),
            _ => Histogram::noop(),
        }
    }

    /// What a series has come to: the value of a counter or a gauge, how often a histogram was recorded. It is
    /// for tests; `None` where nothing is recorded.
    #[must_use]
    pub fn value<Handle, const LABELS: usize>(
        &self,
        metric: &Metric<Handle, LABELS>,
        labels: [&'static str; LABELS],
    ) -> Option<f64> {
        // Counts are far below 2^53.
        let cell = self.cell(metric, labels.map(Cow::Borrowed).into());
        cell.map(|cell| match cell {
            Cell::Counter(value) => value.load(Relaxed) as f64,
            Cell::Gauge(value) => f64::from_bits(value.load(Relaxed)),
            Cell::Histogram(buckets) => buckets.read().count as f64,
        })
    }

    /// Has something done before each page is rendered, such as reading a number where it is true. It may
    /// use handles, and not the registry itself.
    pub fn at_scrape(&self, read: impl Fn() + Send + Sync + 'static) {
        locked(&self.0.at_scrape).push(Box::new(read));
    }

    /// Has something written at the end of each page, such as what another recorder has.
    pub fn append(&self, write: impl Fn(&mut Page) + Send + Sync + 'static) {
        locked(&self.0.appended).push(Box::new(write));
    }

    /// The page in Prometheus' text format 0.0.4. Takes up to milliseconds: not for async threads.
    #[must_use]
    pub fn render(&self) -> String {
        self.render_as(Format::Text)
    }

    /// The page in a format. Takes up to milliseconds: not for async threads.
    #[must_use]
    pub fn render_as(&self, format: Format) -> String {
        let mut page = Page::new(format);
        locked(&self.0.at_scrape).iter().for_each(|read| read());
        for family in &self.0.families {
            family.render(&mut page);
        }
        for write in &*locked(&self.0.appended) {
            write(&mut page);
        }
        page.finish()
    }

    /// Whether nothing is recorded.
    pub(crate) fn is_silent(&self) -> bool {
        self.0.is_silent
    }

    /// Where a series is kept; nowhere, if nothing is recorded or the metric is not in the catalogues.
    pub(crate) fn cell<Handle, const LABELS: usize>(
        &self,
        metric: &Metric<Handle, LABELS>,
        values: Vec<Cow<'static, str>>,
    ) -> Option<Cell> {
        let name = metric.declaration().name;
        let place = self.0.places.get(name);
        debug_assert!(place.is_some(), "{name} is in no catalogue of its registry");
        if self.0.is_silent {
            return None;
        }
        Some(self.0.families[*place?].cell(values))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metrics = &self.0.families.len();
        formatter
            .debug_struct("Registry")
            .field("metrics", metrics)
            .finish_non_exhaustive()
    }
}

impl Family {
    fn new(
        declaration: Declaration,
        buckets: &BTreeMap<String, Vec<f64>>,
    ) -> Result<Self, RegistryError> {
        let name = declaration.name;
        let bounds = match (declaration.kind, buckets.get(name)) {
            (Kind::Histogram(_), Some(bounds)) => bounds.clone(),
            (Kind::Histogram(bounds), None) => in_units(bounds),
            (Kind::Counter | Kind::Gauge, _) => Vec::new(),
        };
        let family = Self {
            declaration,
            bounds,
            series: Mutex::default(),
        };
        let bounds = &family.bounds;
        let is_valid = !bounds.is_empty()
            && bounds.iter().all(|bound| bound.is_finite())
            && bounds.is_sorted_by(|a, b| a < b);
        if family.is_histogram() && !is_valid {
            return Err(RegistryError::Bounds { name });
        }
        Ok(family)
    }

    fn is_histogram(&self) -> bool {
        matches!(self.declaration.kind, Kind::Histogram(_))
    }

    /// Makes every series whose labels are known.
    fn declare(&self) {
        for values in every_value(self.declaration.labels) {
            self.cell(values.into_iter().map(Cow::Borrowed).collect());
        }
    }

    fn cell(&self, values: Vec<Cow<'static, str>>) -> Cell {
        let Declaration { name, labels, .. } = self.declaration;
        let is_known = |(label, value): (&Label, &Cow<'static, str>)| {
            label.values.is_empty() || label.values.contains(&&**value)
        };
        debug_assert!(
            labels.iter().zip(&values).all(is_known),
            "{name}: {values:?} are not values of its labels"
        );
        let mut series = locked(&self.series);
        if let Some(series) = series.iter().find(|series| series.values == values) {
            return series.cell.clone();
        }
        let cell = match self.declaration.kind {
            Kind::Counter => Cell::Counter(Arc::default()),
            Kind::Gauge => Cell::Gauge(Arc::default()),
            Kind::Histogram(_) => Cell::Histogram(Arc::new(Buckets::new(&self.bounds))),
        };
        let made = cell.clone();
        series.push(Series { values, cell });
        made
    }

    fn render(&self, page: &mut Page) {
        let series = locked(&self.series);
        if series.is_empty() {
            return;
        }
        let mut family = page.family(&self.declaration);
        for Series { values, cell } in &*series {
            let value = match cell {
                Cell::Counter(value) => Value::Counter(value.load(Relaxed)),
                Cell::Gauge(value) => Value::Gauge(f64::from_bits(value.load(Relaxed))),
                Cell::Histogram(buckets) => Value::Histogram(buckets.read()),
            };
            family.sample(values, &value);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A value that was added by halves cannot be seen: each is added in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every way to give these labels a value; none where a label's values are not known.
fn every_value(labels: &[Label]) -> Vec<Vec<&'static str>> {
    let mut ways = vec![Vec::new()];
    for label in labels {
        let longer = |way: &Vec<&'static str>| {
            let values = label.values.iter();
            let ways = values.map(|value| [&way[..], &[*value]].concat());
            ways.collect::<Vec<_>>()
        };
        ways = ways.iter().flat_map(longer).collect();
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label;

    crate::catalogue! {
        /// One of each.
        CATALOGUE:
        ORDERS = counter, "orders_total" [label("outcome", &["paid", "refused"])] "orders"
            "Orders.";
        OPEN = gauge, "open_orders" [] "orders"
            "Open \"orders\".";
        PRICING = histogram(&[500_000, 1_000_000]), "pricing_seconds" [] "seconds"
            "Time.";
        VISITS = counter, "visits_total" [label("page", &[])] "visits"
            "Visits.";
    }

    #[test]
    fn a_page_begins_with_zeros_and_then_says_what_was_recorded() {
        let registry = Registry::new(&[CATALOGUE]).unwrap();
        let zeros = "\
            # HELP orders_total Orders.\n\
            # TYPE orders_total counter\n\
            orders_total{outcome=\"paid\"} 0\n\
            orders_total{outcome=\"refused\"} 0\n\n\
            # HELP open_orders Open \"orders\".\n\
            # TYPE open_orders gauge\n\
            open_orders 0\n\n\
            # HELP pricing_seconds Time.\n\
            # TYPE pricing_seconds histogram\n\
            pricing_seconds_bucket{le=\"0.5\"} 0\n\
            pricing_seconds_bucket{le=\"1\"} 0\n\
            pricing_seconds_bucket{le=\"+Inf\"} 0\n\
            pricing_seconds_sum 0\n\
            pricing_seconds_count 0\n\n";
        assert_eq!(registry.render(), zeros);

        registry.counter(&ORDERS, ["paid"]).increment(2);
        registry.gauge(&OPEN, []).set(1.5);
        registry.histogram(&PRICING, []).record(0.75);
        registry.counter(&VISITS, ["a\"b"]).increment(1);
        let page = registry.clone().render();
        for line in [
            "orders_total{outcome=\"paid\"} 2",
            "open_orders 1.5",
            "pricing_seconds_bucket{le=\"0.5\"} 0",
            "pricing_seconds_bucket{le=\"+Inf\"} 1",
            "pricing_seconds_sum 0.75",
            "visits_total{page=\"a\\\"b\"} 1",
        ] {
            assert!(page.lines().any(|said| said == line), "{line}: {page}");
        }
        assert_eq!(registry.value(&ORDERS, ["paid"]), Some(2.0));
        assert_eq!(registry.value(&OPEN, []), Some(1.5));
        assert_eq!(registry.value(&PRICING, []), Some(1.0));
    }

    #[test]
    fn what_is_configured_or_declared_wrongly_is_refused() {
        let with = |name: &str, bounds: &[f64]| {
            let buckets = BTreeMap::from([(name.to_owned(), bounds.to_vec())]);
            Registry::with_buckets(&[CATALOGUE], &buckets).map(|registry| registry.render())
        };
        let page = with("pricing_seconds", &[0.25]).unwrap();
        assert!(page.contains("le=\"0.25\""), "{page}");
        let bounds = RegistryError::Bounds {
            name: "pricing_seconds",
        };
        assert_eq!(with("pricing_seconds", &[]).unwrap_err(), bounds);
        assert_eq!(with("pricing_seconds", &[2.0, 1.0]).unwrap_err(), bounds);
        assert_eq!(with("pricing_seconds", &[f64::NAN]).unwrap_err(), bounds);
        for name in ["open_orders", "nothing"] {
            let expected = RegistryError::NoSuchHistogram { name: name.into() };
            assert_eq!(with(name, &[1.0]).unwrap_err(), expected);
        }
        let twice = Registry::new(&[CATALOGUE, CATALOGUE]).unwrap_err();
        let name = "orders_total";
        assert_eq!(twice, RegistryError::Twice { name });
    }

    #[test]
    fn a_number_is_read_where_it_is_true_and_another_page_comes_after() {
        let registry = Registry::new(&[CATALOGUE]).unwrap();
        let queue = Arc::new(Mutex::new(vec![1, 2, 3]));
        let (read, gauge) = (Arc::clone(&queue), registry.gauge(&OPEN, []));
        registry.at_scrape(move || gauge.set(locked(&read).len() as f64));
        registry.append(|page| page.push_text("another 1\n"));
        assert!(registry.render().contains("open_orders 3\n"));
        locked(&queue).clear();
        let page = registry.render();
        assert!(page.contains("open_orders 0\n"), "{page}");
        assert!(page.ends_with("\nanother 1\n"), "{page}");
    }

    #[test]
    fn a_silent_registry_has_nothing_to_say() {
        let registry = Registry::silent(&[CATALOGUE]).unwrap();
        registry.counter(&ORDERS, ["paid"]).increment(1);
        assert_eq!(registry.render(), "");
    }
}
