//! Every metric, declared once: name, type, labels, unit, help and buckets.
//!
//! Knows what the metrics mean. Deliberately does not know who records them: the typed functions
//! stand in [`super::MetricsService`].

use std::fmt::Write as _;

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process ends.
    Counter,
    /// What is so now.
    Gauge,
    /// Observations counted in buckets, with these upper bounds unless configured otherwise.
    Histogram(&'static [Bound]),
}

/// An upper bound of a bucket. Unit: microseconds, so that bounds are exact and comparable.
pub type Bound = u64;

/// One metric's declaration.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name in the exposition.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [Label],
    /// What is counted or measured.
    pub unit: &'static str,
    /// The HELP text.
    pub help: &'static str,
}

/// A label of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name in the exposition.
    pub name: &'static str,
    /// Every value that it can have; none are named where the set is not one list, as for requests.
    pub values: &'static [&'static str],
}

const fn label(name: &'static str, values: &'static [&'static str]) -> Label {
    Label { name, values }
}

const METHOD: Label = label("method", &[]);
const ROUTE: Label = label("route", &[]);
const STATUS: Label = label("status", &[]);
const PORT: Label = label("port", &["public", "management"]);
const QUEUE: Label = label("type", &["outbound", "ack", "store"]);
const BREAKER: Label = label("breaker", &["database", "s3"]);

/// Why a session ended.
const ENDINGS: &[&str] = &[
    "closed_by_peer",
    "peer_gone",
    "ping_timeout",
    "slow_consumer",
    "too_big",
    "protocol",
    "not_text",
    "binary",
    "not_understood",
    "too_many_frames",
    "replaced",
    "draining",
    "aborted",
];

/// Every statement, and every transaction of a few, by its name.
const STATEMENTS: &[&str] = &[
    "create_account",
    "find_account",
    "create_attachment",
    "may_fetch",
    "store_messages",
    "pending_messages",
    "is_pending",
    "delete_acked",
    "probe",
];

/// Bounds for work within the process or on its own disk: 100 µs doubling and halving to 10 s.
const FAST: &[Bound] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// Bounds for work that waits for networks and clients: 1 ms to 5 min.
const SLOW: &[Bound] = &[
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

macro_rules! catalogue {
    ($($constant:ident = $kind:expr, $name:literal [$($label:expr),*] $unit:literal $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric {
                name: $name,
                kind: $kind,
                labels: &[$($label),*],
                unit: $unit,
                help: $help,
            };
        )+

        /// Every metric of the server, in the order of the manual.
        pub const CATALOGUE: &[Metric] = &[$($constant),+];
    };
}

catalogue! {
    HTTP_REQUESTS = Kind::Counter, "http_requests_total" [METHOD, ROUTE, STATUS] "requests"
        "HTTP requests on the public port; status 499 when the client left before the answer, route `unmatched` when no route fits, a WebSocket handshake counts as its 101.";
    HTTP_REQUEST_DURATION = Kind::Histogram(FAST), "http_request_duration_seconds" [METHOD, ROUTE] "seconds"
        "Time from a request's headers to its response's headers; a WebSocket counts only its handshake.";
    HTTP_CONNECTIONS = Kind::Gauge, "http_open_connections" [PORT] "connections"
        "Accepted TCP connections that are not closed yet, WebSockets included; port public or management.";
    HTTP_ACCEPT_ERRORS = Kind::Counter, "http_accept_errors_total" [PORT] "errors"
        "Failures to accept a connection, such as no free file descriptor; the listener waits and tries again.";
    HTTP_CONNECTION_ERRORS = Kind::Counter, "http_connection_errors_total" [PORT, label("cause", &["timeout", "parse", "incomplete", "io"])] "connections"
        "Connections that ended before their last request was answered: cause timeout (of a request's head), parse (answered 400 or 431), incomplete or io. A request whose head is not complete counts here and nowhere else.";
    ACTIVE_CONNECTIONS = Kind::Gauge, "active_connections" [] "sessions"
        "WebSocket sessions that are open: from the upgrade to the first of close frame sent, end of stream and error.";
    WS_SESSIONS_OPENED = Kind::Counter, "ws_sessions_opened_total" [] "sessions"
        "WebSocket sessions ever opened.";
    WS_SESSIONS_CLOSED = Kind::Counter, "ws_sessions_closed_total" [label("reason", ENDINGS)] "sessions"
        "WebSocket sessions ever ended, by the first reason.";
    WS_SESSIONS_REFUSED = Kind::Counter, "ws_sessions_refused_total" [label("reason", &["too_many", "draining"])] "handshakes"
        "WebSocket handshakes refused after authentication: too_many or draining.";
    WS_MESSAGES_SENT = Kind::Counter, "ws_messages_sent_total" [] "messages"
        "Data messages written to WebSockets; pings and close frames do not count.";
    WS_MESSAGES_RECEIVED = Kind::Counter, "ws_messages_received_total" [] "messages"
        "Data messages read from WebSockets, valid or not; pongs and close frames do not count.";
    CHANNEL_DEPTH = Kind::Gauge, "channel_queue_depth" [QUEUE] "messages"
        "Messages now in a queue: `outbound` (to the sessions, summed), `ack` or `store` (to the database; what one commit takes has left it).";
    CHANNEL_DROPPED = Kind::Counter, "channel_dropped_messages" [QUEUE] "messages"
        "Messages that a full queue refused. None is lost: of `outbound` and `ack` each is still in the database and is delivered later, of `store` the sender was told to try again.";
    BUS_EVENTS_PUBLISHED = Kind::Counter, "message_bus_events_published_total" [] "events"
        "Events handed to the message bus.";
    BUS_EVENTS_MISSED = Kind::Counter, "message_bus_events_missed_total" [] "events"
        "Events that the gateway was too slow to take from the message bus; the sessions then read the database instead.";
    BREAKER_STATE = Kind::Gauge, "circuit_breaker_state" [BREAKER] "state"
        "State of a circuit breaker (`database` or `s3`): 0 closed, 1 half-open, 2 open.";
    BREAKER_TRANSITIONS = Kind::Counter, "circuit_breaker_transitions_total" [BREAKER, label("to", &["closed", "half_open", "open"])] "transitions"
        "Changes of a circuit breaker's state, so that an open time between two scrapes is seen.";
    DB_POOL_WAIT = Kind::Histogram(FAST), "db_pool_wait_duration_seconds" [label("outcome", &["acquired", "failed", "cancelled"])] "seconds"
        "Time spent waiting for a database connection, without connecting and querying; outcome acquired, failed or cancelled.";
    DB_CONNECT = Kind::Histogram(FAST), "db_connect_duration_seconds" [] "seconds"
        "Time spent opening a new database connection.";
    DB_QUERY = Kind::Histogram(FAST), "db_query_duration_seconds" [label("statement", STATEMENTS), label("outcome", &["ok", "refused", "failed", "cancelled"])] "seconds"
        "Time spent executing a statement, or a transaction of all that waited for it (`store_messages`, `delete_acked`; `probe` asks a database that was left alone); outcome ok, refused (the data or a constraint said no), failed or cancelled.";
    S3_UPLOAD = Kind::Histogram(SLOW), "s3_upload_duration_seconds" [label("outcome", &["ok", "failed", "cancelled"])] "seconds"
        "Time from an upload's first byte to the stored object, as fast as the client sends; outcome ok, failed or cancelled.";
    S3_DOWNLOAD = Kind::Histogram(SLOW), "s3_download_duration_seconds" [label("outcome", &["ok", "missing", "failed", "cancelled"])] "seconds"
        "Time from asking for an object to its last byte, as fast as the client reads; outcome ok, missing (S3 has no such object), failed or cancelled.";
}

/// The catalogue as a Markdown table: name, type, labels, unit, meaning and buckets.
#[must_use]
pub fn render_markdown() -> String {
    let mut text = String::from(
        "| name | type | labels | unit | meaning | buckets |\n|---|---|---|---|---|---|\n",
    );
    for Metric {
        name,
        kind,
        labels,
        unit,
        help,
    } in CATALOGUE
    {
        let labels = labels
            .iter()
            .map(|label| format!("`{}`", label.name))
            .collect::<Vec<_>>()
            .join(", ");
        let (kind, buckets) = match kind {
            Kind::Counter => ("counter", String::new()),
            Kind::Gauge => ("gauge", String::new()),
            Kind::Histogram(bounds) => ("histogram", render_bounds(bounds)),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{name}` | {kind} | {labels} | {unit} | {help} | {buckets} |"
        );
    }
    text
}

/// The default bounds of a histogram. Unit: seconds.
pub(super) fn seconds(bounds: &[Bound]) -> Vec<f64> {
    // Every bound is far below 2^53 µs, so the conversion is exact before the division.
    bounds.iter().map(|&bound| bound as f64 / 1e6).collect()
}

fn render_bounds(bounds: &[Bound]) -> String {
    let texts = seconds(bounds)
        .iter()
        .map(f64::to_string)
        .collect::<Vec<_>>();
    texts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_follow_the_conventions() {
        for (index, metric) in CATALOGUE.iter().enumerate() {
            let name = metric.name;
            assert!(
                CATALOGUE[..index].iter().all(|other| other.name != name),
                "{name} twice"
            );
            assert!(
                name.chars()
                    .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_')),
                "{name}"
            );
            match metric.kind {
                // The mission fixes this one name without the suffix.
                Kind::Counter if name == "channel_dropped_messages" => {}
                Kind::Counter => assert!(name.ends_with("_total"), "{name}"),
                Kind::Gauge => assert!(!name.ends_with("_total"), "{name}"),
                Kind::Histogram(bounds) => {
                    assert!(name.ends_with("_seconds"), "{name}");
                    assert!(bounds.is_sorted_by(|a, b| a < b), "{name}: {bounds:?}");
                }
            }
            assert!(metric.help.ends_with('.'), "{name}");
            assert!(!metric.help.contains('|'), "{name}: breaks the table");
        }
    }

    #[test]
    fn the_manual_has_a_row_for_every_metric() {
        assert_eq!(render_markdown().lines().count(), CATALOGUE.len() + 2);
    }

    #[test]
    fn metrics_md_is_the_catalogue() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../METRICS.md");
        let page = std::fs::read_to_string(path).expect("METRICS.md");
        let section = page
            .split("<!-- server -->\n")
            .nth(1)
            .and_then(|rest| rest.split("\n## ").next())
            .expect("the server's section");
        assert_eq!(
            section,
            render_markdown(),
            "write the right side into METRICS.md"
        );
    }
}
