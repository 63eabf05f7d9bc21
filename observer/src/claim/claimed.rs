//! What a service claims, and why a page that came holds no claim, whatever its form.
//!
//! Pure. It knows no form: `gauge`, `json` and `text` read those.

use std::time::{Duration, SystemTime};

use super::counters::Counters;
use super::exposition::Kind;
use super::gauge::MAX_SERIES;
use super::hints::{Instead, NoExposition};
use super::json::MAX_DOCUMENT;
use super::scanner::{Problem, SyntaxError};
use super::{Freshness, MAX_AGE_OF_SAMPLE};

/// Largest claim, either way: 2⁵³, up to which an `f64` counts one by one.
pub const MAX_VALUE: f64 = 9_007_199_254_740_992.0;

/// What a service says of its connections.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// What the page says together: whole, within ±[`MAX_VALUE`] for each URL, and negative where
    /// the service says so. Unit: connections.
    pub value: f64,
    /// How many numbers of the page it is made of, at least one: of an exposition, series.
    pub series: usize,
    /// The first of them that is negative, as text: no number of connections is.
    pub negative: Option<String>,
    /// When it was true, where the page says so.
    pub stamps: Option<Stamps>,
    /// When the processes that made the pages were started, of those that say so:
    /// `process_start_time_seconds`, as the client libraries publish it. Unit: seconds since 1970.
    pub starts: Vec<f64>,
    /// Of each page that counts openings, its counters.
    pub counters: Vec<Counters>,
}

/// When the numbers of a claim were true, by their own time stamps. Unit: ms since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamps {
    /// The earliest of them.
    pub earliest: i64,
    /// The latest of them.
    pub latest: i64,
    /// Whether every number has one; else some are from when the page was made.
    pub are_of_all: bool,
    /// When the page was made, by the same clock, where it says so.
    pub at: Option<i64>,
}

impl Claim {
    /// Of no numbers yet.
    pub(super) const fn none() -> Self {
        Self {
            value: 0.0,
            series: 0,
            negative: None,
            stamps: None,
            starts: Vec::new(),
            counters: Vec::new(),
        }
    }

    /// The sum of two claims.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            value: self.value + other.value,
            series: self.series + other.series,
            negative: self.negative.or(other.negative),
            stamps: match (self.stamps, other.stamps) {
                (Some(one), other) | (other, Some(one)) => Some(one.and(other)),
                (None, None) => None,
            },
            starts: [self.starts, other.starts].concat(),
            counters: [self.counters, other.counters].concat(),
        }
    }
}

impl Stamps {
    /// Of one number.
    #[must_use]
    pub const fn of(at: i64) -> Self {
        Self {
            earliest: at,
            latest: at,
            are_of_all: true,
            at: None,
        }
    }

    /// How old the earliest and the latest were when the page was made, by the clock of whoever made
    /// it, where it says so.
    pub(super) fn ages_then(self) -> Option<(Duration, Duration)> {
        let at = self.at?;
        let age_of =
            |then: i64| Duration::from_millis(at.saturating_sub(then).max(0).unsigned_abs());
        Some((age_of(self.earliest), age_of(self.latest)))
    }

    /// How old the earliest and the latest are `now`; what is ahead of it is of now.
    ///
    /// # Errors
    /// When one of them is farther from now than it may be.
    pub fn ages(
        self,
        now: SystemTime,
        freshness: Freshness,
    ) -> Result<(Duration, Duration), ClaimError> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
        let age_of = |at: i64| {
            let difference = Duration::from_millis(now.abs_diff(at));
            match at > now {
                true if difference > freshness.ahead => {
                    Err(ClaimError::Future { ahead: difference })
                }
                true => Ok(Duration::ZERO),
                false if difference > freshness.age => Err(ClaimError::Stale {
                    age: difference,
                    limit: freshness.age,
                }),
                false => Ok(difference),
            }
        };
        Ok((age_of(self.earliest)?, age_of(self.latest)?))
    }

    /// From the earlier to the later of both.
    pub(super) fn and(self, other: Option<Self>) -> Self {
        other.map_or(self, |other| Self {
            earliest: self.earliest.min(other.earliest),
            latest: self.latest.max(other.latest),
            are_of_all: self.are_of_all && other.are_of_all,
            // Two pages are of two moments.
            at: self.at.filter(|at| Some(*at) == other.at),
        })
    }
}

