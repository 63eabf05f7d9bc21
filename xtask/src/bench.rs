//! `cargo xtask bench`: what the programs cost on this machine, written into `BENCHMARKS.md`.
//!
//! Here is what every bench shares: its section of the page, and its ratios in `bench.toml`. What is
//! measured stands in a file for each.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::build_ebpf::build_ebpf;
use crate::page::{Page, circumstances};
use crate::services::{Interrupt, Ports, Service, wait_for};
use crate::setup::{self, Purpose};
use crate::workspace;
use companion::START_BOUND;
use figure::{Ratio, render_ratios};

mod bpf_stats;
mod claim;
mod companion;
mod fan;
mod figure;
mod http;
mod kernel;
mod load;
mod observer;
mod profile;
mod record;
mod relay;
mod scrape;
mod server;
mod usage;
mod wrk;

/// What can be measured, in the order of a whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// The BPF programs, for each state change and each packet.
    Kernel,
    /// Where the time of the BPF programs goes.
    Profile,
    /// Requests and WebSocket echoes per second, with and without the observer.
    Load,
    /// CPU time, memory and start of the observer, up to 200,000 sockets.
    Observer,
    /// The in-process metrics, for each request, beside axum-prometheus.
    Http,
    /// The relay's messages per second with metrics and without.
    Fan,
    /// The rendering of `/metrics`, and the latency of requests meanwhile.
    Scrape,
    /// The relay's durable messages per second, beside its databases' commits.
    Relay,
    /// Resident memory of idle WebSockets, beside a plain axum server.
    Server,
}

impl Bench {
    fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Profile => "profile",
            Self::Load => "load",
            Self::Observer => "observer",
            Self::Http => "http",
            Self::Fan => "fan",
            Self::Scrape => "scrape",
            Self::Relay => "relay",
            Self::Server => "server",
        }
    }

    /// Whether it has ratios that are worth a look at each change.
    fn is_quick(self) -> bool {
        match self {
            Self::Kernel | Self::Load | Self::Http | Self::Relay => true,
            Self::Profile | Self::Observer | Self::Fan | Self::Scrape | Self::Server => false,
        }
    }

    fn measure(self, run: &Run) -> Result<Report> {
        match self {
            Self::Kernel => kernel::bench(run),
            Self::Profile => profile::bench(run),
            Self::Load => load::bench(run),
            Self::Observer => observer::bench(run),
            Self::Http => http::bench(run),
            Self::Fan => fan::bench(run),
            Self::Scrape => scrape::bench(run),
            Self::Relay => relay::bench(run),
            Self::Server => server::bench(run),
        }
    }
}

const PAGE: Page = Page {
    file: "BENCHMARKS.md",
    head: "# Benchmarks\n\n\
        What the programs cost. Each section is written by the command that it names.\n",
};

/// Which, and how long.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// What is measured; without, everything.
    #[arg(value_enum)]
    benches: Vec<Bench>,
    /// Few short rounds of the main ratios, compared with bench.toml; writes nothing.
    #[arg(long)]
    quick: bool,
}

/// How a bench is to measure.
struct Run {
    quick: bool,
    interrupt: Interrupt,
}

impl Run {
    /// A size or a number of rounds: in full, or for a quick look.
    fn size(&self, full: u64, quick: u64) -> u64 {
        if self.quick { quick } else { full }
    }
}

/// What a bench came to.
struct Report {
    /// For the page.
    section: String,
    /// For the record.
    ratios: Vec<Ratio>,
}

impl Report {
    /// A section that ends with its ratios and where they were measured.
    fn with_ratios(mut section: String, ratios: Vec<Ratio>) -> Self {
        section += &format!("{}\n{}.\n", render_ratios(&ratios), circumstances());
        Self { section, ratios }
    }
}

/// Measures, prints what was found, and writes it down.
///
/// # Errors
/// Something could not be built, started or measured; a goal was missed, or with `--quick`, a
/// ratio is worse than recorded.
pub(crate) fn bench(options: &Options) -> Result<()> {
    let chosen = |bench: &Bench| match options.benches.is_empty() {
        true => !options.quick || bench.is_quick(),
        false => options.benches.contains(bench),
    };
    let all = Bench::value_variants().iter().copied();
    let chosen: Vec<Bench> = all.filter(chosen).collect();
    // What happens in process starts no program and needs no tool.
    let starts_programs = chosen.iter().any(|bench| !matches!(bench, Bench::Http));
    if starts_programs {
        setup::setup(Purpose::Bench)?;
    }
    let run = Run {
        quick: options.quick,
        interrupt: Interrupt::listen()?,
    };
    if starts_programs {
        build()?;
    }
    let mut ratios = Vec::new();
    for bench in chosen {
        let name = bench.name();
        eprintln!("bench {name}");
        let started = Instant::now();
        let report = bench
            .measure(&run)
            .with_context(|| format!("bench {name}"))?;
        eprintln!("bench {name}: {} s", started.elapsed().as_secs());
        if run.quick {
            println!("\n{}", report.section);
        } else {
            PAGE.publish(name, &report.section)?;
            record::keep(&report.ratios)?;
        }
        ratios.extend(report.ratios);
    }
    println!("\n{}", render_ratios(&ratios));
    if run.quick {
        let worsened = record::worsened(&ratios)?;
        ensure!(
            worsened.is_empty(),
            "worse than recorded by more than the spread:\n  {}",
            worsened.join("\n  ")
        );
        return Ok(());
    }
    let missed: Vec<&str> = ratios
        .iter()
        .filter(|ratio| !ratio.is_met())
        .map(|ratio| ratio.name)
        .collect();
    ensure!(
        missed.is_empty(),
        "missed goals:\n  {}",
        missed.join("\n  ")
    );
    Ok(())
}

/// What is built to be measured, and what loads it.
const PROGRAMS: [&str; 9] = [
    "observer",
    "server",
    "crowd",
    "bench_axum_echo",
    "bench_echo",
    "bench_empty_program",
    "bench_postgres",
    "bench_relay",
    "bench_sockets",
];

fn build() -> Result<()> {
    build_ebpf()?;
    eprintln!("build: release");
    build_release(&PROGRAMS.map(|program| format!("--bin={program}")))
}

/// Builds some of the workspace as it is measured.
fn build_release(arguments: &[impl AsRef<OsStr>]) -> Result<()> {
    let status = workspace::cargo()
        .args(["build", "--release", "--workspace"])
        .args(arguments)
        .status()
        .context("start cargo")?;
    ensure!(status.success(), "cargo build: {status}");
    Ok(())
}

/// Starts the plain axum server that echoes, in a cgroup if one is given.
fn echo_server(ports: &Ports, cgroup: Option<&Path>, interrupt: &Interrupt) -> Result<Service> {
    let arguments = [
        format!("--address=127.0.0.1:{}", ports.public),
        format!("--management-address=127.0.0.1:{}", ports.management),
    ];
    let mut service = match cgroup {
        None => Service::start_release("bench_axum_echo", &arguments)?,
        Some(cgroup) => {
            let mut command = kernel::in_cgroup(cgroup, "bench_axum_echo");
            Service::start_command("bench_axum_echo", command.args(arguments))?
        }
    };
    wait_for_listener(ports.public, &mut service, interrupt)?;
    Ok(service)
}

/// Waits until something listens on a port.
fn wait_for_listener(port: u16, service: &mut Service, interrupt: &Interrupt) -> Result<()> {
    wait_for("listener", START_BOUND, &mut [service], interrupt, || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect")?;
        Ok(Some(()))
    })
}
