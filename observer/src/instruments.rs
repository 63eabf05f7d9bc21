//! Every metric of the observer, once: its name, kind and help, and the function that sets it.
//!
//! A page is rendered from what is known at that moment, by a recorder of its own: what is not
//! measured is absent, not zero, and nothing outlives the target that it was about. Durations come
//! from the kernel as counts per bucket, which no recorder takes, and are written out by `durations`.

#![expect(
    clippy::disallowed_macros,
    reason = "this is the file that declares the observer's metrics"
)]

mod durations;

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::{
    api::Connections,
    check::{Blind, Verdict},
    probe::ProgramReport,
    sock_diag::state_name,
    watch::{Watch, kernel::Audit, observation::Observation, target::Target},
};

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
        $(const $constant: &str = concat!("observer_", $name);)*

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
        "Targets that are watched, by where they are configured."
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

/// Renders the page: the text format 0.0.4.
#[must_use]
pub fn render(watch: &Watch) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();
    with_local_recorder(&recorder, || {
        for metric in CATALOGUE {
            match metric.kind {
                Kind::Counter => describe_counter!(metric.name, metric.help),
                Kind::Gauge => describe_gauge!(metric.name, metric.help),
                Kind::Histogram => {}
            }
        }
        set_kernel(watch);
        for target in watch.targets() {
            set_target(&target);
        }
    });
    let mut page = page.render();
    append(&mut page, DURATION, &durations::durations(watch));
    append(
        &mut page,
        RUN_SECONDS,
        &durations::run_seconds(&watch.kernel),
    );
    page
}

fn set_kernel(watch: &Watch) {
    let kernel = &watch.kernel;
    let version = env!("CARGO_PKG_VERSION");
    let labels = [("version", version), ("backend", kernel.backend())];
    gauge!(BUILD, &labels).set(1.0);
    gauge!(TARGETS, "source" => "config").set(watch.targets().len() as f64);
    let reloaded = watch.reloaded();
    gauge!(RELOADED).set(flag(reloaded.is_successful));
    if let Some(seconds) = seconds(reloaded.taken) {
        gauge!(RELOAD_TIME).set(seconds);
    }
    for program in kernel.programs() {
        set_program(&program);
    }
    if let Some(losses) = kernel.losses() {
        for (outcome, count) in [
            ("stored", losses.stored),
            ("map_full", losses.map_full),
            ("ignored", losses.ignored),
            ("read_failed", losses.read_failed),
        ] {
            counter!(EVENTS, "outcome" => outcome).absolute(count);
        }
        counter!(SEEN).absolute(losses.seen);
    }
    if let Some(Audit { seen, stored }) = kernel.audited() {
        gauge!(IDENTITY, "identity" => "seen").set(seen as f64);
        gauge!(IDENTITY, "identity" => "stored").set(stored as f64);
    }
    if let (Some(capacity), Some(tracked)) = (kernel.max_sockets(), watch.tracked()) {
        gauge!(ENTRIES, "map" => "SOCKETS").set(tracked as f64);
        gauge!(CAPACITY, "map" => "SOCKETS").set(f64::from(capacity));
    }
    if let Some(probe) = kernel.probe() {
        counter!(READS, "map" => "SOCKETS").absolute(probe.sockets().reads());
    }
}

fn set_program(program: &ProgramReport) {
    let name = program.name;
    gauge!(ATTACHED, "program" => name).set(flag(program.is_attached));
    if !program.is_attached {
        return;
    }
    if let Some(missed) = program.missed {
        counter!(MISSED, "program" => name).absolute(missed);
    }
    if let Some(runs) = program.runs {
        counter!(RUNS, "program" => name).absolute(runs);
    }
}

fn set_target(target: &Target) {
    let name = target.config.name.clone();
    let (health, observation) = (target.endpoints.health(), target.observation());
    set_counts(target, &observation);
    set_check(&name, &observation);
    let interval = target.config.interval.as_secs_f64();
    gauge!(CHECK_INTERVAL, "target" => name.clone()).set(interval);
    if let Some(listeners) = &observation.listeners {
        gauge!(UNACCEPTED, "target" => name.clone()).set(listeners.queue_length as f64);
        gauge!(QUEUE_LENGTH, "target" => name.clone()).set(listeners.queue_length as f64);
        gauge!(QUEUE_LIMIT, "target" => name.clone()).set(listeners.queue_limit as f64);
    }
    if let Some(held) = observation.held {
        gauge!(HELD, "target" => name.clone()).set(held as f64);
    }
    if let Some(survey) = &health.survey {
        for (state, count) in &survey.states {
            let state = state_name(*state);
            gauge!(SOCKETS, "target" => name.clone(), "state" => state).set(*count as f64);
        }
        if target.endpoints.has_programs() {
            gauge!(DISAGREEMENT, "target" => name.clone()).set(survey.disagreement as f64);
        }
    }
    if target.endpoints.has_programs() {
        counter!(REPAIRS, "target" => name).absolute(health.repairs);
    }
}

