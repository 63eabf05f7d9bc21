//! What the in-process metrics take of the relay's messages.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::figure::{Goal, Ratio, Spread};
use super::relay::{Crowd, Folder, start_relay};
use super::{Report, Run, build_release, usage};
use crate::services::{Interrupt, Service, release_program};

/// The server as it is built without metrics.
const WITHOUT_METRICS: &str = "server-without-metrics";

/// One of the two servers, and its rounds.
struct Side {
    server: Service,
    port: u16,
    _folder: Folder,
    rates: Vec<f64>,
    /// Unit: milliseconds.
    p99: Vec<f64>,
    /// CPU time of the server for each message. Unit: microseconds.
    cpu: Vec<f64>,
}

impl Side {
    fn start(program: &str, interrupt: &Interrupt) -> Result<Self> {
        let folder = Folder::make(Path::new("/dev/shm"), program)?;
        let (server, ports) = start_relay(program, &folder.0, None, interrupt)?;
        Ok(Self {
            server,
            port: ports.public,
            _folder: folder,
            rates: Vec::new(),
            p99: Vec::new(),
            cpu: Vec::new(),
        })
    }

    fn measure(&mut self, crowd: Crowd, seconds: u64) -> Result<()> {
        self.server.check_running()?;
        let before = usage::cpu_seconds(self.server.id())?;
        let relayed = crowd.relay(self.port, seconds)?;
        let cpu = usage::cpu_seconds(self.server.id())? - before;
        self.rates.push(relayed.rate);
        self.p99.push(1e3 * relayed.p99);
        self.cpu.push(1e6 * cpu / relayed.messages);
        Ok(())
    }
}

/// Measures what the metrics take of the relay's messages, with its database in memory.
///
/// # Errors
/// Something could not be built, started or measured, or a message was lost.
pub(super) fn bench(settings: &Run) -> Result<Report> {
    build_without_metrics()?;
    let (rounds, seconds) = (settings.size(41, 5), 1);
    let fan_in = Crowd {
        senders: 32,
        recipients: 1,
    };
    let fan_out = Crowd {
        senders: 32,
        recipients: 256,
    };
    let mut ratios = Vec::new();
    let mut section = format!(
        "## What the metrics take of the relay\n\n\
         `cargo xtask bench fan`: the server, and the same built with `--features server/without-metrics`, \
         both up, {rounds} rounds of {seconds} s for each, in turns. The database is in memory, so \
         that no disk hides the rest. Messages per second, acked; p99 from request to ack in ms; \
         CPU time of the server for each message in µs.\n\n\
         | | messages/s with metrics | without | p99 with | p99 without | CPU with | CPU without |\n\
         |---|---|---|---|---|---|---|\n"
    );
    for (label, crowd, [rate, p99]) in [
        (
            "fan-in: 32 senders, 1 recipient",
            fan_in,
            [
                "fan-in messages/s with metrics / without",
                "fan-in p99 without metrics / with",
            ],
        ),
        (
            "fan-out: 32 senders, 256 recipients",
            fan_out,
            [
                "fan-out messages/s with metrics / without",
                "fan-out p99 without metrics / with",
            ],
        ),
    ] {
        let mut with = Side::start("server", &settings.interrupt)?;
        let mut without = Side::start(WITHOUT_METRICS, &settings.interrupt)?;
        for round in 0..rounds {
            eprintln!("{label}: round {}", round + 1);
            ensure!(!settings.interrupt.came(), "interrupted");
            let mut turns = [&mut with, &mut without];
            if round % 2 == 1 {
                turns.reverse();
            }
            for side in turns {
                side.measure(crowd, seconds)?;
            }
        }
        writeln!(
            section,
            "| {label} | {} | {} | {} | {} | {} | {} |",
            Spread::of(&with.rates),
            Spread::of(&without.rates),
            Spread::of(&with.p99),
            Spread::of(&without.p99),
            Spread::of(&with.cpu),
            Spread::of(&without.cpu),
        )?;
        let goal = Goal::AtLeast(0.98);
        let rates = Spread::of_ratios(&with.rates, &without.rates);
        ratios.push(Ratio::new(rate, rates, goal));
        let latencies = Spread::of_ratios(&without.p99, &with.p99);
        ratios.push(Ratio::new(p99, latencies, goal));
    }
    section.push('\n');
    Ok(Report::with_ratios(section, ratios))
}

/// Builds the server without metrics beside the real one, which is built again after it.
fn build_without_metrics() -> Result<()> {
    build_release(&["--bin=server", "--features=server/without-metrics"])?;
    fs::copy(release_program("server"), release_program(WITHOUT_METRICS))
        .context("keep the server without metrics")?;
    build_release(&["--bin=server"])
}
