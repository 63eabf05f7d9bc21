//! Resident memory of idle WebSockets: the relay server's, and a plain axum server's beside it.
//!
//! The same client opens the same number of WebSockets at each of them, in turns. It asks the kernel
//! alone what a process holds, and counts the process's sockets to be sure that all are there.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ureq::Agent;

use super::companion::Observer;
use super::figure::{Goal, Ratio, Spread};
use super::usage::resident_kib;
use super::{Report, Run, wait_for_listener};
use crate::crowd::open_account;
use crate::page::circumstances;
use crate::services::{Interrupt, Ports, Service, wait_for};
use crate::step::pause;
use crate::verdict::client;
use crate::workspace;

/// The most that an idle WebSocket of the server may take. Unit: KiB.
const GOAL: f64 = 5.0;

/// WebSockets at each server: what a process may open here, less some.
const CONNECTIONS: usize = 18_000;

/// So many handshakes take less, even on a busy machine.
const OPEN_BOUND: Duration = Duration::from_secs(300);

/// The server has sent and heard two pings by then: what they take is part of an idle session.
const SETTLE: Duration = Duration::from_secs(8);

/// Where the server keeps its data.
const DATA: &str = "target/xtask/bench-data";

/// What is measured.
#[derive(Debug, Clone, Copy)]
enum Subject {
    Relay,
    Axum,
    AxumSmall,
}

impl Subject {
    const ALL: [Self; 3] = [Self::Relay, Self::Axum, Self::AxumSmall];

    fn label(self) -> &'static str {
        match self {
            Self::Relay => "server",
            Self::Axum => "axum 0.8 echo, defaults",
            Self::AxumSmall => "axum 0.8 echo, 1 KiB buffers",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Relay => "server",
            Self::Axum | Self::AxumSmall => "bench_axum_echo",
        }
    }

    fn arguments(self, ports: &Ports) -> Vec<String> {
        let address = format!("--address=127.0.0.1:{}", ports.public);
        match self {
            Self::Relay => vec![
                format!("--public-address=127.0.0.1:{}", ports.public),
                format!("--management-address=127.0.0.1:{}", ports.management),
                format!("--data-dir={DATA}"),
                "--ping-interval=3s".to_owned(),
            ],
            Self::Axum => vec![address],
            Self::AxumSmall => vec![address, "--buffers=1024".to_owned()],
        }
    }
}

/// One measurement. Unit: KiB.
#[derive(Debug, Clone, Copy)]
struct Sample {
    without: u64,
    with: u64,
}

/// Measures each server in turns.
///
/// # Errors
/// Something could not be started or measured, or the observer said anything else than *agree*.
pub(super) fn bench(run: &Run) -> Result<Report> {
    let connections = usize::try_from(run.size(CONNECTIONS as u64, 1000))?;
    let rounds = run.size(3, 1);
    let client = client();
    let mut samples = [const { Vec::new() }; Subject::ALL.len()];
    let mut checks = 0;
    for round in 1..=rounds {
        for (subject, samples) in Subject::ALL.into_iter().zip(&mut samples) {
            eprintln!("{round} of {rounds}: {}", subject.label());
            let (sample, agreed) = measure(subject, connections, &client, &run.interrupt)
                .with_context(|| subject.label())?;
            samples.push(sample);
            checks += agreed;
        }
    }
    let rows = samples.map(|samples| Row::of(&samples, connections));
    let [relay, ..] = &rows;
    let ratios = vec![Ratio::new(
        "idle WebSocket of the server, KiB",
        relay.each,
        Goal::AtMost(GOAL),
    )];
    let section = render(connections, rounds, &rows, checks)?;
    Ok(Report { section, ratios })
}

