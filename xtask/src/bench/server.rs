//! Resident memory of idle WebSockets: the relay server's, and a plain axum server's beside it.
//!
//! The same client opens the same number of WebSockets at each of them, in turns. It asks the kernel
//! alone what a process holds, and counts the process's sockets to be sure that all are there.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ureq::Agent;

use super::PAGE;
use crate::crowd::open_account;
use crate::page::{circumstances, field};
use crate::services::{Interrupt, Ports, Service, wait_for};
use crate::step::pause;
use crate::verdict::client;
use crate::workspace;

/// The most that an idle WebSocket of the server may take. Unit: KiB.
const GOAL: f64 = 5.0;

/// Programs that were just built start within this on a busy machine.
const START_BOUND: Duration = Duration::from_secs(30);

/// A hundred thousand handshakes take less, even on a busy machine.
const OPEN_BOUND: Duration = Duration::from_secs(300);

/// The server has sent and heard two pings by then: what they take is part of an idle session.
const SETTLE: Duration = Duration::from_secs(8);

/// How many, and how often.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// WebSockets at each server.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Times that each server is measured.
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
}

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
                "--data-dir=target/xtask/bench-data".to_owned(),
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

impl Sample {
    fn each(self, connections: usize) -> f64 {
        self.with.saturating_sub(self.without) as f64 / connections as f64
    }
}

/// Measures each server in turns, and writes the table.
///
/// # Errors
/// Something could not be built, started or measured, or the goal was missed.
pub(super) fn bench(options: &Options) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    build()?;
    let client = client();
    let mut samples = [const { Vec::new() }; Subject::ALL.len()];
    for repetition in 1..=options.repetitions {
        for (subject, samples) in Subject::ALL.into_iter().zip(&mut samples) {
            eprintln!(
                "{repetition} of {}: {}",
                options.repetitions,
                subject.label()
            );
            let sample = measure(subject, options.connections, &client, &interrupt)
                .with_context(|| subject.label())?;
            eprintln!("  {:.2} KiB each", sample.each(options.connections));
            samples.push(sample);
        }
    }
    let spreads = samples.map(|samples| Spread::of(&samples, options.connections));
    PAGE.publish("server", &render(options, &spreads)?)?;
    let [relay, ..] = &spreads;
    ensure!(
        relay.median <= GOAL,
        "an idle WebSocket takes {:.2} KiB, the goal is {GOAL}",
        relay.median
    );
    Ok(())
}

fn build() -> Result<()> {
    eprintln!("build: release");
    let status = workspace::cargo()
        .args(["build", "--release", "--package=server", "--package=tests"])
        .args(["--bin=server", "--bin=crowd", "--bin=bench_axum_echo"])
        .status()
        .context("start cargo")?;
    ensure!(status.success(), "cargo build: {status}");
    let data = workspace::root().join("target/xtask/bench-data");
    if data.exists() {
        fs::remove_dir_all(&data).context("empty the server's data directory")?;
    }
    Ok(())
}

fn measure(
    subject: Subject,
    connections: usize,
    client: &Agent,
    interrupt: &Interrupt,
) -> Result<Sample> {
    let ports = Ports::choose()?;
    let mut service = Service::start_release(subject.program(), &subject.arguments(&ports))?;
    wait_for(
        "listener",
        START_BOUND,
        &mut [&mut service],
        interrupt,
        || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, ports.public)).context("connect")?;
            Ok(Some(()))
        },
    )?;
    let mut arguments = vec![
        format!("--address=127.0.0.1:{}", ports.public),
        "--kind=websocket".to_owned(),
        format!("--count={connections}"),
    ];
    if matches!(subject, Subject::Relay) {
        let token = open_account(client, ports.public)?;
        arguments.push(format!("--bearer={token}"));
    }
    // What was asked so far came on connections that are about to be closed there as well.
    pause(Duration::from_millis(500));
    let sockets = sockets(service.id())?;
    let without = resident(service.id())?;

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
    let with = resident(service.id())?;
    let held = self::sockets(service.id())?.saturating_sub(sockets);
    ensure!(
        held == connections,
        "{held} of {connections} WebSockets are open"
    );
    drop(crowd);
    // The next server's clients must not compete with the end of these.
    pause(Duration::from_secs(1));
    Ok(Sample { without, with })
}

/// What a process has in memory. Unit: KiB.
fn resident(process: u32) -> Result<u64> {
    let text = field(format!("/proc/{process}/status"), "VmRSS").context("no VmRSS")?;
    let kib = text.strip_suffix(" kB").context("VmRSS is not in kB")?;
    kib.parse().context("VmRSS is no number")
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

/// What repetitions came to. Unit: KiB for each WebSocket; of the whole process, medians.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
    without: u64,
    with: u64,
}

impl Spread {
    fn of(samples: &[Sample], connections: usize) -> Self {
        let mut each: Vec<f64> = samples.iter().map(|s| s.each(connections)).collect();
        each.sort_by(f64::total_cmp);
        let middle = |pick: fn(&Sample) -> u64| {
            let mut all: Vec<u64> = samples.iter().map(pick).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied().unwrap_or(0)
        };
        Self {
            median: each.get(each.len() / 2).copied().unwrap_or(f64::NAN),
            least: each.first().copied().unwrap_or(f64::NAN),
            most: each.last().copied().unwrap_or(f64::NAN),
            without: middle(|sample| sample.without),
            with: middle(|sample| sample.with),
        }
    }
}

fn render(options: &Options, spreads: &[Spread; 3]) -> Result<String> {
    let Options {
        connections,
        repetitions,
    } = options;
    let mut text = String::new();
    writeln!(
        text,
        "## Resident memory of an idle WebSocket\n\n\
         `cargo xtask bench server`: {connections} WebSockets, each server {repetitions} times, in \
         turns, release builds. The growth of VmRSS from none to all, divided by their number; \
         buffers in the kernel are not in it. Unit: KiB.\n\n\
         | | median | least | most | process with none | process with all |\n\
         |---|---:|---:|---:|---:|---:|"
    )?;
    for (subject, spread) in Subject::ALL.into_iter().zip(spreads) {
        let Spread {
            median,
            least,
            most,
            without,
            with,
        } = spread;
        writeln!(
            text,
            "| {} | **{median:.2}** | {least:.2} | {most:.2} | {without} | {with} |",
            subject.label()
        )?;
    }
    writeln!(
        text,
        "\nGoal for the server: at most {GOAL} KiB. All its sessions are of one account; after they \
         opened, it pinged each twice.\n\n\
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_between_the_least_and_the_most() {
        let sample = |with| Sample { without: 100, with };
        let spread = Spread::of(&[sample(400), sample(200), sample(300)], 100);
        assert_eq!((spread.least, spread.median, spread.most), (1.0, 2.0, 3.0));
        assert_eq!((spread.without, spread.with), (100, 300));
    }
}
