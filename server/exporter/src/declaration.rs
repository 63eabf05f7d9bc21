//! What a metric is: its name, type, labels, unit, help and buckets, declared once.
//!
//! Knows no values. Deliberately has no way to make up a label's value while the service runs: values
//! are `'static`, so there are as many series as the program's text names, whatever clients send.

use std::{fmt::Write as _, marker::PhantomData};

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process ends.
    Counter,
    /// What is so now.
    Gauge,
    /// Observations counted in buckets, with these upper bounds unless configured otherwise.
    Histogram(&'static [Bound]),
}

/// An upper bound of a bucket, in millionths of the unit: microseconds, where the unit is seconds. So
/// bounds are exact and comparable.
pub type Bound = u64;

/// Bounds for work within the process or on its own disk: 100 µs to 10 s.
pub const FAST: &[Bound] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// Bounds for work that waits for networks and clients: 1 ms to 5 min.
pub const SLOW: &[Bound] = &[
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

/// One metric's declaration.
#[derive(Clone, Copy, Debug)]
pub struct Declaration {
    /// The name in the exposition.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [Label],
    /// What is counted or measured.
    pub unit: &'static str,
    /// The HELP text.
    pub help: &'static str,
}

/// A label of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name in the exposition.
    pub name: &'static str,
    /// Every value that it can have; none are named where the set is not one list, as for requests.
    pub values: &'static [&'static str],
}

/// A label, and every value that it can have.
#[must_use]
pub const fn label(name: &'static str, values: &'static [&'static str]) -> Label {
    Label { name, values }
}

/// A declared metric: `Handle` is what records it, `LABELS` how many labels it has.
///
/// Both are part of the type, so a metric that is asked for with a label too few does not compile.
#[derive(Debug)]
pub struct Metric<Handle, const LABELS: usize> {
    declaration: Declaration,
    handle: PhantomData<fn() -> Handle>,
}

impl<Handle, const LABELS: usize> Clone for Metric<Handle, LABELS> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Handle, const LABELS: usize> Copy for Metric<Handle, LABELS> {}

impl<Handle, const LABELS: usize> Metric<Handle, LABELS> {
    const fn of(
        kind: Kind,
        name: &'static str,
        labels: &'static [Label; LABELS],
        unit: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            declaration: Declaration {
                name,
                kind,
                labels,
                unit,
                help,
            },
            handle: PhantomData,
        }
    }

    /// What was declared.
    #[must_use]
    pub const fn declaration(self) -> Declaration {
        self.declaration
    }
}

/// What can be declared; see [`catalogue!`](crate::catalogue).
impl<const LABELS: usize> Metric<metrics::Counter, LABELS> {
    /// A counter.
    #[must_use]
    pub const fn counter(
        name: &'static str,
        labels: &'static [Label; LABELS],
        unit: &'static str,
        help: &'static str,
    ) -> Self {
        Self::of(Kind::Counter, name, labels, unit, help)
    }
}

impl<const LABELS: usize> Metric<metrics::Gauge, LABELS> {
    /// A gauge.
    #[must_use]
    pub const fn gauge(
        name: &'static str,
        labels: &'static [Label; LABELS],
        unit: &'static str,
        help: &'static str,
    ) -> Self {
        Self::of(Kind::Gauge, name, labels, unit, help)
    }
}

impl<const LABELS: usize> Metric<metrics::Histogram, LABELS> {
    /// A histogram with these bounds, unless the service's settings have others.
    #[must_use]
    pub const fn histogram(
        bounds: &'static [Bound],
        name: &'static str,
        labels: &'static [Label; LABELS],
        unit: &'static str,
        help: &'static str,
    ) -> Self {
        Self::of(Kind::Histogram(bounds), name, labels, unit, help)
    }
}

/// Catalogues as one Markdown table: name, type, labels, unit, meaning and buckets.
#[must_use]
pub fn render_markdown(catalogues: &[&[Declaration]]) -> String {
    let mut text = String::from(
        "| name | type | labels | unit | meaning | buckets |\n|---|---|---|---|---|---|\n",
    );
    for Declaration {
        name,
        kind,
        labels,
        unit,
        help,
    } in catalogues.iter().copied().flatten()
    {
        let labels = labels
            .iter()
            .map(|label| format!("`{}`", label.name))
            .collect::<Vec<_>>()
            .join(", ");
        let (kind, buckets) = match kind {
            Kind::Counter => ("counter", String::new()),
            Kind::Gauge => ("gauge", String::new()),
            Kind::Histogram(bounds) => ("histogram", render_bounds(bounds)),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{name}` | {kind} | {labels} | {unit} | {help} | {buckets} |"
        );
    }
    text
}

/// Bounds in the metric's unit.
pub(crate) fn in_units(bounds: &[Bound]) -> Vec<f64> {
    // Every bound is far below 2^53 millionths, so the conversion is exact before the division.
    bounds.iter().map(|&bound| bound as f64 / 1e6).collect()
}

fn render_bounds(bounds: &[Bound]) -> String {
    let texts = in_units(bounds)
        .iter()
        .map(f64::to_string)
        .collect::<Vec<_>>();
    texts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::catalogue! {
        /// Two.
        CATALOGUE:
        ORDERS = counter, "orders_total" [label("outcome", &["paid", "refused"]), label("till", &["1"])] "orders"
            "Orders.";
        PRICING = histogram(&[500, 2_000_000]), "pricing_seconds" [] "seconds"
            "Time.";
    }

    #[test]
    fn a_catalogue_is_a_table_and_its_metrics_know_their_labels() {
        let table = render_markdown(&[CATALOGUE]);
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| `orders_total` | counter | `outcome`, `till` | orders | Orders. |  |",
                "| `pricing_seconds` | histogram |  | seconds | Time. | 0.0005 2 |",
            ]
        );
        let _: Metric<metrics::Counter, 2> = ORDERS;
        let _: Metric<metrics::Histogram, 0> = PRICING;
    }
}
