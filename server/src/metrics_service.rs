//! The metrics service: one registry, one typed function or guard for each metric.
//!
//! Knows how each metric is recorded. Deliberately has no global recorder: a handle that was made
//! before a recorder is installed stays silent for ever, so whoever records is given this service.

pub mod catalogue;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

pub use catalogue::render_markdown;
use catalogue::{Bound, CATALOGUE, Kind, Metric};
use metrics::{Counter, Gauge, Histogram, Key, Label, Level as Verbosity, Metadata, Recorder as _};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::config::Buckets;

const METADATA: Metadata<'static> = Metadata::new("server", Verbosity::INFO, None);

/// Why the registry cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// Buckets were configured for a name that is no histogram.
    #[error("buckets: there is no histogram named `{name}`")]
    NoSuchHistogram {
        /// The name as configured.
        name: String,
    },
    /// Bounds are missing, not finite or not ascending.
    #[error("buckets of `{name}`: bounds must be finite numbers in ascending order")]
    Bounds {
        /// The histogram's name.
        name: String,
    },
    /// The exporter refused the bounds.
    #[error("buckets of `{name}` were refused")]
    Refused {
        /// The histogram's name.
        name: &'static str,
        /// What the exporter said.
        source: BuildError,
    },
}

/// The registry of all metrics.
pub struct MetricsService {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    http_connections: Gauge,
    active_connections: Gauge,
    sessions_opened: Counter,
    messages_received: Counter,
    accept_errors: Counter,
    db_connect: Histogram,
}

impl MetricsService {
    /// Builds the registry; `buckets` replaces the default bounds of the histograms it names.
    ///
    /// # Errors
    /// When `buckets` names something else than a histogram, or its bounds are not ascending.
    pub fn new(buckets: &Buckets) -> Result<Self, MetricsError> {
        let mut builder = PrometheusBuilder::new();
        for (name, bounds) in resolve(&buckets.0)? {
            builder = builder
                .set_buckets_for_metric(Matcher::Full(name.to_owned()), &bounds)
                .map_err(|source| MetricsError::Refused { name, source })?;
        }
        let recorder = builder.build_recorder();
        for &Metric {
            name, kind, help, ..
        } in CATALOGUE
        {
            match kind {
                Kind::Counter => recorder.describe_counter(name.into(), None, help.into()),
                Kind::Gauge => recorder.describe_gauge(name.into(), None, help.into()),
                Kind::Histogram(_) => recorder.describe_histogram(name.into(), None, help.into()),
            }
        }
        let counter = |metric: Metric| recorder.register_counter(&key(metric, []), &METADATA);
        let gauge = |metric: Metric| recorder.register_gauge(&key(metric, []), &METADATA);
        let service = Self {
            handle: recorder.handle(),
            http_connections: gauge(catalogue::HTTP_CONNECTIONS),
            active_connections: gauge(catalogue::ACTIVE_CONNECTIONS),
            sessions_opened: counter(catalogue::WS_SESSIONS_OPENED),
            messages_received: counter(catalogue::WS_MESSAGES_RECEIVED),
            accept_errors: counter(catalogue::HTTP_ACCEPT_ERRORS),
            db_connect: recorder.register_histogram(&key(catalogue::DB_CONNECT, []), &METADATA),
            recorder,
        };
        Ok(service)
    }

