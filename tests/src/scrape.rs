//! Reading a `/metrics` page: one series by its exact labels, with a clear text when it is not there.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow, ensure};
use prometheus_parse::{HistogramCount, Sample, Scrape, Value};

use crate::http;

/// A page that was fetched and parsed.
#[derive(Debug)]
pub struct Page {
    samples: Vec<Sample>,
    /// The page as it came.
    pub text: String,
}

/// Fetches and parses the page at `url`.
///
/// # Errors
/// No answer, a status other than 200, or text that is no exposition.
pub async fn fetch(url: &str) -> Result<Page> {
    let answer = http::get(url).await?;
    ensure!(
        answer.status == 200,
        "GET {url}: {}: {}",
        answer.status,
        answer.body
    );
    Page::parse(answer.body).with_context(|| format!("GET {url}"))
}

impl Page {
    /// Parses the text format of Prometheus.
    ///
    /// # Errors
    /// The text has a line that is neither a sample nor a comment.
    pub fn parse(text: String) -> Result<Self> {
        let lines = text.lines().map(|line| Ok(line.to_owned()));
        let scrape = Scrape::parse(lines).context("parse the exposition")?;
        Ok(Self {
            samples: scrape.samples,
            text,
        })
    }

    /// The value of the one series with this name and exactly these labels.
    ///
    /// A histogram is asked for by its parts: `name_count`, or `name_bucket` with `le`.
    ///
    /// # Errors
    /// There is no such series; the text lists those that come close.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        self.find(name, labels).ok_or_else(|| {
            let near = self.near(name);
            let seen = if near.is_empty() {
                format!("no series of that name among {}", self.samples.len())
            } else {
                format!("there are:\n  {}", near.join("\n  "))
            };
            anyhow!("no series {}; {seen}", render(name, labels.iter().copied()))
        })
    }

    /// The sum over every series of this name, whatever its labels; 0 if there is none.
    pub fn sum(&self, name: &str) -> f64 {
        let of_name = self.samples.iter().filter(|sample| sample.metric == name);
        of_name.filter_map(plain).sum()
    }

    fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let exact = |name: &str, labels: &[(&str, &str)]| {
            self.samples.iter().find(|sample| {
                sample.metric == name
                    && sample.labels.len() == labels.len()
                    && labels
                        .iter()
                        .all(|(key, value)| sample.labels.get(key) == Some(value))
            })
        };
        if let Some(value) = exact(name, labels).and_then(plain) {
            return Some(value);
        }
        // The parser folds a histogram's buckets into one sample under the family's name.
        let family = name.strip_suffix("_bucket")?;
        let rest: Vec<(&str, &str)> = labels
            .iter()
            .copied()
            .filter(|(key, _)| *key != "le")
            .collect();
        let le: f64 = labels
            .iter()
            .find(|(key, _)| *key == "le")?
            .1
            .parse()
            .ok()?;
        match &exact(family, &rest)?.value {
            Value::Histogram(buckets) => buckets
                .iter()
                .find(|HistogramCount { less_than, .. }| *less_than == le)
                .map(|bucket| bucket.count),
            _ => None,
        }
    }

    /// Series of this name, else those whose names have most of it.
    fn near(&self, name: &str) -> Vec<String> {
        let shown = |pick: &dyn Fn(&str) -> bool| -> Vec<String> {
            self.samples
                .iter()
                .filter(|sample| pick(&sample.metric))
                .map(|sample| {
                    let labels: BTreeMap<_, _> = sample.labels.iter().collect();
                    let pairs = labels
                        .iter()
                        .map(|(key, value)| (key.as_str(), value.as_str()));
                    let value =
                        plain(sample).map_or("(histogram)".into(), |value| value.to_string());
                    format!("{} {value}", render(&sample.metric, pairs))
                })
                .collect()
        };
        let same = shown(&|metric| metric == name);
        if same.is_empty() {
            let stem = name.rsplit_once('_').map_or(name, |(stem, _)| stem);
            shown(&|metric| metric.contains(stem) || name.contains(metric))
        } else {
            same
        }
    }
}

fn plain(sample: &Sample) -> Option<f64> {
    match sample.value {
        Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => Some(value),
        Value::Histogram(_) | Value::Summary(_) => None,
    }
}

fn render<'label>(name: &str, labels: impl Iterator<Item = (&'label str, &'label str)>) -> String {
    let pairs: Vec<String> = labels
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    format!("{name}{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        Page::parse(
            "# TYPE open gauge\n\
             open{class=\"http\"} 3\n\
             open{class=\"websocket\",target=\"relay\"} 200\n\
             # TYPE took_seconds histogram\n\
             took_seconds_bucket{route=\"/\",le=\"0.1\"} 4\n\
             took_seconds_bucket{route=\"/\",le=\"+Inf\"} 5\n\
             took_seconds_sum{route=\"/\"} 0.7\n\
             took_seconds_count{route=\"/\"} 5\n"
                .into(),
        )
        .expect("parse")
    }

    #[test]
    fn a_series_is_found_by_all_its_labels() {
        let labels = [("target", "relay"), ("class", "websocket")];
        assert_eq!(page().value("open", &labels).expect("value"), 200.0);
    }

    #[test]
    fn fewer_labels_do_not_match_and_the_text_says_what_is_there() {
        let error = page().value("open", &[("class", "websocket")]);
        let text = error.expect_err("not exact").to_string();
        assert!(
            text.contains("open{class=\"websocket\",target=\"relay\"} 200"),
            "{text}"
        );
    }

    #[test]
    fn parts_of_a_histogram_are_series() {
        let page = page();
        let route = ("route", "/");
        assert_eq!(
            page.value("took_seconds_count", &[route]).expect("count"),
            5.0
        );
        let bucket = page.value("took_seconds_bucket", &[route, ("le", "0.1")]);
        assert_eq!(bucket.expect("bucket"), 4.0);
    }

    #[test]
    fn sums_go_over_all_labels() {
        assert_eq!(page().sum("open"), 203.0);
        assert_eq!(page().sum("absent"), 0.0);
    }
}