/// Why a page holds no claim.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClaimError {
    /// A line of it cannot be read, so none of it counts.
    #[error("malformed exposition")]
    Syntax(#[source] SyntaxError),
    /// Nothing of it is an exposition.
    #[error("{0}")]
    NoExposition(NoExposition, #[source] SyntaxError),
    /// No series of that name with those labels.
    #[error("no series matches {selector}: {there_is}")]
    Missing {
        /// What was asked for.
        selector: String,
        /// What there is instead.
        there_is: Instead,
    },
    /// The metric is declared as something that is no number of connections.
    #[error("{name} is a {kind}, and no number of connections")]
    WrongType {
        /// Its name, escaped.
        name: String,
        /// What it is declared as.
        kind: Kind,
    },
    /// What only goes up is added, and nothing is subtracted; or the other way round.
    #[error(
        "{name} is a counter, which only goes up: subtract what has ended, as in claim = '{instead}', \
         or say claim-type = \"counter\" to have it held against the connections that were opened"
    )]
    LoneCounter {
        /// Its name, escaped.
        name: String,
        /// An expression to write.
        instead: String,
    },
    /// What goes up and down, where openings are counted.
    #[error(
        "{name} is a gauge, and claim-type = \"counter\" needs a counter: leave claim-type out"
    )]
    NoCounter {
        /// Its name, escaped.
        name: String,
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
    /// A time stamp says what was, and what the kernel counted then is no longer known.
    #[error(
        "a time stamp on the page is {age:?} old, and fresh is what is no older than {limit:?} ({})",
        match *limit == MAX_AGE_OF_SAMPLE {
            true => "a minute between two scrapes of Prometheus, and a slow scrape",
            false => "the interval, and at most a minute",
        }
    )]
    Stale {
        /// How old.
        age: Duration,
        /// How old it may be.
        limit: Duration,
    },
    /// A time stamp that has not come yet.
    #[error(
        "a time stamp on the page is {ahead:?} ahead of this host's clock: set both clocks by NTP"
    )]
    Future {
        /// How far.
        ahead: Duration,
    },
    /// Prometheus refuses the query, or cannot answer it.
    #[error("Prometheus refuses the query: {kind}: {problem}")]
    QueryFailed {
        /// Its `errorType`, bounded and escaped.
        kind: String,
        /// Its `error`, bounded and escaped.
        problem: String,
    },
    /// JSON of something else.
    #[error("this is no answer of Prometheus' query API: {problem}")]
    NoAnswer {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An answer that says itself that something is missing.
    #[error("the answer may be incomplete: {warning}")]
    PartialAnswer {
        /// What it says, bounded and escaped.
        warning: String,
    },
    /// No sample, which is not 0.
    #[error(
        "{query} has no sample now, which is not 0: ask Prometheus for it, and for up of the same job"
    )]
    NoSample {
        /// What was asked for, bounded and escaped.
        query: String,
    },
    /// The series of one page are missing.
    #[error("{page} is down for Prometheus: its series are missing, and the rest is no claim")]
    InstanceDown {
        /// Its job and instance.
        page: String,
    },
    /// Nobody says whether pages are missing.
    #[error(
        "Prometheus has no series up of {page}, which says whether it was scraped: ask the server that scrapes it"
    )]
    NoUp {
        /// Its job and instance.
        page: String,
    },
    /// What is subtracted is of another moment.
    #[error(
        "the series of {page} are not of one scrape, so that there is no moment at which their sum was true"
    )]
    Torn {
        /// Its job and instance.
        page: String,
    },
    /// Not a JSON document, or one that is nested too deeply.
    #[error("this is no JSON: {problem}")]
    NoJson {
        /// What the parser says, and where.
        problem: String,
    },
    /// A document that is not parsed.
    #[error("the document is larger than the {MAX_DOCUMENT} bytes that are parsed")]
    DocumentTooLarge,
    /// A path that leads nowhere.
    #[error("nothing is at {path}: {there_is}")]
    NoNode {
        /// What was asked for.
        path: String,
        /// What there is instead.
        there_is: String,
    },
    /// A pattern that matches nothing.
    #[error("nothing matches '{pattern}': the text begins with \"{start}\"")]
    NoMatch {
        /// What was asked for.
        pattern: String,
        /// The first line, bounded and escaped.
        start: String,
    },
    /// Two numbers: which one is it?
    #[error("the pattern matches in line {} and in line {}: make it longer, as by ^ at its start", lines[0], lines[1])]
    MatchedTwice {
        /// Where, from 1.
        lines: [usize; 2],
    },
    /// What is selected is something else.
    #[error("{place} is {kind}, and no number")]
    NotNumber {
        /// Where it stands, bounded and escaped.
        place: String,
        /// What it is.
        kind: &'static str,
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
            Self::Syntax(_) | Self::NoExposition(..) => "exposition_malformed",
            Self::NoJson { .. } | Self::NoAnswer { .. } => "json_malformed",
            Self::QueryFailed { .. } => "query_failed",
            Self::PartialAnswer { .. } => "query_incomplete",
            Self::InstanceDown { .. } | Self::NoUp { .. } => "instance_down",
            Self::Torn { .. } => "gauge_torn",
            Self::DocumentTooLarge => "body_too_large",
            Self::Missing { .. }
            | Self::NoNode { .. }
            | Self::NoMatch { .. }
            | Self::NoSample { .. } => "gauge_missing",
            Self::MatchedTwice { .. } => "gauge_ambiguous",
            Self::WrongType { .. } | Self::LoneCounter { .. } | Self::NoCounter { .. } => {
                "gauge_wrong_type"
            }
            Self::Duplicate { .. } => "gauge_duplicate_series",
            Self::DuplicateLabel { .. } => "gauge_duplicate_label",
            Self::Stale { .. } | Self::Future { .. } => "gauge_timestamped",
            Self::TooManySeries => "gauge_too_many_series",
            Self::NotANumber | Self::NotNumber { .. } => "gauge_not_a_number",
            Self::Infinite => "gauge_infinite",
            Self::OutOfRange { .. } => "gauge_out_of_range",
            Self::Fractional { .. } => "gauge_fractional",
        }
    }

    /// Whether the page cannot be read at all, as for Prometheus a target is down then.
    pub(super) fn is_of_page(&self) -> bool {
        matches!(
            self,
            Self::Syntax(_)
                | Self::NoExposition(..)
                | Self::NoJson { .. }
                | Self::NoAnswer { .. }
                | Self::DocumentTooLarge
        )
    }
}

