//! Every metric, declared once: name, type, labels, unit, help and buckets.
//!
//! Knows what the metrics mean. Deliberately does not know who records them: the typed functions
//! stand in [`super::MetricsService`].

use exporter::{Declaration, FAST, Label, SLOW, breaker, catalogue, label, process};

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
pub(super) const STATEMENTS: &[&str] = &[
    "create_account",
    "find_account",
    "create_attachment",
    "may_fetch",
    "store_messages",
    "pending_messages",
    "is_pending",
    "delete_acked",
    "probe",
    "begin_upload",
    "expire_messages",
    "expire_attachments",
    "doom_objects",
    "forget_object",
];

/// Which build this is: its version, its revision and the compiler, in the order of the labels.
pub(super) const BUILD: [&str; 3] = [
    env!("CARGO_PKG_VERSION"),
    env!("SERVER_REVISION"),
    env!("SERVER_RUSTC"),
];

catalogue! {
    /// Every metric that is recorded, in the order of the manual.
    pub CATALOGUE:
    HTTP_REQUESTS = counter, "http_requests_total" [METHOD, ROUTE, STATUS] "requests"
        "HTTP requests on the public port; status 499 when the client left before the answer, route `unmatched` when no route fits, a WebSocket handshake counts as its 101.";
    HTTP_REQUEST_DURATION = histogram(FAST), "http_request_duration_seconds" [METHOD, ROUTE] "seconds"
        "Time from a request's headers to its response's headers; a WebSocket counts only its handshake.";
    HTTP_IN_FLIGHT = gauge, "http_requests_in_flight" [] "requests"
        "HTTP requests on the public port whose answer has not begun; a WebSocket counts only for its handshake.";
    HTTP_CONNECTIONS = gauge, "http_open_connections" [PORT] "connections"
        "Accepted TCP connections that are not closed yet, WebSockets included; port public or management.";
    HTTP_ACCEPT_ERRORS = counter, "http_accept_errors_total" [PORT] "errors"
        "Failures to accept a connection, such as no free file descriptor; the listener waits and tries again.";
    HTTP_CONNECTION_ERRORS = counter, "http_connection_errors_total" [PORT, label("cause", &["timeout", "parse", "incomplete", "tls", "io"])] "connections"
        "Connections that ended before their last request was answered: cause timeout (of a request's head), parse (answered 400 or 431), incomplete or io. A request whose head is not complete counts here and nowhere else.";
    ACTIVE_CONNECTIONS = gauge, "active_connections" [] "sessions"
        "WebSocket sessions that are open: from the upgrade to the first of close frame sent, end of stream and error.";
    WS_SESSIONS_OPENED = counter, "ws_sessions_opened_total" [] "sessions"
        "WebSocket sessions ever opened.";
    WS_SESSIONS_CLOSED = counter, "ws_sessions_closed_total" [label("reason", ENDINGS)] "sessions"
        "WebSocket sessions ever ended, by the first reason.";
    WS_SESSIONS_REFUSED = counter, "ws_sessions_refused_total" [label("reason", &["too_many", "draining"])] "handshakes"
        "WebSocket handshakes refused after authentication: too_many or draining.";
    WS_MESSAGES_SENT = counter, "ws_messages_sent_total" [] "messages"
        "Data messages written to WebSockets; pings and close frames do not count.";
    WS_MESSAGES_RECEIVED = counter, "ws_messages_received_total" [] "messages"
        "Data messages read from WebSockets, valid or not; pongs and close frames do not count.";
    CHANNEL_DEPTH = gauge, "channel_queue_depth" [QUEUE] "messages"
        "Messages now in a queue: `outbound` (to the sessions, summed), `ack` or `store` (to the database; what one commit takes has left it).";
    CHANNEL_DROPPED = counter, "channel_dropped_messages" [QUEUE] "messages"
        "Messages that a full queue refused. None is lost: of `outbound` and `ack` each is still in the database and is delivered later, of `store` the sender was told to try again.";
    BUS_EVENTS_PUBLISHED = counter, "message_bus_events_published_total" [] "events"
        "Events handed to the message bus.";
    BUS_EVENTS_MISSED = counter, "message_bus_events_missed_total" [] "events"
        "Events that the gateway was too slow to take from the message bus; the sessions then read the database instead.";
    BREAKER_STATE = gauge, "circuit_breaker_state" [BREAKER] "state"
        "State of a circuit breaker (`database` or `s3`): 0 closed, 1 half-open, 2 open.";
    BREAKER_TRANSITIONS = counter, "circuit_breaker_transitions_total" [BREAKER, label("to", breaker::STATES)] "transitions"
        "Changes of a circuit breaker's state, so that an open time between two scrapes is seen.";
    MESSAGES_EXPIRED = counter, "messages_expired_total" [] "messages"
        "Messages removed because nobody acked them within `--message-retention`.";
    DB_POOL_CONNECTIONS = gauge, "db_pool_connections" [label("state", &["in_use", "idle"])] "connections"
        "Database connections: `in_use` (lent to a statement, or being opened for one) and `idle`.";
    DB_POOL_MAX_CONNECTIONS = gauge, "db_pool_max_connections" [] "connections"
        "Most database connections that there may be at once.";
    DB_POOL_WAIT = histogram(FAST), "db_pool_wait_duration_seconds" [label("outcome", &["acquired", "failed", "cancelled"])] "seconds"
        "Time spent waiting for a database connection, without connecting and querying; outcome acquired, failed or cancelled.";
    DB_CONNECT = histogram(FAST), "db_connect_duration_seconds" [] "seconds"
        "Time spent opening a new database connection.";
    DB_QUERY = histogram(FAST), "db_query_duration_seconds" [label("statement", STATEMENTS), label("outcome", &["ok", "refused", "failed", "cancelled"])] "seconds"
        "Time spent executing a statement, or a transaction of all that waited for it (`store_messages`, `delete_acked`; `probe` asks a database that was left alone); outcome ok, refused (the data or a constraint said no), failed or cancelled.";
    S3_UPLOAD = histogram(SLOW), "s3_upload_duration_seconds" [label("outcome", &["ok", "failed", "cancelled"])] "seconds"
        "Time from an upload's first byte to the stored object, as fast as the client sends; outcome ok, failed or cancelled.";
    S3_DOWNLOAD = histogram(SLOW), "s3_download_duration_seconds" [label("outcome", &["ok", "missing", "failed", "cancelled"])] "seconds"
        "Time from asking for an object to its last byte, as fast as the client reads; outcome ok, missing (S3 has no such object), failed or cancelled.";
    ATTACHMENTS_EXPIRED = counter, "attachments_expired_total" [] "attachments"
        "Attachments removed because they were older than `--attachment-retention` and no message waited for them.";
    S3_OBJECTS_REMOVED = counter, "s3_objects_removed_total" [] "objects"
        "Objects removed from S3 because no attachment refers to them: it has expired, or its upload was never complete.";
    BUILD_INFO = gauge, "server_build_info" [label("version", &[BUILD[0]]), label("revision", &[BUILD[1]]), label("rustc", &[BUILD[2]])] "builds"
        "1, with the version, the revision and the compiler of this build.";
}

/// Every metric of the server, in the order of the manual.
const ALL: &[&[Declaration]] = &[CATALOGUE, process::CATALOGUE];

/// The catalogue as a Markdown table: name, type, labels, unit, meaning and buckets.
#[must_use]
pub fn render_markdown() -> String {
    exporter::render_markdown(ALL)
}

#[cfg(test)]
mod tests {
    use exporter::Kind;

    use super::*;

    fn all() -> impl Iterator<Item = &'static Declaration> {
        ALL.iter().copied().flatten()
    }

    #[test]
    fn names_are_unique_and_follow_the_conventions() {
        for (index, metric) in all().enumerate() {
            let name = metric.name;
            assert!(
                all().take(index).all(|other| other.name != name),
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
        assert_eq!(render_markdown().lines().count(), all().count() + 2);
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