fn set_counts(target: &Target, observation: &Observation) {
    let Some(tally) = observation.tally else {
        return;
    };
    let name = &target.config.name;
    let connections = Connections::of(&tally, target.are_classified());
    for (class, count) in [
        ("websocket", connections.websocket),
        ("http", connections.http),
        ("unclassified", Some(connections.unclassified)),
        ("closing", Some(connections.closing)),
    ] {
        if let Some(count) = count {
            gauge!(CONNECTIONS, "target" => name.clone(), "class" => class).set(count as f64);
        }
    }
    if !target.endpoints.has_programs() {
        return;
    }
    counter!(OPENED, "target" => name.clone()).absolute(tally.opened);
    counter!(CLOSED, "target" => name.clone()).absolute(tally.closed);
    if target.are_classified() {
        let upgrades = tally.upgraded.saturating_sub(tally.recognised);
        counter!(UPGRADES, "target" => name.clone()).absolute(upgrades);
    }
    counter!(UNTRACKED, "target" => name.clone(), "cause" => "map_full").absolute(tally.map_full);
}

fn set_check(name: &str, observation: &Observation) {
    let set = |metric: &'static str, value: Option<f64>| {
        if let Some(value) = value {
            gauge!(metric, "target" => name.to_owned()).set(value);
        }
    };
    let (finding, interval) = (&observation.finding, observation.interval);
    set(APP, observation.claim);
    set(LOW, interval.map(|interval| interval.low as f64));
    set(HIGH, interval.map(|interval| interval.high as f64));
    set(DRIFT, finding.drift.map(|bounds| bounds.sure() as f64));
    set(DRIFT_LOW, finding.drift.map(|bounds| bounds.low as f64));
    set(DRIFT_HIGH, finding.drift.map(|bounds| bounds.high as f64));
    set(RESOLUTION, finding.resolution().map(|widest| widest as f64));
    let likely = observation.likely;
    set(LIKELY, likely.map(|likely| likely.drift as f64));
    set(LIKELY_LOW, likely.map(|likely| likely.bounds.low as f64));
    set(LIKELY_HIGH, likely.map(|likely| likely.bounds.high as f64));
    let lag = likely.and_then(|likely| likely.lag);
    set(LAG, lag.map(|lag| lag.longest().as_secs_f64()));
    set(SETTLE, Some(observation.settle.as_secs_f64()));
    set(TARGET_UP, observation.is_up.map(flag));
    set(SCRAPE, observation.scrape.map(|time| time.as_secs_f64()));
    set(DRIFT_START, finding.since.and_then(seconds));
    set(LAST_CHECK, observation.checked_at.and_then(seconds));
    for verdict in Verdict::ALL {
        gauge!(VERDICT, "target" => name.to_owned(), "verdict" => verdict.name())
            .set(flag(verdict == finding.verdict));
    }
    for reason in Blind::ALL {
        gauge!(BLIND, "target" => name.to_owned(), "reason" => reason.name())
            .set(flag(finding.blind == Some(reason)));
    }
    for (verdict, count) in Verdict::ALL.into_iter().zip(observation.checks) {
        counter!(CHECKS, "target" => name.to_owned(), "verdict" => verdict.name()).absolute(count);
    }
}

/// Appends the samples of a metric that the recorder cannot hold.
fn append(page: &mut String, name: &str, samples: &str) {
    if samples.is_empty() {
        return;
    }
    let metric = CATALOGUE
        .iter()
        .find(|metric| metric.name == name)
        .expect("the catalogue has every name");
    let (kind, help) = (metric.kind.name(), metric.help);
    let _ = write!(
        page,
        "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}"
    );
}

fn seconds(time: SystemTime) -> Option<f64> {
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
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
