//! What is likely, beside what is sure: as JSON, and in the words that the page and `top` have for it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::{Lag, Likely};

/// The drift that is likely, by the lag that was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LikelyReport {
    /// Likeliest. Unit: connections.
    pub drift: i64,
    /// Least that is likely.
    pub low: i64,
    /// Greatest that is likely.
    pub high: i64,
    /// By how many checks.
    pub checks: u32,
}

/// How late the service counts, after the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LagReport {
    /// Openings.
    pub openings_seconds: f64,
    /// Closings.
    pub closings_seconds: f64,
}

impl LikelyReport {
    /// Whether the gauge is likely wrong: 0 is outside of what is likely.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.low > 0 || self.high < 0
    }
}

impl fmt::Display for LikelyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            drift,
            low,
            high,
            checks,
        } = self;
        write!(f, "{drift:+} ({low:+} to {high:+}), by {checks} checks")
    }
}

impl fmt::Display for LagReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |seconds: f64| {
            let time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
            humantime::format_duration(Duration::from_millis(time.as_millis() as u64))
        };
        let (openings, closings) = (time(self.openings_seconds), time(self.closings_seconds));
        write!(f, "openings {openings}, closings {closings}")
    }
}

impl From<Likely> for LikelyReport {
    fn from(likely: Likely) -> Self {
        Self {
            drift: likely.drift,
            low: likely.bounds.low,
            high: likely.bounds.high,
            checks: likely.checks,
        }
    }
}

impl From<Lag> for LagReport {
    fn from(lag: Lag) -> Self {
        Self {
            openings_seconds: lag.openings.as_secs_f64(),
            closings_seconds: lag.closings.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn likely(drift: i64, low: i64, high: i64) -> LikelyReport {
        LikelyReport {
            drift,
            low,
            high,
            checks: 60,
        }
    }

    #[test]
    fn a_likely_drift_and_a_lag_in_words() {
        let said = likely(5, 3, 7).to_string();
        assert_eq!(said, "+5 (+3 to +7), by 60 checks");
        let said = likely(-1, -3, 0).to_string();
        assert_eq!(said, "-1 (-3 to +0), by 60 checks");
        let lag = LagReport {
            openings_seconds: 0.0,
            closings_seconds: 0.05,
        };
        assert_eq!(lag.to_string(), "openings 0s, closings 50ms");
    }

    #[test]
    fn a_gauge_is_likely_wrong_where_no_drift_is_unlikely() {
        let off = [(5, 3, 7), (-5, -7, -3)].map(|(drift, low, high)| likely(drift, low, high));
        assert!(off.iter().all(LikelyReport::is_off));
        assert!(!likely(5, 0, 9).is_off() && !likely(-5, -9, 0).is_off());
    }
}