/// The value of one series, if it is a whole number.
pub(super) fn whole(value: f64) -> Result<f64, ClaimError> {
    match in_range(value)?.fract() {
        0.0 => Ok(value),
        _ => Err(ClaimError::Fractional { value }),
    }
}

/// A value that counts exactly.
pub(super) fn in_range(value: f64) -> Result<f64, ClaimError> {
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

    /// The ages of two time stamps at second 100, where they may be 5 s old and 1 s ahead.
    fn ages(earliest: i64, latest: i64) -> Result<(u128, u128), &'static str> {
        let stamps = Stamps {
            earliest,
            latest,
            are_of_all: true,
            at: None,
        };
        let freshness = Freshness {
            age: Duration::from_secs(5),
            ahead: Duration::from_secs(1),
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        match stamps.ages(now, freshness) {
            Ok((oldest, youngest)) => Ok((oldest.as_millis(), youngest.as_millis())),
            Err(ClaimError::Stale { .. }) => Err("stale"),
            Err(ClaimError::Future { .. }) => Err("future"),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_time_stamp_is_fresh_or_an_error() {
        assert_eq!(ages(100_000, 100_000), Ok((0, 0)));
        assert_eq!(ages(95_000, 99_999), Ok((5_000, 1)));
        assert_eq!(ages(94_999, 99_999), Err("stale"));
        assert_eq!(ages(99_000, 101_000), Ok((1_000, 0)));
        assert_eq!(ages(99_000, 101_001), Err("future"));
        assert_eq!(ages(i64::MIN, 0), Err("stale"));
        assert_eq!(ages(100_000, i64::MAX), Err("future"));
    }
}