    /// The exposition in Prometheus' text format 0.0.4. Takes milliseconds: not for async threads.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Moves buffered observations into their histograms; without it they pile up between scrapes.
    pub fn run_upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// Starts to observe a request. Dropped unanswered, it is a client that left.
    pub(crate) fn observe_request(&self, method: &'static str, route: &'static str) -> Request<'_> {
        Request {
            service: self,
            method,
            route,
            start: Instant::now(),
            status: None,
        }
    }

    /// Counts an accepted connection for as long as the guard lives.
    pub(crate) fn hold_http_connection(&self) -> Level {
        Level::hold(&self.http_connections)
    }

    /// Counts an open session for as long as the guard lives.
    pub(crate) fn hold_session(&self) -> Level {
        self.sessions_opened.increment(1);
        Level::hold(&self.active_connections)
    }

    /// Counts a session's end.
    pub(crate) fn count_session_closed(&self, reason: &'static str) {
        self.counter(catalogue::WS_SESSIONS_CLOSED, [reason])
            .increment(1);
    }

    /// Counts a handshake that was refused.
    pub(crate) fn count_session_refused(&self, reason: &'static str) {
        self.counter(catalogue::WS_SESSIONS_REFUSED, [reason])
            .increment(1);
    }

    /// Counts a data message that was read from a WebSocket.
    pub(crate) fn count_message_received(&self) {
        self.messages_received.increment(1);
    }

    /// Counts a failure to accept.
    pub(crate) fn count_accept_error(&self) {
        self.accept_errors.increment(1);
    }

    /// Starts to measure a wait for a database connection.
    pub(crate) fn time_pool_wait(self: &Arc<Self>) -> Stopwatch {
        Stopwatch::start(self, catalogue::DB_POOL_WAIT, None)
    }

    /// Starts to measure a statement.
    pub(crate) fn time_query(self: &Arc<Self>, statement: &'static str) -> Stopwatch {
        Stopwatch::start(self, catalogue::DB_QUERY, Some(statement))
    }

    /// Records the opening of a database connection.
    pub(crate) fn record_connect(&self, duration: Duration) {
        self.db_connect.record(duration);
    }

    fn counter<const N: usize>(&self, metric: Metric, labels: [&'static str; N]) -> Counter {
        self.recorder
            .register_counter(&key(metric, labels), &METADATA)
    }

    fn histogram<const N: usize>(&self, metric: Metric, labels: [&'static str; N]) -> Histogram {
        self.recorder
            .register_histogram(&key(metric, labels), &METADATA)
    }
}

/// Counts one thing in a gauge, from its making to its drop.
pub(crate) struct Level(Gauge);

impl Level {
    fn hold(gauge: &Gauge) -> Self {
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

impl Request<'_> {
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
    fn start(service: &Arc<MetricsService>, metric: Metric, subject: Option<&'static str>) -> Self {
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

fn key<const N: usize>(metric: Metric, values: [&'static str; N]) -> Key {
    debug_assert_eq!(metric.labels.len(), N, "{}", metric.name);
    let labels = metric.labels.iter().zip(values);
    let labels = labels.map(|(name, value)| Label::from_static_parts(name, value));
    Key::from_parts(metric.name, labels.collect::<Vec<_>>())
}

/// The bounds of every histogram: as configured, else as declared.
fn resolve(
    configured: &BTreeMap<String, Vec<f64>>,
) -> Result<Vec<(&'static str, Vec<f64>)>, MetricsError> {
    let histograms = CATALOGUE.iter().filter_map(|metric| match metric.kind {
        Kind::Histogram(bounds) => Some((metric.name, bounds)),
        Kind::Counter | Kind::Gauge => None,
    });
    let histograms: Vec<(&str, &[Bound])> = histograms.collect();
    if let Some(name) = configured
        .keys()
        .find(|name| histograms.iter().all(|(n, _)| n != name))
    {
        return Err(MetricsError::NoSuchHistogram { name: name.clone() });
    }
    let resolved = histograms
        .into_iter()
        .map(|(name, declared)| match configured.get(name) {
            None => Ok((name, catalogue::seconds(declared))),
            Some(bounds) => {
                let is_valid = !bounds.is_empty()
                    && bounds.iter().all(|bound| bound.is_finite())
                    && bounds.is_sorted_by(|a, b| a < b);
                let invalid = || MetricsError::Bounds {
                    name: name.to_owned(),
                };
                is_valid.then(|| (name, bounds.clone())).ok_or_else(invalid)
            }
        });
    resolved.collect()
}
