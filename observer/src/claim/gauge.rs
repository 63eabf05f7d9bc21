//! From an exposition to a claim: the sum of the series that a selector selects.
//!
//! Pure: bytes in, a [`Claim`] or the reason why there is none out. It knows no HTTP and no check.

use std::borrow::Cow;
use std::collections::HashSet;

use super::exposition::{Entry, Exposition, Format, Kind};
use super::scanner::{Problem, Raw, SyntaxError};
use super::selector::Selector;

/// Most series that are summed. A gauge has one series a worker, a listener or a class; this
/// bounds the memory that finding duplicates takes.
pub const MAX_SERIES: usize = 10_000;

/// Largest claim, either way: 2⁵³, up to which an `f64` counts one by one.
pub const MAX_VALUE: f64 = 9_007_199_254_740_992.0;

/// What a service says of its connections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claim {
    /// The sum over the matching series: whole, within ±[`MAX_VALUE`] for each URL, and negative
    /// where the service says so. Unit: connections.
    pub value: f64,
    /// How many series matched; at least one.
    pub series: usize,
}

/// Why an exposition holds no claim.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClaimError {
    /// A line of it cannot be read, so none of it counts.
    #[error("malformed exposition")]
    Syntax(#[source] SyntaxError),
    /// No series of that name with those labels.
    #[error("no series matches {selector} ({same_name} of the same metric do not)")]
    Missing {
        /// What was asked for.
        selector: String,
        /// How many series have the name, but not the labels.
        same_name: usize,
    },
    /// The metric is declared as something that is no gauge.
    #[error("the metric is a {kind}, not a gauge")]
    WrongType {
        /// What it is declared as.
        kind: Kind,
    },
    /// The same series twice: which one is true?
    #[error("the same series is there twice, the second time in line {line}")]
    Duplicate {
        /// Where it begins the second time, from 1.
        line: usize,
    },
    /// One label twice in a series.
    #[error("a series in line {line} has a label twice")]
    DuplicateLabel {
        /// Where the series stands, from 1.
        line: usize,
    },
    /// A series with a timestamp says what was, not what is.
    #[error("the series in line {line} has a timestamp of its own, so it is not from this moment")]
    Timestamped {
        /// Where the series stands, from 1.
        line: usize,
    },
    /// More series than are summed.
    #[error("more than {MAX_SERIES} series match the selector")]
    TooManySeries,
    /// A series is NaN.
    #[error("the value is not a number (NaN)")]
    NotANumber,
    /// A series is +Inf or -Inf.
    #[error("the value is infinite")]
    Infinite,
    /// A series, or the sum, is beyond ±[`MAX_VALUE`].
    #[error("the value {value} is no count that can be checked exactly")]
    OutOfRange {
        /// The value of one series, or of all together.
        value: f64,
    },
    /// Half a connection.
    #[error("the value {value} is not a whole number of connections")]
    Fractional {
        /// The value of one series.
        value: f64,
    },
}

impl ClaimError {
    /// A stable name for the label `reason`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Syntax(SyntaxError {
                problem: Problem::Truncated,
                ..
            }) => "exposition_truncated",
            Self::Syntax(_) => "exposition_malformed",
            Self::Missing { .. } => "gauge_missing",
            Self::WrongType { .. } => "gauge_wrong_type",
            Self::Duplicate { .. } => "gauge_duplicate_series",
            Self::DuplicateLabel { .. } => "gauge_duplicate_label",
            Self::Timestamped { .. } => "gauge_timestamped",
            Self::TooManySeries => "gauge_too_many_series",
            Self::NotANumber => "gauge_not_a_number",
            Self::Infinite => "gauge_infinite",
            Self::OutOfRange { .. } => "gauge_out_of_range",
            Self::Fractional { .. } => "gauge_fractional",
        }
    }
}

