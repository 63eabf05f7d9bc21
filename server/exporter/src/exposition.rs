//! A page of metrics: Prometheus' text format, and OpenMetrics for those who ask for it.
//!
//! Knows both formats; names and escapes are those of `metrics-exporter-prometheus`. Deliberately knows
//! no registry: it is told one value after the other.

use std::{
    borrow::Cow,
    fmt::{Display, Write as _},
    time::UNIX_EPOCH,
};

use http::{HeaderMap, header::ACCEPT};
use metrics::{Key, Label};
use metrics_exporter_prometheus::{
    LabelSet,
    formatting::{write_help_line, write_type_line},
};

use crate::{
    declaration::{Declaration, Kind},
    histogram::{Counted, Exemplar},
};

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.0: with the units of metrics, and an end by which a page is known to be whole.
    OpenMetrics,
}

impl Format {
    /// What a scraper asks for: OpenMetrics, if it prefers that to text or says no preference.
    #[must_use]
    pub fn asked_for(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(ACCEPT).iter();
        let accepted = accepted.filter_map(|value| value.to_str().ok());
        let accepted = accepted.flat_map(|value| value.split(','));
        let (mut open, mut text) = (0.0_f64, 0.0_f64);
        for range in accepted {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            let weight = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
            match name {
                "application/openmetrics-text" => open = open.max(weight),
                "text/plain" => text = text.max(weight),
                _ => {}
            }
        }
        match open > 0.0 && open >= text {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }

    /// The value of the header `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The value of a series.
pub(crate) enum Value {
    Counter(u64),
    Gauge(f64),
    Histogram(Counted),
}

/// A page that is being written.
#[derive(Debug)]
pub struct Page {
    text: String,
    format: Format,
}

impl Page {
    pub(crate) fn new(format: Format) -> Self {
        let text = String::new();
        Self { text, format }
    }

    /// How it is written.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Adds what is in Prometheus' text format already, such as the page of another recorder. A page in
    /// OpenMetrics leaves it out.
    pub fn push_text(&mut self, text: &str) {
        if self.format == Format::Text {
            self.text.push_str(text);
        }
    }

    /// Adds a metric of one series without labels, such as a number that the kernel counts.
    pub fn push(&mut self, declaration: &Declaration, value: f64) {
        self.family(declaration).sample(&[], &Value::Gauge(value));
    }

    /// Begins with a metric.
    pub(crate) fn family(&mut self, declaration: &Declaration) -> FamilyWriter<'_> {
        let Declaration {
            name,
            kind,
            labels,
            unit,
            help,
        } = *declaration;
        let mut family = name;
        let mut kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        if self.format == Format::OpenMetrics && kind == "counter" {
            match name.strip_suffix("_total") {
                Some(stem) => family = stem,
                // No counter is called so in OpenMetrics, and its name is what its users know.
                None => kind = "unknown",
            }
        }
        write_help_line(&mut self.text, family, None, None, help);
        write_type_line(&mut self.text, family, None, None, kind);
        let is_unit = family
            .strip_suffix(unit)
            .is_some_and(|stem| stem.ends_with('_'));
        if self.format == Format::OpenMetrics && is_unit {
            self.text.push_str(&format!("# UNIT {family} {unit}\n"));
        }
        FamilyWriter {
            name,
            labels: labels.iter().map(|label| label.name).collect(),
            page: self,
        }
    }

    /// The whole page.
    pub(crate) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// Writes the series of one metric.
pub(crate) struct FamilyWriter<'p> {
    name: &'static str,
    labels: Vec<&'static str>,
    page: &'p mut Page,
}

impl FamilyWriter<'_> {
    /// Writes a series.
    pub(crate) fn sample(&mut self, values: &[Cow<'static, str>], value: &Value) {
        let labels = self.labels.iter().zip(values);
        let labels = labels.map(|(&label, value)| Label::new(label, value.clone()));
        let key = Key::from_parts("", labels.collect::<Vec<_>>());
        // Escaped once, however many lines the series has.
        let labels = LabelSet::from_key_and_global(&key, &Default::default());
        let labels = labels.to_strings().collect::<Vec<_>>().join(",");
        match value {
            Value::Counter(count) => self.line("", &labels, None, count, None),
            Value::Gauge(value) => self.line("", &labels, None, value, None),
            Value::Histogram(Counted {
                cumulative,
                exemplars,
                count,
                sum,
            }) => {
                let exemplar = |place: usize| exemplars.get(place)?.as_ref();
                for (place, (bound, count)) in cumulative.iter().enumerate() {
                    self.line("_bucket", &labels, Some(bound), count, exemplar(place));
                }
                let above = exemplar(cumulative.len());
                self.line("_bucket", &labels, Some(&"+Inf"), count, above);
                self.line("_sum", &labels, None, sum, None);
                self.line("_count", &labels, None, count, None);
            }
        }
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: &str,
        bound: Option<&dyn Display>,
        value: &dyn Display,
        exemplar: Option<&Exemplar>,
    ) {
        let has_exemplars = self.page.format == Format::OpenMetrics;
        let (text, name) = (&mut self.page.text, self.name);
        let comma = if labels.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = match bound {
            Some(bound) => write!(
                text,
                "{name}{suffix}{{{labels}{comma}le=\"{bound}\"}} {value}"
            ),
            None if labels.is_empty() => write!(text, "{name}{suffix} {value}"),
            None => write!(text, "{name}{suffix}{{{labels}}} {value}"),
        };
        if let Some(Exemplar { trace, value, at }) = exemplar.filter(|_| has_exemplars) {
            let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
            let (trace, seconds) = (trace.as_str(), since.as_secs_f64());
            let _ = write!(text, " # {{trace_id=\"{trace}\"}} {value} {seconds:.3}");
        }
        text.push('\n');
    }
}

impl Drop for FamilyWriter<'_> {
    fn drop(&mut self) {
        // OpenMetrics has no empty lines.
        if self.page.format == Format::Text {
            self.page.text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTER: Declaration = Declaration {
        name: "orders_total",
        kind: Kind::Counter,
        labels: &[],
        unit: "orders",
        help: "Orders.",
    };

    #[test]
    fn openmetrics_has_its_own_names_units_and_an_end() {
        let mut page = Page::new(Format::OpenMetrics);
        page.family(&COUNTER).sample(&[], &Value::Counter(3));
        let dropped = Declaration {
            name: "dropped_orders",
            ..COUNTER
        };
        page.family(&dropped).sample(&[], &Value::Counter(1));
        let age = Declaration {
            name: "age_seconds",
            kind: Kind::Gauge,
            unit: "seconds",
            ..COUNTER
        };
        page.push(&age, 0.5);
        page.push_text("left out\n");
        let expected = "\
            # HELP orders Orders.\n# TYPE orders counter\norders_total 3\n\
            # HELP dropped_orders Orders.\n# TYPE dropped_orders unknown\n\
            # UNIT dropped_orders orders\ndropped_orders 1\n\
            # HELP age_seconds Orders.\n# TYPE age_seconds gauge\n# UNIT age_seconds seconds\n\
            age_seconds 0.5\n# EOF\n";
        assert_eq!(page.finish(), expected);
    }

    #[test]
    fn the_format_is_what_the_scraper_prefers() {
        let check = |accept: &str, expected| {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
            assert_eq!(Format::asked_for(&headers), expected, "{accept}");
        };
        check("", Format::Text);
        check("*/*", Format::Text);
        check("application/openmetrics-text", Format::OpenMetrics);
        // As Prometheus asks.
        check(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            Format::OpenMetrics,
        );
        check(
            "application/openmetrics-text;q=0.2, text/plain",
            Format::Text,
        );
        check("application/openmetrics-text;q=0", Format::Text);
        assert_eq!(Format::asked_for(&HeaderMap::new()), Format::Text);
    }
}
