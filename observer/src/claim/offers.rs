//! Which series of a page may count connections, by their names: for who asks before there is a
//! selector.
//!
//! A name is a guess. Where no name says anything, whatever could be a number is offered, as a worse
//! guess. It knows no kernel, so it does not know whether the guess is right.

use std::collections::BTreeMap;

use super::exposition::{Entry, Exposition, Format, Kind};
use super::scanner::SyntaxError;
use crate::printable::is_control;

/// Most claims that are offered of one page.
const MOST: usize = 64;

/// Most series of a metric that are offered one by one.
const MOST_SERIES: usize = 16;

/// Parts of the names of gauges of connections.
const WORDS: [&str; 7] = [
    "conn",
    "session",
    "socket",
    "client",
    "subscri",
    "in_flight",
    "inprogress",
];

/// Parts of the names of what is no number of connections, or of the page's own requests only.
const OTHERS: [&str; 11] = [
    "max",
    "limit",
    "_total",
    "_bucket",
    "_sum",
    "_created",
    "seconds",
    "bytes",
    "promhttp_",
    "rate",
    "_info",
];

/// How the names begin of what libraries say of a process.
const RUNTIMES: [&str; 7] = [
    "go_",
    "process_",
    "python_",
    "nodejs_",
    "jvm_",
    "scrape_",
    "observer_",
];

/// A claim that a page may make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The metric.
    pub metric: String,
    /// A selector of all of its series, or of one.
    pub selector: String,
    /// Whether the name says that it counts connections.
    pub is_named: bool,
}

/// What a page offers, in the order of the names, of a metric first the sum of its series; those whose
/// name says nothing only where none does.
///
/// # Errors
/// When the page is no exposition.
pub fn offers(body: &[u8], format: Format) -> Result<Vec<Offer>, SyntaxError> {
    let mut metrics: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
    let mut gauges: BTreeMap<String, bool> = BTreeMap::new();
    let mut exposition = Exposition::new(body, format);
    while let Some(entry) = exposition.next()? {
        match entry {
            Entry::Type { family, kind } => {
                let is_gauge = matches!(kind, Kind::Gauge | Kind::Unknown);
                gauges.insert(family.unescape().into_owned(), is_gauge);
            }
            Entry::Sample { name, value, .. } => {
                let name = name.unescape();
                let is_gauge = gauges.get(&*name).copied().unwrap_or(true);
                if is_gauge && may_be_offered(&name) && value.fract() == 0.0 {
                    let labels = exposition.labels().iter();
                    let labels: Vec<_> = labels
                        .map(|(label, value)| (label.unescape(), value.unescape()))
                        .collect();
                    let series = metrics.entry(name.into_owned()).or_default();
                    series.push(selection(&labels));
                }
            }
        }
    }
    if metrics.keys().any(|metric| is_named(metric)) {
        metrics.retain(|metric, _| is_named(metric));
    }
    let mut offers = Vec::new();
    for (metric, series) in metrics {
        let mut selectors = vec![metric.clone()];
        if (2..=MOST_SERIES).contains(&series.len()) {
            let each = series.into_iter().flatten();
            selectors.extend(each.map(|labels| format!("{metric}{labels}")));
        }
        offers.extend(selectors.into_iter().map(|selector| Offer {
            is_named: is_named(&metric),
            metric: metric.clone(),
            selector,
        }));
    }
    offers.truncate(MOST);
    Ok(offers)
}

/// Whether a plain name sounds as if it counted connections.
fn is_named(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    WORDS.iter().any(|word| lower.contains(word))
}

/// Whether a name is plain, and does not say that it counts something else.
fn may_be_offered(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    let is_other = OTHERS.iter().any(|other| lower.contains(other));
    let is_runtime = RUNTIMES.iter().any(|runtime| lower.starts_with(runtime));
    name.bytes().all(is_plain) && !is_other && !is_runtime
}

/// What selects a series by its labels; nothing where they cannot be written plainly.
fn selection(labels: &[(impl AsRef<str>, impl AsRef<str>)]) -> Option<String> {
    let one = |(label, value): &(_, _)| {
        let (label, value): (&str, &str) = (AsRef::as_ref(label), AsRef::as_ref(value));
        let is_plain = label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let is_said = is_plain && !value.contains(is_control);
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        is_said.then(|| format!("{label}=\"{value}\""))
    };
    let labels: Option<Vec<_>> = labels.iter().map(one).collect();
    Some(format!("{{{}}}", labels?.join(",")))
}

#[cfg(test)]
mod tests {
    use super::super::Selector;
    use super::*;

    fn selectors(page: &str) -> Vec<String> {
        let offers = offers(page.as_bytes(), Format::Text).unwrap();
        offers.into_iter().map(|offer| offer.selector).collect()
    }

    #[test]
    fn gauges_that_sound_like_connections_are_offered_and_counters_are_not() {
        let page = "# TYPE accepted_connections counter\naccepted_connections 7\n\
                    # TYPE active_connections gauge\nactive_connections 3\n\
                    max_connections 100\ngo_goroutines 9\nobserver_kernel_connections 3\n\
                    half_a_session 0.5\npromhttp_metric_handler_requests_in_flight 1\n";
        assert_eq!(selectors(page), ["active_connections"]);
    }

    #[test]
    fn where_no_name_says_anything_every_gauge_is_a_guess() {
        let page = "# TYPE g gauge\ng 3\ngo_goroutines 9\n# TYPE c counter\nc 3\nh 0.5\n";
        let offers = offers(page.as_bytes(), Format::Text).unwrap();
        let told = offers
            .iter()
            .map(|offer| (&*offer.selector, offer.is_named));
        assert_eq!(told.collect::<Vec<_>>(), [("g", false)]);
        assert_eq!(selectors(&format!("{page}sessions 3\n")), ["sessions"]);
    }

    #[test]
    fn of_several_series_the_sum_is_offered_and_each_that_can_be_selected() {
        let page =
            "sessions{p=\"a\"} 1\nsessions{p=\"b\\\"\\\\\"} 2\nsessions{p=\"\u{1b}[2J\"} 3\n";
        let selectors = selectors(page);
        assert_eq!(
            selectors,
            ["sessions", "sessions{p=\"a\"}", "sessions{p=\"b\\\"\\\\\"}"]
        );
        for selector in &selectors {
            Selector::parse(selector).unwrap();
        }
    }

    #[test]
    fn what_is_offered_is_bounded() {
        let page: String = (0..1_000)
            .map(|n| format!("c{n}_connections 1\n"))
            .collect();
        assert_eq!(selectors(&page).len(), MOST);
        assert!(offers(b"no exposition at all", Format::Text).is_err());
    }
}