/// Reads the claim out of a whole exposition.
///
/// # Errors
/// A malformed line anywhere, whatever else is wrong; else the first thing that is wrong with the
/// selected series.
pub fn read_claim(body: &[u8], format: Format, selector: &Selector) -> Result<Claim, ClaimError> {
    let mut exposition = Exposition::new(body, format);
    let mut declared = Declared::default();
    let mut sum = Sum::default();
    while let Some(entry) = exposition.next().map_err(ClaimError::Syntax)? {
        match entry {
            Entry::Type { family, kind } => declared.note(selector.name(), family, kind),
            Entry::Sample {
                name,
                value,
                has_timestamp,
            } => {
                if sum.fault.is_none() && name.unescape() == selector.name() {
                    let line = exposition.line();
                    sum.fault = sum
                        .add(exposition.labels(), selector, value, has_timestamp, line)
                        .err();
                }
            }
        }
    }
    if let Some(kind) = declared
        .wrong_kind()
        .filter(|_| sum.same_name + sum.seen.len() > 0)
    {
        return Err(ClaimError::WrongType { kind });
    }
    match sum.fault {
        Some(fault) => Err(fault),
        None if sum.seen.is_empty() => Err(ClaimError::Missing {
            selector: selector.to_string(),
            same_name: sum.same_name,
        }),
        None => Ok(Claim {
            value: in_range(sum.value)?,
            series: sum.seen.len(),
        }),
    }
}

/// What `TYPE` lines say of one metric name.
#[derive(Default)]
struct Declared {
    /// Of the family of that very name.
    own: Option<Kind>,
    /// Of a family that has such a sample, as a histogram has `NAME_count`.
    part: Option<Kind>,
}

impl Declared {
    fn note(&mut self, name: &str, family: Raw<'_>, kind: Kind) {
        let family = family.unescape();
        match name.strip_prefix(&*family) {
            Some("") => self.own = Some(kind),
            Some(suffix) if kind.suffixes().contains(&suffix) => self.part = Some(kind),
            _ => {}
        }
    }

    fn wrong_kind(&self) -> Option<Kind> {
        self.own
            .or(self.part)
            .filter(|kind| !matches!(kind, Kind::Gauge | Kind::Unknown))
    }
}

/// The selected series so far.
#[derive(Default)]
struct Sum<'a> {
    value: f64,
    /// The label sets that were added, sorted, without empty values: those equal a missing label.
    seen: HashSet<Vec<(Cow<'a, str>, Cow<'a, str>)>>,
    /// How many have the name and were not selected.
    same_name: usize,
    fault: Option<ClaimError>,
}

impl<'a> Sum<'a> {
    fn add(
        &mut self,
        labels: &[(Raw<'a>, Raw<'a>)],
        selector: &Selector,
        value: f64,
        has_timestamp: bool,
        line: usize,
    ) -> Result<(), ClaimError> {
        let mut labels: Vec<_> = labels
            .iter()
            .map(|(label, value)| (label.unescape(), value.unescape()))
            .collect();
        labels.sort_unstable();
        if labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(ClaimError::DuplicateLabel { line });
        }
        let value_of = |wanted: &str| {
            labels
                .iter()
                .find(|(label, _)| label == wanted)
                .map_or("", |(_, value)| value)
        };
        if !selector.matches(value_of) {
            self.same_name += 1;
            return Ok(());
        }
        if has_timestamp {
            return Err(ClaimError::Timestamped { line });
        }
        if in_range(value)?.fract() != 0.0 {
            return Err(ClaimError::Fractional { value });
        }
        if self.seen.len() == MAX_SERIES {
            return Err(ClaimError::TooManySeries);
        }
        labels.retain(|(_, value)| !value.is_empty());
        if !self.seen.insert(labels) {
            return Err(ClaimError::Duplicate { line });
        }
        self.value += value;
        Ok(())
    }
}

