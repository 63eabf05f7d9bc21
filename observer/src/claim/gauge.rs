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

/// What a service says of its connections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claim {
    /// The sum over the matching series: whole and finite, negative where the service says so.
    /// Unit: connections.
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
    #[error("no series matches the selector ({same_name} of the same metric do not)")]
    Missing {
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
    /// A series, or the sum, is NaN.
    #[error("the value is not a number (NaN)")]
    NotANumber,
    /// A series, or the sum, is +Inf or -Inf.
    #[error("the value is infinite")]
    Infinite,
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
            same_name: sum.same_name,
        }),
        None => Ok(Claim {
            value: finite(sum.value)?,
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
        if finite(value)?.fract() != 0.0 {
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

fn finite(value: f64) -> Result<f64, ClaimError> {
    if value.is_nan() {
        Err(ClaimError::NotANumber)
    } else if value.is_infinite() {
        Err(ClaimError::Infinite)
    } else {
        Ok(value)
    }
}
