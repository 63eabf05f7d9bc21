//! What is measured from the making of a value to its drop: levels and durations.
//!
//! Knows that every way out of a scope is a drop. Deliberately offers no way to count only one end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use metrics::Gauge;

use super::{MetricsService, catalogue::Metric};

/// Counts one thing in a gauge, from its making to its drop.
pub(crate) struct Level(Gauge);

impl Level {
    pub(super) fn hold(gauge: &Gauge) -> Self {
        gauge.increment(1);
        Self(gauge.clone())
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// Measures from its making to its drop; unless told otherwise the outcome is `cancelled`.
pub(crate) struct Stopwatch {
    service: Arc<MetricsService>,
    metric: Metric,
    subject: Option<&'static str>,
    outcome: &'static str,
    start: Instant,
    elapsed: Option<Duration>,
}

impl Stopwatch {
    pub(super) fn start(
        service: &Arc<MetricsService>,
        metric: Metric,
        subject: Option<&'static str>,
    ) -> Self {
        let service = Arc::clone(service);
        let start = Instant::now();
        Self {
            service,
            metric,
            subject,
            outcome: "cancelled",
            start,
            elapsed: None,
        }
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Ends the measurement now.
    pub(crate) fn finish(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }

    /// Ends the measurement as of `elapsed` after its start.
    pub(crate) fn finish_at(mut self, outcome: &'static str, elapsed: Duration) {
        self.outcome = outcome;
        self.elapsed = Some(elapsed);
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        let elapsed = self.elapsed.unwrap_or_else(|| self.start.elapsed());
        match self.subject {
            Some(subject) => self.service.histogram(self.metric, [subject, self.outcome]),
            None => self.service.histogram(self.metric, [self.outcome]),
        }
        .record(elapsed);
    }
}
