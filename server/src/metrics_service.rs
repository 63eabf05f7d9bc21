//! The metrics service: one registry, one typed function or guard for each metric.
//!
//! Knows which metric each part of the server has. How each is counted so that it stays true is the
//! `exporter`'s business. Deliberately has no global recorder: whoever records is given this service.

pub mod catalogue;

use std::collections::HashMap;

pub use catalogue::render_markdown;
use catalogue::{CATALOGUE, STATEMENTS};
use exporter::{
    Counter, Gauge, Metric, Outcomes, Registry, RegistryError, Stopwatch,
    breaker::{Breaker, Policy},
    channel::{Receiver, Sender, channel},
    http::{Http, Metrics as HttpMetrics, RouteError},
    listener::CountedListener,
    pool, process,
    sessions::Sessions,
};
use tokio::net::TcpListener;

use crate::{
    config::Buckets,
    routes::{ANSWERS, ROUTES},
};

/// Whether nothing is recorded: only the bench that measures what recording costs is built so.
const WITHOUT: bool = cfg!(feature = "without-metrics");

/// Why the metrics cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// There is no such registry, as with buckets that are none.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A route cannot be one.
    #[error(transparent)]
    Route(#[from] RouteError),
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

/// The metrics of the pool of database connections.
pub(crate) const POOL: pool::Metrics = pool::Metrics {
    connections: catalogue::DB_POOL_CONNECTIONS,
    max_connections: catalogue::DB_POOL_MAX_CONNECTIONS,
    wait: catalogue::DB_POOL_WAIT,
    connect: catalogue::DB_CONNECT,
};

/// All metrics.
pub struct MetricsService {
    registry: Registry,
    http: Http,
    /// The depth of each queue, and what it refused.
    queues: [(Gauge, Counter); Queue::ALL.len()],
    queries: HashMap<&'static str, Outcomes>,
    uploads: Outcomes,
    downloads: Outcomes,
    messages_sent: Counter,
    messages_received: Counter,
    events_published: Counter,
}

impl MetricsService {
    /// Builds the registry; `buckets` replaces the default bounds of the histograms it names.
    ///
    /// # Errors
    /// When `buckets` names something else than a histogram, or its bounds are not ascending.
    pub fn new(buckets: &Buckets) -> Result<Self, MetricsError> {
        let registry = match WITHOUT {
            true => Registry::silent(&[CATALOGUE])?,
            false => Registry::with_buckets(&[CATALOGUE], &buckets.0)?,
        };
        process::show(&registry);
        registry
            .gauge(&catalogue::BUILD_INFO, catalogue::BUILD)
            .set(1);
        let metrics = HttpMetrics {
            requests: catalogue::HTTP_REQUESTS,
            duration: catalogue::HTTP_REQUEST_DURATION,
            in_flight: catalogue::HTTP_IN_FLIGHT,
        };
        let http = Http::new(&registry, metrics, ROUTES)?;
        for (method, route, statuses) in ANSWERS {
            http.expect(&method, route, statuses);
        }
        let queues = Queue::ALL.map(|queue| {
            let depth = registry.gauge(&catalogue::CHANNEL_DEPTH, [queue.label()]);
            let dropped = registry.counter(&catalogue::CHANNEL_DROPPED, [queue.label()]);
            (depth, dropped)
        });
        let queries = STATEMENTS.iter().map(|&statement| {
            let outcomes = Outcomes::new(&["ok", "refused", "failed", "cancelled"], |outcome| {
                registry.histogram(&catalogue::DB_QUERY, [statement, outcome])
            });
            (statement, outcomes)
        });
        let uploads = Outcomes::new(&["ok", "failed", "cancelled"], |outcome| {
            registry.histogram(&catalogue::S3_UPLOAD, [outcome])
        });
        let downloads = Outcomes::new(&["ok", "missing", "failed", "cancelled"], |outcome| {
            registry.histogram(&catalogue::S3_DOWNLOAD, [outcome])
        });
        Ok(Self {
            http,
            queues,
            queries: queries.collect(),
            uploads,
            downloads,
            messages_sent: registry.counter(&catalogue::WS_MESSAGES_SENT, []),
            messages_received: registry.counter(&catalogue::WS_MESSAGES_RECEIVED, []),
            events_published: registry.counter(&catalogue::BUS_EVENTS_PUBLISHED, []),
            registry,
        })
    }

    /// What is shown on the page.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What measures the requests on the public port.
    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    /// A port that counts its connections, at most so many at once.
    pub(crate) fn listener(
        &self,
        listener: TcpListener,
        port: Port,
        connections: usize,
    ) -> CountedListener {
        let open = [port.label()];
        let open = self.registry.gauge(&catalogue::HTTP_CONNECTIONS, open);
        let errors = self.counter(&catalogue::HTTP_ACCEPT_ERRORS, [port.label()]);
        CountedListener::with(listener, open, errors).limit(connections)
    }

    /// The list of open sessions.
    pub(crate) fn sessions(&self) -> Sessions {
        let active = self.registry.gauge(&catalogue::ACTIVE_CONNECTIONS, []);
        Sessions::with(active, self.counter(&catalogue::WS_SESSIONS_OPENED, []))
    }

    /// A queue for at most `capacity` items.
    pub(crate) fn channel<T>(&self, queue: Queue, capacity: usize) -> (Sender<T>, Receiver<T>) {
        let (depth, dropped) = self.queues[queue as usize].clone();
        channel(capacity, depth, dropped)
    }

    /// The breaker of a dependency.
    pub(crate) fn breaker(&self, name: &'static str, policy: Policy) -> Breaker {
        let state = self.registry.gauge(&catalogue::BREAKER_STATE, [name]);
        let transitions = |to| self.counter(&catalogue::BREAKER_TRANSITIONS, [name, to]);
        Breaker::new(name, policy, state, transitions)
    }

    /// Counts a connection that ended before its last request was answered.
    pub(crate) fn count_connection_error(&self, port: Port, cause: &'static str) {
        self.counter(&catalogue::HTTP_CONNECTION_ERRORS, [port.label(), cause])
            .increment(1);
    }

    /// Counts a session's end.
    pub(crate) fn count_session_closed(&self, reason: &'static str) {
        self.counter(&catalogue::WS_SESSIONS_CLOSED, [reason])
            .increment(1);
    }

    /// Counts a handshake that was refused.
    pub(crate) fn count_session_refused(&self, reason: &'static str) {
        self.counter(&catalogue::WS_SESSIONS_REFUSED, [reason])
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

    /// Starts to measure a statement.
    pub(crate) fn time_query(&self, statement: &'static str) -> Option<Stopwatch> {
        let outcomes = self.queries.get(statement);
        debug_assert!(outcomes.is_some(), "{statement} is not in the catalogue");
        outcomes.map(Stopwatch::start)
    }

    /// Counts an event that was handed to the message bus.
    pub(crate) fn count_event_published(&self) {
        self.events_published.increment(1);
    }

    /// Counts events that the gateway was too slow to take from the message bus.
    pub(crate) fn count_events_missed(&self, events: u64) {
        self.counter(&catalogue::BUS_EVENTS_MISSED, [])
            .increment(events);
    }

    /// Starts to measure an upload to S3.
    pub(crate) fn time_upload(&self) -> Stopwatch {
        Stopwatch::start(&self.uploads)
    }

    /// Starts to measure a download from S3.
    pub(crate) fn time_download(&self) -> Stopwatch {
        Stopwatch::start(&self.downloads)
    }

    /// Counts messages that were removed because nobody acked them in time.
    pub(crate) fn count_messages_expired(&self, messages: u64) {
        self.counter(&catalogue::MESSAGES_EXPIRED, [])
            .increment(messages);
    }

    /// Counts attachments that were removed because of their age.
    pub(crate) fn count_attachments_expired(&self, attachments: u64) {
        self.counter(&catalogue::ATTACHMENTS_EXPIRED, [])
            .increment(attachments);
    }

    /// Counts an object that was removed from S3 because no attachment refers to it.
    pub(crate) fn count_object_removed(&self) {
        self.counter(&catalogue::S3_OBJECTS_REMOVED, [])
            .increment(1);
    }

    fn counter<const LABELS: usize>(
        &self,
        metric: &Metric<Counter, LABELS>,
        labels: [&'static str; LABELS],
    ) -> Counter {
        self.registry.counter(metric, labels)
    }
}
