//! The metrics service: one registry, one typed function or guard for each metric.
//!
//! Knows how each metric is recorded. Deliberately has no global recorder: a handle that was made
//! before a recorder is installed stays silent for ever, so whoever records is given this service.

pub mod catalogue;
mod measurement;
mod requests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub use catalogue::render_markdown;
use catalogue::{Bound, CATALOGUE, Kind, Metric};
use http::Method;
pub(crate) use measurement::{Level, Stopwatch};
use metrics::{Counter, Gauge, Histogram, Key, Label, Level as Verbosity, Metadata, Recorder as _};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
pub(crate) use requests::Request;
use requests::Requests;

use crate::config::Buckets;

const METADATA: Metadata<'static> = Metadata::new("server", Verbosity::INFO, None);

/// Whether nothing is recorded: only the bench that measures what recording costs is built so.
const WITHOUT: bool = cfg!(feature = "without-metrics");

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

/// The ports of the server, as the label `port` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// Where clients connect.
    Public,
    /// Where metrics are served.
    Management,
}

impl Port {
    fn label(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Management => "management",
        }
    }
}

/// The queues of the server, as the label `type` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Messages on their way to one session.
    Outbound,
    /// Acks on their way to the database.
    Ack,
    /// Messages on their way to the database, whose senders wait for the answer.
    Store,
}

impl Queue {
    /// Each at the place of its discriminant.
    const ALL: [Self; 3] = [Self::Outbound, Self::Ack, Self::Store];

    fn label(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Ack => "ack",
            Self::Store => "store",
        }
    }
}

