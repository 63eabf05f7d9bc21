//! The observer's metrics page: every metric of the catalogue, and the function that sets it.
//!
//! A page is rendered from what is known at that moment, by a recorder of its own: what is not
//! measured is absent, not zero, and nothing outlives the target that it was about. Durations come
//! from the kernel as counts per bucket, which no recorder takes, and are written out by `durations`.

#![expect(
    clippy::disallowed_macros,
    reason = "this is the file that sets the observer's metrics"
)]

mod catalogue;
mod durations;

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;

use self::catalogue::*;
pub use self::catalogue::{CATALOGUE, Kind, Metric, render_markdown};
use crate::{
    api::Connections,
    check::{Blind, Verdict},
    config::Source,
    probe::ProgramReport,
    sock_diag::state_name,
    watch::{Watch, kernel::Audit, observation::Observation, target::Target},
};

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
    let targets = watch.targets();
    for source in Source::ALL {
        let of_source = targets
            .iter()
            .filter(|target| target.config.source == source);
        gauge!(TARGETS, "source" => source.name()).set(of_source.count() as f64);
        counter!(LIST_FAILURES, "source" => source.name()).absolute(watch.list_failures(source));
    }
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
    if !target.config.labels.is_empty() {
        let mut labels = target.config.labels.clone();
        labels.push(("target".to_owned(), name.clone()));
        gauge!(INFO, &labels).set(1.0);
    }
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
