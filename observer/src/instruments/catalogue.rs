//! Every metric of the observer, once: its name, kind, labels and help. METRICS.md is written from it.

use std::fmt::Write as _;

/// What a metric is, in Prometheus' terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It is what it is.
    Gauge,
    /// Counts per bucket.
    Histogram,
}

impl Kind {
    /// The word of the text format for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means, with its unit.
    pub help: &'static str,
}

macro_rules! catalogue {
    ($($constant:ident $kind:ident $name:literal $labels:tt $help:literal)*) => {
        $(pub(super) const $constant: &str = concat!("observer_", $name);)*

        /// Every metric, in the order of METRICS.md.
        pub const CATALOGUE: &[Metric] = &[$(Metric {
            name: $constant,
            kind: Kind::$kind,
            labels: &$labels,
            help: $help,
        }),*];
    };
}

catalogue! {
    CONNECTIONS Gauge "kernel_connections" ["target", "class"]
        "Open connections by class, as the kernel has them; the classes are a partition."
    UNACCEPTED Gauge "kernel_unaccepted_connections" ["target"]
        "Established connections that nobody has accepted yet."
    HELD Gauge "kernel_held_connections" ["target"]
        "Connections that left ESTABLISHED longer than settle ago and that the service has not closed."
    SOCKETS Gauge "kernel_sockets" ["target", "state"]
        "Open sockets by TCP state, as sock_diag listed them at the last survey."
    OPENED Counter "kernel_connections_opened_total" ["target"]
        "Connections that reached ESTABLISHED, with those open when the observer was started."
    CLOSED Counter "kernel_connections_closed_total" ["target"]
        "Connections that reached CLOSE."
    UPGRADES Counter "kernel_websocket_upgrades_total" ["target"]
        "Connections whose service sent a 101 that made them WebSockets."
    DURATION Histogram "connection_duration_seconds" ["target"]
        "Time from ESTABLISHED to CLOSE, of connections that the observer saw open and close."
    QUEUE_LENGTH Gauge "accept_queue_length" ["target"]
        "Connections in the accept queues."
    QUEUE_LIMIT Gauge "accept_queue_limit" ["target"]
        "Connections that the accept queues may hold."
    APP Gauge "app_connections" ["target"]
        "The claim: what the service's own gauge said at the last check."
    LOW Gauge "kernel_connections_low" ["target"]
        "Fewest connections that an honest service could have claimed at the last check."
    HIGH Gauge "kernel_connections_high" ["target"]
        "Most connections that an honest service could have claimed at the last check."
    DRIFT Gauge "gauge_drift" ["target"]
        "Claim less truth in connections: the part that is sure, 0 where none is."
    DRIFT_LOW Gauge "gauge_drift_low" ["target"]
        "Least drift in connections that the recent checks together leave possible."
    DRIFT_HIGH Gauge "gauge_drift_high" ["target"]
        "Greatest drift in connections that the recent checks together leave possible."
    RESOLUTION Gauge "resolution" ["target"]
        "Widest drift in connections that would still have agreed, by the recent checks together; absent while a drift stands."
    LIKELY Gauge "likely_drift" ["target"]
        "Likeliest drift in connections, by the lag that was learnt: weaker than a verdict; absent while not known."
    LIKELY_LOW Gauge "likely_drift_low" ["target"]
        "Least drift in connections that is likely; absent while not known."
    LIKELY_HIGH Gauge "likely_drift_high" ["target"]
        "Greatest drift in connections that is likely; absent while not known."
    LAG Gauge "gauge_lag_seconds" ["target"]
        "How late the service counts openings or closings, whichever is later, as learnt; absent while not known."
    SETTLE Gauge "settle_seconds" ["target"]
        "How far from the kernel's moment the service may count, as declared or as learnt."
    VERDICT Gauge "verdict" ["target", "verdict"]
        "1 for the verdict of the last check, 0 for the others."
    BLIND Gauge "blind" ["target", "reason"]
        "1 for the reason why nothing can be said, 0 for the others."
    DRIFT_START Gauge "drift_start_timestamp_seconds" ["target"]
        "When the present drift was first seen; absent without one."
    CHECKS Counter "checks_total" ["target", "verdict"]
        "Checks by verdict."
    LAST_CHECK Gauge "last_check_timestamp_seconds" ["target"]
        "When the claim of the last check was read, whatever its verdict; absent before the first."
    CHECK_INTERVAL Gauge "check_interval_seconds" ["target"]
        "Seconds between two checks, as configured."
    TARGET_UP Gauge "target_up" ["target"]
        "1 if the last scrape of the service gave an exposition, else 0."
    SCRAPE Gauge "scrape_duration_seconds" ["target"]
        "How long the last scrape of the service took."
    DISAGREEMENT Gauge "witness_disagreement" ["target"]
        "Sockets by which sock_diag's count is outside of what the programs' counts allow."
    REPAIRS Counter "repairs_total" ["target"]
        "Sockets added to or removed from the map of sockets to make the witnesses agree."
    UNTRACKED Counter "untracked_sockets_total" ["target", "cause"]
        "Connections that reached ESTABLISHED and could not be tracked."
    ATTACHED Gauge "program_attached" ["program"]
        "1 if the BPF program is attached, else 0."
    RUNS Counter "program_runs_total" ["program"]
        "Runs of the BPF program; only with kernel.bpf_stats_enabled."
    RUN_SECONDS Counter "program_run_seconds_total" ["program"]
        "Seconds spent in the BPF program; only with kernel.bpf_stats_enabled."
    MISSED Counter "program_missed_total" ["program"]
        "Events that the kernel did not hand to the BPF program."
    ENTRIES Gauge "map_entries" ["map"]
        "Entries of the BPF map."
    CAPACITY Gauge "map_capacity" ["map"]
        "Entries that the BPF map can hold."
    READS Counter "map_reads_total" ["map"]
        "Times that the BPF map was read as a whole."
    EVENTS Counter "kernel_established_events_total" ["outcome"]
        "Sockets that reached ESTABLISHED on a target's port, by what became of the event: stored, map_full or ignored; and read_failed, events of any kind that could not be read."
    SEEN Counter "kernel_established_events_seen_total" []
        "Sockets that reached ESTABLISHED on a target's port: stored, map_full and ignored together."
    IDENTITY Gauge "kernel_identity_difference" ["identity"]
        "By how much seen differs from stored, map_full and ignored (seen), or stored from what was opened over all targets (stored): 0, or the counts are wrong."
    TARGETS Gauge "targets" ["source"]
        "Targets that are watched, by where they are configured: config, file, http or prometheus."
    LIST_FAILURES Counter "discovery_failures_total" ["source"]
        "Times that a list of targets could not be had; what it said before stays."
    INFO Gauge "target_info" ["target"]
        "1, with the labels that the target has besides; absent without any."
    RELOADED Gauge "config_last_reload_successful" []
        "1 if the configuration that was last read was taken, else 0."
    RELOAD_TIME Gauge "config_last_reload_success_timestamp_seconds" []
        "When the configuration that is in force was read."
    BUILD Gauge "build_info" ["version", "backend"]
        "1, with the observer's version and backend."
}

/// The catalogue as a Markdown table: name, type, labels and meaning.
#[must_use]
pub fn render_markdown() -> String {
    let mut text = String::from("| name | type | labels | meaning |\n|---|---|---|---|\n");
    for Metric {
        name,
        kind,
        labels,
        help,
    } in CATALOGUE
    {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels) = (kind.name(), labels.join(", "));
        let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {help} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_md_is_the_catalogue() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../METRICS.md");
        let page = std::fs::read_to_string(path).expect("METRICS.md");
        let section = page
            .split("<!-- observer -->\n")
            .nth(1)
            .expect("the observer's section");
        assert_eq!(
            section,
            render_markdown(),
            "write the right side into METRICS.md"
        );
    }

    #[test]
    fn names_are_one_prefix_and_base_units() {
        for Metric { name, kind, .. } in CATALOGUE {
            assert!(name.starts_with("observer_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        }
    }
}