/// Opens the WebSockets at one server; for the relay, also how often the observer agreed.
fn measure(
    subject: Subject,
    connections: usize,
    client: &Agent,
    interrupt: &Interrupt,
) -> Result<(Sample, u64)> {
    let data = workspace::root().join(DATA);
    if data.exists() {
        fs::remove_dir_all(&data).context("empty the server's data directory")?;
    }
    let ports = Ports::choose()?;
    let mut service = Service::start_release(subject.program(), &subject.arguments(&ports))?;
    wait_for_listener(ports.public, &mut service, interrupt)?;
    let mut arguments = vec![
        format!("--address=127.0.0.1:{}", ports.public),
        "--kind=websocket".to_owned(),
        format!("--count={connections}"),
    ];
    let mut observer = None;
    if matches!(subject, Subject::Relay) {
        let token = open_account(client, ports.public)?;
        arguments.push(format!("--bearer={token}"));
        observer = Some(Observer::of(&ports).start(client, interrupt)?);
    }
    // What was asked so far came on connections that are about to be closed there as well.
    pause(Duration::from_millis(500));
    let sockets = sockets(service.id())?;
    let without = resident_kib(service.id())?;

    let mut crowd = Service::start_release("crowd", &arguments)?;
    let said = crowd.log().to_owned();
    let services = &mut [&mut service, &mut crowd];
    wait_for("crowd", OPEN_BOUND, services, interrupt, || {
        let said = fs::read_to_string(&said).context("read what the crowd says")?;
        Ok(said.lines().any(|line| line == "open").then_some(()))
    })?;
    let opened = Instant::now();
    wait_for("rest", 2 * SETTLE, services, interrupt, || {
        Ok((opened.elapsed() >= SETTLE).then_some(()))
    })?;
    let with = resident_kib(service.id())?;
    let held = self::sockets(service.id())?.saturating_sub(sockets);
    ensure!(
        held.abs_diff(connections) <= 1,
        "{held} of {connections} WebSockets are open"
    );
    let agreed = match observer {
        Some(_) => count_agreed(&ports, client)?,
        None => 0,
    };
    drop((crowd, observer));
    // The next server's clients must not compete with the end of these.
    pause(Duration::from_secs(1));
    Ok((Sample { without, with }, agreed))
}

/// How often the observer said *agree*; any other verdict is an error.
fn count_agreed(ports: &Ports, client: &Agent) -> Result<u64> {
    let url = format!("{}/metrics", ports.observer_url());
    let page = client.get(&url).call().context("ask the observer")?;
    let page = page.into_body().read_to_string().context("read its page")?;
    let mut agreed = 0;
    for line in page.lines() {
        let Some(rest) = line.strip_prefix("observer_checks_total{") else {
            continue;
        };
        let count = rest.rsplit(' ').next().and_then(|word| word.parse().ok());
        let count: u64 = count.with_context(|| format!("not a count: {line}"))?;
        if rest.contains("verdict=\"agree\"") {
            agreed = count;
        } else {
            ensure!(count == 0, "the observer did not agree all along: {line}");
        }
    }
    ensure!(agreed > 0, "the observer has checked nothing");
    Ok(agreed)
}

/// How many of a process's descriptors are sockets.
fn sockets(process: u32) -> Result<usize> {
    let folder = PathBuf::from(format!("/proc/{process}/fd"));
    let entries = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    Ok(targets
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count())
}

/// What the rounds of one server came to. Unit: KiB.
struct Row {
    each: Spread,
    without: Spread,
    with: Spread,
}

impl Row {
    fn of(samples: &[Sample], connections: usize) -> Self {
        let spread = |pick: fn(&Sample) -> u64| {
            Spread::of(&samples.iter().map(|s| pick(s) as f64).collect::<Vec<_>>())
        };
        let each = samples
            .iter()
            .map(|sample| sample.with.saturating_sub(sample.without) as f64 / connections as f64);
        Self {
            each: Spread::of(&each.collect::<Vec<_>>()),
            without: spread(|sample| sample.without),
            with: spread(|sample| sample.with),
        }
    }
}

fn render(connections: usize, rounds: u64, rows: &[Row; 3], checks: u64) -> Result<String> {
    let mut text = String::new();
    writeln!(
        text,
        "## Resident memory of an idle WebSocket\n\n\
         `cargo xtask bench server`: {connections} WebSockets, each server {rounds} times, in \
         turns, release builds. The growth of VmRSS from none to all, divided by their number; \
         buffers in the kernel are not in it. Unit: KiB.\n\n\
         | | each WebSocket | process with none | process with all |\n\
         |---|---|---:|---:|"
    )?;
    for (subject, row) in Subject::ALL.into_iter().zip(rows) {
        writeln!(
            text,
            "| {} | {} | {:.0} | {:.0} |",
            subject.label(),
            row.each,
            row.without.median,
            row.with.median,
        )?;
    }
    writeln!(
        text,
        "\nGoal for the server: at most {GOAL} KiB. All its sessions are of one account; after they \
         opened, it pinged each twice. From none to all, the observer checked its gauge {checks} \
         times and said *agree* each time.\n\n\
         {}.\n\n```console",
        circumstances()
    )?;
    let ports = Ports::DEFAULT;
    for subject in Subject::ALL {
        let arguments = subject.arguments(&ports).join(" ");
        writeln!(text, "$ {} {arguments}", subject.program())?;
    }
    let port = ports.public;
    writeln!(
        text,
        "$ crowd --address=127.0.0.1:{port} --kind=websocket --count={connections} [--bearer=…]\n```"
    )?;
    Ok(text)
}