/// The registry of all metrics.
pub struct MetricsService {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    requests: Requests,
    active_connections: Gauge,
    queue_depths: [Gauge; Queue::ALL.len()],
    sessions_opened: Counter,
    messages_sent: Counter,
    messages_received: Counter,
    events_published: Counter,
    events_missed: Counter,
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
        let counter = |metric: Metric| match WITHOUT {
            true => Counter::noop(),
            false => recorder.register_counter(&key(metric, []), &METADATA),
        };
        let gauge = |key: Key| match WITHOUT {
            true => Gauge::noop(),
            false => recorder.register_gauge(&key, &METADATA),
        };
        Ok(Self {
            handle: recorder.handle(),
            requests: Requests::new(),
            active_connections: gauge(key(catalogue::ACTIVE_CONNECTIONS, [])),
            queue_depths: Queue::ALL
                .map(|queue| gauge(key(catalogue::CHANNEL_DEPTH, [queue.label()]))),
            sessions_opened: counter(catalogue::WS_SESSIONS_OPENED),
            messages_sent: counter(catalogue::WS_MESSAGES_SENT),
            events_published: counter(catalogue::BUS_EVENTS_PUBLISHED),
            events_missed: counter(catalogue::BUS_EVENTS_MISSED),
            messages_received: counter(catalogue::WS_MESSAGES_RECEIVED),
            db_connect: recorder.register_histogram(&key(catalogue::DB_CONNECT, []), &METADATA),
            recorder,
        })
    }

    /// Makes every series whose labels are known from the start: a rate needs something to begin from.
    pub(crate) fn declare(&self) {
        for &metric in CATALOGUE {
            for labels in every_value(metric.labels) {
                match metric.kind {
                    Kind::Counter => self.counter(metric, labels).increment(0),
                    Kind::Gauge => self.gauge(metric, labels).set(0),
                    Kind::Histogram(_) => drop(self.histogram(metric, labels)),
                }
            }
        }
        self.requests.declare(self);
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
    pub(crate) fn observe_request(
        self: &Arc<Self>,
        method: &Method,
        matched: Option<&str>,
    ) -> Request {
        Request::start(self, method, matched)
    }

    /// Counts an accepted connection for as long as the guard lives.
    pub(crate) fn hold_http_connection(&self, port: Port) -> Level {
        Level::hold(&self.gauge(catalogue::HTTP_CONNECTIONS, [port.label()]))
    }

    /// Counts a connection that ended before its last request was answered.
    pub(crate) fn count_connection_error(&self, port: Port, cause: &'static str) {
        self.counter(catalogue::HTTP_CONNECTION_ERRORS, [port.label(), cause])
            .increment(1);
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

    /// Counts a data message that was written to a WebSocket.
    pub(crate) fn count_message_sent(&self) {
        self.messages_sent.increment(1);
    }

    /// Counts a data message that was read from a WebSocket.
    pub(crate) fn count_message_received(&self) {
        self.messages_received.increment(1);
    }

    /// Counts a failure to accept.
    pub(crate) fn count_accept_error(&self, port: Port) {
        self.counter(catalogue::HTTP_ACCEPT_ERRORS, [port.label()])
            .increment(1);
    }

    /// Starts to measure a wait for a database connection.
    pub(crate) fn time_pool_wait(self: &Arc<Self>) -> Stopwatch {
        Stopwatch::start(self, catalogue::DB_POOL_WAIT, None)
    }

    /// Starts to measure a statement.
    pub(crate) fn time_query(self: &Arc<Self>, statement: &'static str) -> Stopwatch {
        Stopwatch::start(self, catalogue::DB_QUERY, Some(statement))
    }

    /// Counts an item in a queue for as long as the guard lives.
    pub(crate) fn hold_queued(&self, queue: Queue) -> Level {
        Level::hold(&self.queue_depths[queue as usize])
    }

    /// Counts an item that a full queue refused.
    pub(crate) fn count_dropped(&self, queue: Queue) {
        self.counter(catalogue::CHANNEL_DROPPED, [queue.label()])
            .increment(1);
    }

    /// Counts an event that was handed to the message bus.
    pub(crate) fn count_event_published(&self) {
        self.events_published.increment(1);
    }

    /// Counts events that the gateway was too slow to take from the message bus.
    pub(crate) fn count_events_missed(&self, events: u64) {
        self.events_missed.increment(events);
    }

    /// Shows the state of a circuit breaker.
    pub(crate) fn show_breaker(&self, breaker: &'static str, state: f64) {
        self.gauge(catalogue::BREAKER_STATE, [breaker]).set(state);
    }

    /// Counts a circuit breaker's change of state.
    pub(crate) fn count_breaker_transition(&self, breaker: &'static str, to: &'static str) {
        self.counter(catalogue::BREAKER_TRANSITIONS, [breaker, to])
            .increment(1);
    }

    /// Starts to measure an upload to S3.
    pub(crate) fn time_upload(self: &Arc<Self>) -> Stopwatch {
        Stopwatch::start(self, catalogue::S3_UPLOAD, None)
    }

    /// Starts to measure a download from S3.
    pub(crate) fn time_download(self: &Arc<Self>) -> Stopwatch {
        Stopwatch::start(self, catalogue::S3_DOWNLOAD, None)
    }

    /// Records the opening of a database connection.
    pub(crate) fn record_connect(&self, duration: Duration) {
        self.db_connect.record(duration);
    }

    fn gauge(&self, metric: Metric, labels: impl AsRef<[&'static str]>) -> Gauge {
        if WITHOUT {
            return Gauge::noop();
        }
        self.recorder
            .register_gauge(&key(metric, labels), &METADATA)
    }

    fn counter(&self, metric: Metric, labels: impl AsRef<[&'static str]>) -> Counter {
        if WITHOUT {
            return Counter::noop();
        }
        self.recorder
            .register_counter(&key(metric, labels), &METADATA)
    }

    fn histogram(&self, metric: Metric, labels: impl AsRef<[&'static str]>) -> Histogram {
        if WITHOUT {
            return Histogram::noop();
        }
        self.recorder
            .register_histogram(&key(metric, labels), &METADATA)
    }
}

fn key(metric: Metric, values: impl AsRef<[&'static str]>) -> Key {
    let values = values.as_ref();
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    let labels = metric.labels.iter().zip(values);
    let labels = labels.map(|(label, value)| {
        debug_assert!(
            label.values.is_empty() || label.values.contains(value),
            "{}: {value} is no {}",
            metric.name,
            label.name
        );
        Label::from_static_parts(label.name, value)
    });
    Key::from_parts(metric.name, labels.collect::<Vec<_>>())
}

/// Every way to give these labels a value; none where a label's values are not known.
fn every_value(labels: &[catalogue::Label]) -> Vec<Vec<&'static str>> {
    let mut ways = vec![Vec::new()];
    for label in labels {
        let longer = |way: &Vec<&'static str>| {
            let values = label.values.iter();
            let ways = values.map(|value| [&way[..], &[*value]].concat());
            ways.collect::<Vec<_>>()
        };
        ways = ways.iter().flat_map(longer).collect();
    }
    ways
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
