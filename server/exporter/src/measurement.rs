//! What is measured from the making of a value to its drop: levels and durations.
//!
//! Knows that every way out of a scope is a drop: a return, a `?`, a panic, a task that is aborted.
//! Deliberately offers no way to count only one end.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use metrics::{Gauge, Histogram};

/// The outcome of what was dropped before its end.
pub const CANCELLED: &str = "cancelled";

/// Counts one thing in a gauge, from its making to its drop.
///
/// ```
/// # exporter::catalogue! {
/// #     /// One.
/// #     CATALOGUE: JOBS = gauge, "running_jobs" [] "jobs" "Jobs that run.";
/// # }
/// # let registry = exporter::Registry::new(&[CATALOGUE]).unwrap();
/// let running = registry.gauge(&JOBS, []);
/// let job = exporter::Level::hold(&running);
/// assert!(registry.render().contains("running_jobs 1"));
/// drop(job);
/// assert!(registry.render().contains("running_jobs 0"));
/// ```
#[must_use = "what is dropped at once is counted for no time"]
pub struct Level(Gauge);

impl Level {
    /// One more, until it is dropped.
    pub fn hold(gauge: &Gauge) -> Self {
        gauge.increment(1);
        Self(gauge.clone())
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Level").finish_non_exhaustive()
    }
}

/// The histograms of one measurement, by its outcome. Cheap to clone.
#[derive(Clone)]
pub struct Outcomes(Arc<[(&'static str, Histogram)]>);

impl Outcomes {
    /// The outcomes with these names, each in the histogram that `bind` returns for it. One of them is to be
    /// [`CANCELLED`]: it is what a measurement comes to that is dropped.
    pub fn new(names: &[&'static str], mut bind: impl FnMut(&'static str) -> Histogram) -> Self {
        let bound = names.iter().map(|&name| (name, bind(name)));
        let outcomes = Self(bound.collect());
        debug_assert!(
            outcomes.of(CANCELLED).is_some(),
            "{names:?}: no {CANCELLED}"
        );
        outcomes
    }

    fn of(&self, name: &str) -> Option<&Histogram> {
        let mut outcomes = self.0.iter();
        outcomes.find_map(|(known, histogram)| (*known == name).then_some(histogram))
    }
}

impl fmt::Debug for Outcomes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        formatter.debug_list().entries(names).finish()
    }
}

/// Measures from its making to its drop; unless told otherwise the outcome is [`CANCELLED`].
#[derive(Debug)]
#[must_use = "what is dropped at once measures nothing"]
pub struct Stopwatch {
    outcomes: Outcomes,
    outcome: &'static str,
    start: Instant,
    elapsed: Option<Duration>,
}

impl Stopwatch {
    /// Starts to measure.
    pub fn start(outcomes: &Outcomes) -> Self {
        Self {
            outcomes: outcomes.clone(),
            outcome: CANCELLED,
            start: Instant::now(),
            elapsed: None,
        }
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Ends the measurement now.
    pub fn finish(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }

    /// Ends the measurement as of `elapsed` after its start.
    pub fn finish_at(mut self, outcome: &'static str, elapsed: Duration) {
        self.outcome = outcome;
        self.elapsed = Some(elapsed);
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        let elapsed = self.elapsed.unwrap_or_else(|| self.start.elapsed());
        let outcome = self.outcomes.of(self.outcome);
        debug_assert!(
            outcome.is_some(),
            "{:?}: no {}",
            self.outcomes,
            self.outcome
        );
        if let Some(outcome) = outcome {
            outcome.record(elapsed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Registry, label};

    crate::catalogue! {
        /// One.
        CATALOGUE:
        WORK = histogram(crate::FAST), "work_seconds" [label("outcome", &["ok", CANCELLED])] "seconds"
            "Work.";
    }

    #[test]
    fn what_is_dropped_was_cancelled_and_what_is_finished_was_not() {
        let registry = Registry::new(&[CATALOGUE]).unwrap();
        let bind = |outcome| registry.histogram(&WORK, [outcome]);
        let outcomes = Outcomes::new(&["ok", CANCELLED], bind);
        Stopwatch::start(&outcomes).finish("ok");
        Stopwatch::start(&outcomes).finish_at("ok", Duration::from_secs(2));
        drop(Stopwatch::start(&outcomes));
        let page = registry.render();
        for line in [
            "work_seconds_count{outcome=\"ok\"} 2",
            "work_seconds_bucket{outcome=\"ok\",le=\"1\"} 1",
            "work_seconds_bucket{outcome=\"ok\",le=\"2.5\"} 2",
            "work_seconds_count{outcome=\"cancelled\"} 1",
        ] {
            assert!(page.contains(line), "{line}: {page}");
        }
    }
}