fn in_range(value: f64) -> Result<f64, ClaimError> {
    if value.is_nan() {
        Err(ClaimError::NotANumber)
    } else if value.is_infinite() {
        Err(ClaimError::Infinite)
    } else if value.abs() > MAX_VALUE {
        Err(ClaimError::OutOfRange { value })
    } else {
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selector: &str, exposition: &str, expected: Result<(f64, usize), &str>) {
        let selector = Selector::parse(selector).unwrap();
        let claim = read_claim(exposition.as_bytes(), Format::Text, &selector);
        let claim = claim.map(|claim| (claim.value, claim.series));
        assert_eq!(
            claim.as_ref().map_err(|error| error.name()),
            expected.as_ref().map_err(|name| *name),
            "{exposition:?}"
        );
    }

    fn open_metrics(selector: &str, exposition: &str, expected: Result<f64, &str>) {
        let selector = Selector::parse(selector).unwrap();
        let claim = read_claim(exposition.as_bytes(), Format::OpenMetrics, &selector);
        let claim = claim.map(|claim| claim.value);
        assert_eq!(
            claim.as_ref().map_err(|error| error.name()),
            expected.as_ref().map_err(|name| *name),
            "{exposition:?}"
        );
    }

    #[test]
    fn the_claim_is_the_sum_of_the_matching_series() {
        check("g", "# TYPE g gauge\ng 4600\n", Ok((4600.0, 1)));
        check("g", "g{w=\"1\"} 2\ngg 7\ng{w=\"2\"} 3\n", Ok((5.0, 2)));
        check("g{w=\"2\"}", "g{w=\"1\"} 2\ng{w=\"2\"} 3\n", Ok((3.0, 1)));
        check(
            "g{w!=\"2\"}",
            "g{w=\"1\"} 2\ng 10\ng{w=\"2\"} 3\n",
            Ok((12.0, 2)),
        );
        check(r#"{"g.h"}"#, r#"{"g.h",x="y"} 3"#, Ok((3.0, 1)));
        check(r#"{"g\"h"}"#, r#"{"g\"h"} 3"#, Ok((3.0, 1)));
        check(r#"g{x="a\"b\n"}"#, r#"g{x="a\"b\n"} 3"#, Ok((3.0, 1)));
        open_metrics("g", "# TYPE g gauge\ng 3 # {t=\"1\"} 3\n# EOF\n", Ok(3.0));
    }

    #[test]
    fn a_negative_claim_is_a_claim() {
        check("g", "g -7\n", Ok((-7.0, 1)));
        check("g", "g{w=\"1\"} -7\ng{w=\"2\"} 3\n", Ok((-4.0, 2)));
        check("g", "g -9007199254740992\n", Ok((-MAX_VALUE, 1)));
    }

    #[test]
    fn a_missing_claim_is_not_zero() {
        check("g", "", Err("gauge_missing"));
        check("g", "h 1\ng_total 2\n", Err("gauge_missing"));
        check("g{x=\"z\"}", "g{x=\"y\"} 1\n", Err("gauge_missing"));
        check("g", "# TYPE g gauge\n", Err("gauge_missing"));
        let selector = Selector::parse("g{x=\"z\"}").unwrap();
        let error = read_claim(b"g{x=\"y\"} 1\ng 2\n", Format::Text, &selector).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no series matches g{x=\"z\"} (2 of the same metric do not)"
        );
    }

    #[test]
    fn a_value_that_counts_nothing_is_no_claim() {
        check("g", "g NaN\n", Err("gauge_not_a_number"));
        check("g", "g +Inf\n", Err("gauge_infinite"));
        check("g", "g -Inf\n", Err("gauge_infinite"));
        check("g", "g 1e308\n", Err("gauge_out_of_range"));
        check("g", "g 1.5\n", Err("gauge_fractional"));
        check(
            "g",
            "g{w=\"1\"} 0.5\ng{w=\"2\"} 0.5\n",
            Err("gauge_fractional"),
        );
        check(
            "g",
            "g{w=\"1\"} 9007199254740992\ng{w=\"2\"} 2\n",
            Err("gauge_out_of_range"),
        );
        check("g", "g 1 1700000000000\n", Err("gauge_timestamped"));
        check("g{w=\"1\"}", "g{w=\"1\"} 1\ng{w=\"2\"} NaN\n", Ok((1.0, 1)));
    }

    #[test]
    fn the_same_series_twice_is_no_claim() {
        check("g", "g 1\ng 1\n", Err("gauge_duplicate_series"));
        check(
            "g",
            "g{a=\"1\",b=\"2\"} 1\ng{b=\"2\",a=\"1\"} 1\n",
            Err("gauge_duplicate_series"),
        );
        check("g", "g 1\ng{a=\"\"} 1\n", Err("gauge_duplicate_series"));
        check(
            "g",
            "g{a=\"\\n\"} 1\ng{a=\"\n\"} 1\n",
            Err("gauge_duplicate_series"),
        );
        check("g", "g{a=\"1\",a=\"2\"} 1\n", Err("gauge_duplicate_label"));
    }

    #[test]
    fn what_is_declared_as_no_gauge_is_no_claim() {
        let wrong = Err("gauge_wrong_type");
        check("g", "# TYPE g counter\ng 1\n", wrong);
        check("g", "# TYPE g summary\ng{quantile=\"0.5\"} 1\n", wrong);
        check("g_count", "# TYPE g histogram\ng_count 1\n", wrong);
        check(
            "g_bucket",
            "# TYPE g histogram\ng_bucket{le=\"1\"} 1\n",
            wrong,
        );
        check("g", "# TYPE g untyped\ng 1\n", Ok((1.0, 1)));
        check("g", "# TYPE h counter\ng 1\n", Ok((1.0, 1)));
        check("g_count", "# TYPE g gauge\ng_count 1\n", Ok((1.0, 1)));
        check(
            "g_count",
            "# TYPE g summary\n# TYPE g_count gauge\ng_count 1\n",
            Ok((1.0, 1)),
        );
        open_metrics(
            "g_total",
            "# TYPE g counter\ng_total 1\n# EOF\n",
            Err("gauge_wrong_type"),
        );
        open_metrics(
            "g_info",
            "# TYPE g info\ng_info 1\n# EOF\n",
            Err("gauge_wrong_type"),
        );
        open_metrics(
            "g",
            "# TYPE g stateset\ng{g=\"a\"} 1\n# EOF\n",
            Err("gauge_wrong_type"),
        );
        open_metrics(
            "g_gcount",
            "# TYPE g gaugehistogram\ng_gcount 1\n# EOF\n",
            Err("gauge_wrong_type"),
        );
        open_metrics("g", "# TYPE g unknown\ng 1\n# EOF\n", Ok(1.0));
    }

    #[test]
    fn a_malformed_line_anywhere_fails_the_whole_claim() {
        check("g", "g 1\nh\n", Err("exposition_malformed"));
        check("g", "!\ng 1\n", Err("exposition_malformed"));
        check("g", "g NaN\nh true\n", Err("exposition_malformed"));
        open_metrics("g", "g 1\n", Err("exposition_truncated"));
        open_metrics("g", "g 1\n# EOF\nh 2\n", Err("exposition_malformed"));
    }

    #[test]
    fn a_label_cannot_pass_for_a_sample() {
        let exposition = "h{x=\"\\ng 9\\n\"} 1\nh{x=\"\ng 9\n\"} 2\n# HELP g g 9\n#\n# g 9\ng 1\n";
        check("g", exposition, Ok((1.0, 1)));
    }

    #[test]
    fn series_beyond_the_limit_are_refused() {
        use std::fmt::Write as _;
        let mut exposition = String::new();
        for worker in 0..MAX_SERIES {
            writeln!(exposition, "g{{w=\"{worker}\"}} 1").unwrap();
        }
        check("g", &exposition, Ok((MAX_SERIES as f64, MAX_SERIES)));
        exposition.push_str("g 1\n");
        check("g", &exposition, Err("gauge_too_many_series"));
    }
}
