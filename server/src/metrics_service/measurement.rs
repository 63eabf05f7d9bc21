//! What is measured from the making of a value to its drop: levels, requests and durations.
//!
//! Knows that every way out of a scope is a drop. Deliberately offers no way to count only one end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use metrics::{Gauge, Key, Label, Recorder as _};

use super::{METADATA, MetricsService, WITHOUT, catalogue, catalogue::Metric};

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

/// A request under observation.
pub(crate) struct Request<'a> {
    service: &'a MetricsService,
    method: &'static str,
    route: &'static str,
    start: Instant,
    status: Option<u16>,
}

impl<'a> Request<'a> {
    pub(super) fn start(
        service: &'a MetricsService,
        method: &'static str,
        route: &'static str,
    ) -> Self {
        Self {
            service,
            method,
            route,
            start: Instant::now(),
            status: None,
        }
    }

    /// The request was answered.
    pub(crate) fn answered(mut self, status: u16) {
        self.status = Some(status);
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let &mut Self {
            service,
            method,
            route,
            start,
            status,
        } = self;
        if WITHOUT {
            return;
        }
        let status = status.unwrap_or(CLIENT_LEFT).to_string();
        let labels = vec![
            Label::from_static_parts("method", method),
            Label::from_static_parts("route", route),
            Label::new("status", status),
        ];
        let counted = Key::from_parts(catalogue::HTTP_REQUESTS.name, labels);
        service
            .recorder
            .register_counter(&counted, &METADATA)
            .increment(1);
        service
            .histogram(catalogue::HTTP_REQUEST_DURATION, [method, route])
            .record(start.elapsed());
    }
}

/// The status of a request whose client left before the answer, as nginx has it.
const CLIENT_LEFT: u16 = 499;

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
