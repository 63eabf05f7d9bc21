//! What the dashboards show: sections, panels and their queries.
//!
//! It knows the metrics by their names in METRICS.md, and nothing of Grafana's JSON.

use super::{Dashboard, Kind, Panel, Query, Section};

/// A query and its legend.
macro_rules! queries {
    ($($expression:literal => $legend:literal),+ $(,)?) => {
        &[$(Query { expression: $expression, legend: $legend }),+]
    };
}

/// A panel: kind, title, unit, description, queries.
macro_rules! panel {
    ($kind:ident, $title:literal, $unit:literal, $description:literal, $($queries:tt)+) => {
        Panel {
            kind: Kind::$kind,
            title: $title,
            description: $description,
            unit: $unit,
            queries: queries!($($queries)+),
        }
    };
}

/// Every dashboard.
pub(super) const DASHBOARDS: &[Dashboard] = &[CROSS_CHECK, OBSERVER, SERVER];

const CROSS_CHECK: Dashboard = Dashboard {
    name: "cross-check",
    title: "Plumbline / Cross-check",
    description: "What each service's gauge claims, against what the kernel counted.",
    found_by: "observer_verdict",
    has_targets: true,
    sections: &[
        Section {
            title: "Now",
            panels: &[
                panel!(Stat, "Targets by verdict", "short",
                    "How many targets have which verdict now.",
                    r#"sum by (verdict) (observer_verdict{T})"# => "{{verdict}}"),
                panel!(Stat, "Sure drift", "short",
                    "Claim less truth in connections: the part that is sure. Above zero the gauge says too much.",
                    r#"observer_gauge_drift{T}"# => "{{target}}"),
                panel!(Stat, "Checks that agree, last hour", "percentunit",
                    "The share of the last hour's checks whose verdict was agree.",
                    r#"sum by (target) (increase(observer_checks_total{T, verdict="agree"}[1h])) / sum by (target) (increase(observer_checks_total{T}[1h]))"# => "{{target}}"),
                panel!(Stat, "Drift since", "dateTimeFromNow",
                    "When the present drift was first seen; nothing without one.",
                    r#"observer_drift_start_timestamp_seconds{T} * 1000"# => "{{target}}"),
            ],
        },
        Section {
            title: "The claim and the kernel",
            panels: &[
                panel!(Band, "Claim against the kernel's band", "short",
                    "The band is what an honest service could have claimed at each check; the line is what it claimed. Choose one target.",
                    r#"observer_kernel_connections_low{T}"# => "fewest {{target}}",
                    r#"observer_kernel_connections_high{T}"# => "most {{target}}",
                    r#"observer_app_connections{T}"# => "claim {{target}}"),
                panel!(Lines, "Drift", "short",
                    "The least and the greatest drift that the recent checks together leave possible.",
                    r#"observer_gauge_drift_low{T}"# => "least {{target}}",
                    r#"observer_gauge_drift_high{T}"# => "greatest {{target}}"),
                panel!(States, "Verdict", "none",
                    "The verdict of the last check over time; a lane is 1 while the verdict is that.",
                    r#"max by (target, verdict) (observer_verdict{T}) == 1"# => "{{target}} {{verdict}}"),
                panel!(Lines, "Checks by verdict", "ops",
                    "How often each verdict is reached.",
                    r#"sum by (verdict) (rate(observer_checks_total{T}[$__rate_interval]))"# => "{{verdict}}"),
            ],
        },
        Section {
            title: "What may explain a drift",
            panels: &[
                panel!(Lines, "Open connections by class", "short",
                    "As the kernel has them; the classes are a partition.",
                    r#"sum by (target, class) (observer_kernel_connections{T})"# => "{{target}} {{class}}"),
                panel!(Lines, "Opened, closed, upgraded", "cps",
                    "A leak grows with one of these, not with time.",
                    r#"rate(observer_kernel_connections_opened_total{T}[$__rate_interval])"# => "opened {{target}}",
                    r#"rate(observer_kernel_connections_closed_total{T}[$__rate_interval])"# => "closed {{target}}",
                    r#"rate(observer_kernel_websocket_upgrades_total{T}[$__rate_interval])"# => "upgraded {{target}}"),
                panel!(Lines, "Not accepted, and held", "short",
                    "Connections that nobody has accepted yet, and sockets that are held although their connection is over.",
                    r#"observer_kernel_unaccepted_connections{T}"# => "not accepted {{target}}",
                    r#"observer_kernel_held_connections{T}"# => "held {{target}}"),
                panel!(Lines, "Connection duration", "s",
                    "Median and 99th percentile of the connections that ended.",
                    r#"histogram_quantile(0.5, sum by (target, le) (rate(observer_connection_duration_seconds_bucket{T}[$__rate_interval])))"# => "median {{target}}",
                    r#"histogram_quantile(0.99, sum by (target, le) (rate(observer_connection_duration_seconds_bucket{T}[$__rate_interval])))"# => "99% {{target}}"),
            ],
        },
    ],
};

const OBSERVER: Dashboard = Dashboard {
    name: "observer",
    title: "Plumbline / Observer",
    description: "Whether the observer itself can be trusted: its programs, its map, its two witnesses.",
    found_by: "observer_verdict",
    has_targets: true,
    sections: &[
        Section {
            title: "The observer",
            panels: &[
                panel!(Stat, "Version and backend", "short",
                    "Observers by version and backend.",
                    r#"sum by (version, backend) (observer_build_info{S})"# => "{{version}} {{backend}}"),
                panel!(Stat, "Programs attached", "short",
                    "1 for each BPF program that is attached.",
                    r#"min by (program) (observer_program_attached{S})"# => "{{program}}"),
                panel!(Stat, "Services that answer", "short",
                    "Targets whose last scrape gave metrics, and all of them.",
                    r#"sum(observer_target_up{T})"# => "up",
                    r#"count(observer_target_up{T})"# => "all"),
                panel!(Stat, "Map of sockets", "percentunit",
                    "How full the map of sockets is. Full, it loses connections.",
                    r#"max by (instance) (observer_map_entries{S} / observer_map_capacity{S})"# => "{{instance}}"),
            ],
        },
        Section {
            title: "Two witnesses, and losses",
            panels: &[
                panel!(Lines, "Disagreement of the witnesses", "short",
                    "Sockets by which sock_diag's count is outside of what the programs' counts allow. Not zero is blind.",
                    r#"observer_witness_disagreement{T}"# => "{{target}}"),
                panel!(Lines, "Lost", "cps",
                    "Connections that found no room in the map, and events that the kernel did not hand to a program.",
                    r#"sum by (target) (rate(observer_untracked_sockets_total{T}[$__rate_interval]))"# => "no room {{target}}",
                    r#"sum by (program) (rate(observer_program_missed_total{S}[$__rate_interval]))"# => "not handed over {{program}}"),
                panel!(Lines, "Repairs", "cps",
                    "Sockets added to or removed from the map to make the witnesses agree.",
                    r#"rate(observer_repairs_total{T}[$__rate_interval])"# => "{{target}}"),
                panel!(States, "Blind", "none",
                    "Why nothing can be said, over time; a lane is 1 while it is for that reason.",
                    r#"max by (target, reason) (observer_blind{T})"# => "{{target}} {{reason}}"),
                panel!(Lines, "Sockets seen by the programs", "cps",
                    "Sockets that reached ESTABLISHED on a target's port, by what became of them.",
                    r#"sum by (outcome) (rate(observer_kernel_established_events_total{S}[$__rate_interval]))"# => "{{outcome}}"),
                panel!(Lines, "Sockets by TCP state", "short",
                    "As sock_diag listed them.",
                    r#"sum by (state) (observer_kernel_sockets{T})"# => "{{state}}"),
            ],
        },
        Section {
            title: "The services",
            panels: &[
                panel!(Lines, "Scrape duration", "s",
                    "How long the last scrape of each service took.",
                    r#"observer_scrape_duration_seconds{T}"# => "{{target}}"),
                panel!(Lines, "Accept queue", "short",
                    "Connections in the accept queues, and what they may hold.",
                    r#"observer_accept_queue_length{T}"# => "length {{target}}",
                    r#"observer_accept_queue_limit{T}"# => "limit {{target}}"),
            ],
        },
    ],
};

const SERVER: Dashboard = Dashboard {
    name: "server",
    title: "Plumbline / Server",
    description: "The relay: sessions, messages, requests, database, attachments.",
    found_by: "ws_sessions_opened_total",
    has_targets: false,
    sections: &[
        Section {
            title: "Sessions and messages",
            panels: &[
                panel!(Lines, "Open", "short",
                    "WebSocket sessions, and TCP connections by port.",
                    r#"active_connections{S}"# => "sessions {{instance}}",
                    r#"http_open_connections{S}"# => "connections {{port}} {{instance}}"),
                panel!(Lines, "Sessions opened and closed", "cps",
                    "By the first reason for the end.",
                    r#"rate(ws_sessions_opened_total{S}[$__rate_interval])"# => "opened {{instance}}",
                    r#"sum by (reason) (rate(ws_sessions_closed_total{S}[$__rate_interval]))"# => "closed {{reason}}"),
                panel!(Lines, "Messages", "cps",
                    "Data messages written to and read from WebSockets, and events on the message bus.",
                    r#"sum(rate(ws_messages_sent_total{S}[$__rate_interval]))"# => "sent",
                    r#"sum(rate(ws_messages_received_total{S}[$__rate_interval]))"# => "received",
                    r#"sum(rate(message_bus_events_published_total{S}[$__rate_interval]))"# => "published"),
                panel!(Lines, "Queue depth", "short",
                    "Messages now in the queues to the sessions, summed, and acks on their way to the database.",
                    r#"channel_queue_depth{S}"# => "{{type}} {{instance}}"),
                panel!(Lines, "Refused by full queues", "cps",
                    "Delivered later from the database: none is lost. Missed bus events are read there as well.",
                    r#"rate(channel_dropped_messages{S}[$__rate_interval])"# => "{{type}} {{instance}}",
                    r#"rate(message_bus_events_missed_total{S}[$__rate_interval])"# => "bus {{instance}}"),
                panel!(Lines, "Handshakes refused", "cps",
                    "WebSocket handshakes refused after authentication, by reason.",
                    r#"sum by (reason) (rate(ws_sessions_refused_total{S}[$__rate_interval])) or 0 * sum(rate(ws_sessions_opened_total{S}[$__rate_interval]))"# => "{{reason}}"),
            ],
        },
        Section {
            title: "Requests",
            panels: &[
                panel!(Lines, "Requests by status", "reqps",
                    "On the public port; 499 means that the client left before the answer.",
                    r#"sum by (status) (rate(http_requests_total{S}[$__rate_interval]))"# => "{{status}}"),
                panel!(Lines, "Failed requests", "percentunit",
                    "The share of requests that were answered 5xx.",
                    r#"(sum(rate(http_requests_total{S, status=~"5.."}[$__rate_interval])) or vector(0)) / sum(rate(http_requests_total{S}[$__rate_interval]))"# => "5xx"),
                panel!(Lines, "Duration by route, 99%", "s",
                    "From a request's headers to its response's headers; an upload takes as long as its client.",
                    r#"histogram_quantile(0.99, sum by (route, le) (rate(http_request_duration_seconds_bucket{S}[$__rate_interval])))"# => "{{route}}"),
                panel!(Lines, "Connection errors", "cps",
                    "Connections that ended before their last request was answered, and failures to accept.",
                    r#"sum by (cause) (rate(http_connection_errors_total{S}[$__rate_interval])) or 0 * sum(rate(ws_sessions_opened_total{S}[$__rate_interval]))"# => "ended: {{cause}}",
                    r#"sum by (port) (rate(http_accept_errors_total{S}[$__rate_interval]))"# => "accept: {{port}}"),
            ],
        },
        Section {
            title: "Database and attachments",
            panels: &[
                panel!(States, "Circuit breakers", "none",
                    "0 closed, 1 half-open, 2 open.",
                    r#"max by (breaker) (circuit_breaker_state{S})"# => "{{breaker}}"),
                panel!(Lines, "Breaker transitions", "cps",
                    "Changes of state, so that an open time between two scrapes is seen.",
                    r#"sum by (breaker, to) (rate(circuit_breaker_transitions_total{S}[$__rate_interval])) or 0 * sum by (breaker) (circuit_breaker_state{S})"# => "{{breaker}} {{to}}"),
                panel!(Lines, "Wait for a database connection, 99%", "s",
                    "Without connecting and querying, by outcome.",
                    r#"histogram_quantile(0.99, sum by (outcome, le) (rate(db_pool_wait_duration_seconds_bucket{S}[$__rate_interval])))"# => "{{outcome}}"),
                panel!(Lines, "Statement duration, 99%", "s",
                    "Time spent executing each statement.",
                    r#"histogram_quantile(0.99, sum by (statement, le) (rate(db_query_duration_seconds_bucket{S}[$__rate_interval])))"# => "{{statement}}"),
                panel!(Lines, "Statements", "ops",
                    "By outcome.",
                    r#"sum by (outcome) (rate(db_query_duration_seconds_count{S}[$__rate_interval]))"# => "{{outcome}}",
                    r#"sum(rate(db_connect_duration_seconds_count{S}[$__rate_interval]))"# => "connections opened"),
                panel!(Lines, "Attachments, 99%", "s",
                    "As fast as the clients send and read.",
                    r#"histogram_quantile(0.99, sum by (outcome, le) (rate(s3_upload_duration_seconds_bucket{S}[$__rate_interval])))"# => "up {{outcome}}",
                    r#"histogram_quantile(0.99, sum by (outcome, le) (rate(s3_download_duration_seconds_bucket{S}[$__rate_interval])))"# => "down {{outcome}}"),
            ],
        },
    ],
};
