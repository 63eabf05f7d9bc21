//! What the observer takes: CPU time and memory, by how much there is to watch, and how long it
//! needs to know 200,000 sockets.
//!
//! Beside it, `node_exporter` with its tcpstat collector, scraped each second, and `ss`.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ureq::Agent;

use super::claim::Claim;
use super::companion::{Observer, run};
use super::figure::{Goal, Ratio, Spread, short};
use super::{Report, Run, usage};
use crate::services::{Interrupt, Ports, Service, wait_for};
use crate::step::pause;
use crate::verdict::client;
use crate::workspace;

/// Sockets that one process holds: less than a process may open on the development machines.
const PER_PROCESS: u64 = 16_000;

/// So many handshakes take less, even on a busy machine.
const OPEN_BOUND: Duration = Duration::from_secs(300);

/// In this time the observer has dumped its sockets once more: it does each half minute.
const WATCHED: u64 = 45;

/// A connection that was refused or ended since is gone from the kernel's lists within this.
const SETTLE: Duration = Duration::from_secs(3);

/// What there is to watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scene {
    /// Open connections.
    open: u64,
    /// Connections that are opened and closed, each second.
    churn: u64,
}

impl Scene {
    fn label(self) -> String {
        match self.churn {
            0 => format!("{} open", self.open),
            churn => format!("{} open, {churn} opened and closed each second", self.open),
        }
    }
}

/// What watching a scene took. CPU time in seconds for each second of the clock.
struct Taken {
    scene: Scene,
    /// From the observer's start until its witnesses agreed. Unit: seconds.
    start: Spread,
    /// The observer's seconds: each has one check and ten samples; some have a dump as well.
    seconds: Spread,
    /// Their mean.
    mean: f64,
    /// The observer's memory. Unit: KiB.
    resident: u64,
    /// Its maps in the kernel, made for `max-sockets`. Unit: KiB.
    maps: u64,
    /// `node_exporter`, scraped each second: mean, and its memory in KiB.
    exporter: (f64, u64),
    /// One `ss -Htn` on the port, by the clock. Unit: seconds.
    ss: Spread,
}

/// Watches each scene.
///
/// # Errors
/// Something could not be started or measured, or the observer did not count every socket.
pub(super) fn bench(run: &Run) -> Result<Report> {
    let client = client();
    let scenes: &[(u64, u64)] = if run.quick {
        &[(10, 0), (10_000, 0)]
    } else {
        &[(10, 0), (10, 5_000), (10_000, 0), (200_000, 0)]
    };
    let mut all = Vec::new();
    for &(open, churn) in scenes {
        let scene = Scene { open, churn };
        eprintln!("{}", scene.label());
        all.push(watch(scene, &client, run).with_context(|| scene.label())?);
    }
    let ratios = ratios(&all, run);
    Ok(Report::with_ratios(render(&all)?, ratios))
}

fn ratios(all: &[Taken], run: &Run) -> Vec<Ratio> {
    let (Some(idle), Some(most)) = (all.first(), all.last()) else {
        return Vec::new();
    };
    let grown = Spread {
        median: most.seconds.median / idle.seconds.median,
        least: most.seconds.least / idle.seconds.median,
        most: most.seconds.median / idle.seconds.least,
    };
    let budget = |taken: &Taken| 12.0 * 1024.0 + 200.0 / 1024.0 * taken.scene.open as f64;
    let one = |value: f64| Spread::of(&[value]);
    if run.quick {
        return vec![Ratio::new(
            "CPU of a second with one check, 10,000 open / 10 open",
            grown,
            Goal::AtMost(1.2),
        )];
    }
    vec![
        Ratio::new(
            "CPU of a second with one check, 200,000 open / 10 open",
            grown,
            Goal::AtMost(1.2),
        ),
        Ratio::new(
            "CPU idle, percent of a core",
            one(100.0 * idle.mean),
            Goal::AtMost(0.2),
        ),
        Ratio::new(
            "memory idle / 12 MiB and 200 B for each socket",
            one(idle.resident as f64 / budget(idle)),
            Goal::AtMost(1.0),
        ),
        Ratio::new(
            "memory with 200,000 open / 12 MiB and 200 B for each socket",
            one(most.resident as f64 / budget(most)),
            Goal::AtMost(1.0),
        ),
        Ratio::new(
            "start with 200,000 open, seconds",
            most.start,
            Goal::AtMost(2.0),
        ),
    ]
}

fn watch(scene: Scene, client: &Agent, run: &Run) -> Result<Taken> {
    let claim = Claim::serve(scene.open)?;
    let ports = Ports {
        management: claim.port(),
        ..Ports::choose()?
    };
    let mut crowd = gather(scene, ports.public, &run.interrupt)?;
    let observer = Observer::of(&ports).counting("established");
    let mut starts = Vec::new();
    let mut service = None;
    for _ in 0..run.size(5, 2) {
        // One after the other: two would both be attached.
        drop(service.take());
        let started = Instant::now();
        let mut started_service = observer.spawn()?;
        observer.wait_until_ready(&mut started_service, client, &run.interrupt)?;
        starts.push(started.elapsed().as_secs_f64());
        service = Some(started_service);
    }
    let service = service.context("no observer")?;
    if scene.churn == 0 {
        let counted = count(&ports, client)?;
        ensure!(
            counted == scene.open,
            "the observer counts {counted} sockets"
        );
    }
    let ss = time_ss(ports.public, run)?;
    let exporter = Exporter::start(&run.interrupt)?;
    pause(SETTLE);
    let seconds = run.size(WATCHED, 8);
    let mut each = Vec::new();
    let began = (usage::cpu_seconds(service.id())?, exporter.cpu()?);
    let started = Instant::now();
    let mut before = began.0;
    for second in 1..=seconds {
        ensure!(!run.interrupt.came(), "interrupted");
        exporter.scrape(client)?;
        pause(Duration::from_secs(second).saturating_sub(started.elapsed()));
        let now = usage::cpu_seconds(service.id())?;
        each.push(now - before);
        before = now;
    }
    let elapsed = started.elapsed().as_secs_f64();
    for service in &mut crowd {
        service.check_running()?;
    }
    Ok(Taken {
        scene,
        start: Spread::of(&starts),
        seconds: Spread::of(&each),
        mean: (before - began.0) / elapsed,
        resident: usage::resident_kib(service.id())?,
        maps: usage::maps_kib(service.id())?,
        exporter: ((exporter.cpu()? - began.1) / elapsed, exporter.resident()?),
        ss,
    })
}

/// Starts those who accept, and those who connect.
fn gather(scene: Scene, port: u16, interrupt: &Interrupt) -> Result<Vec<Service>> {
    let address = format!("--address=127.0.0.1:{port}");
    let mut crowd = Vec::new();
    let mut start = |name: String, arguments: &[String], said: &str| -> Result<()> {
        let mut command = Command::new(crate::services::release_program("bench_sockets"));
        let mut service = Service::start_command(&name, command.arg(&address).args(arguments))?;
        let log = service.log().to_owned();
        wait_for(said, OPEN_BOUND, &mut [&mut service], interrupt, || {
            let text = fs::read_to_string(&log).context("read what it says")?;
            Ok(text.contains(said).then_some(()))
        })?;
        crowd.push(service);
        Ok(())
    };
    let processes = scene.open.div_ceil(PER_PROCESS);
    for index in 0..processes {
        start(
            format!("accept-{index}"),
            &["accept".to_owned()],
            "listening",
        )?;
    }
    for index in 0..processes {
        let count = PER_PROCESS.min(scene.open - index * PER_PROCESS);
        let hold = [
            "hold".to_owned(),
            format!("--source=127.0.1.{}", index + 1),
            format!("--count={count}"),
        ];
        start(format!("hold-{index}"), &hold, "open")?;
    }
    if scene.churn > 0 {
        let churn = ["churn".to_owned(), format!("--rate={}", scene.churn)];
        start("churn".to_owned(), &churn, "open")?;
    }
    Ok(crowd)
}

/// What the observer counts.
fn count(ports: &Ports, client: &Agent) -> Result<u64> {
    let url = format!("{}/metrics", ports.observer_url());
    let page = client.get(&url).call().context("ask the observer")?;
    let page = page.into_body().read_to_string().context("read its page")?;
    let classes = page
        .lines()
        .filter(|line| line.starts_with("observer_kernel_connections{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Ok(classes.sum())
}

fn time_ss(port: u16, run_: &Run) -> Result<Spread> {
    let mut times = Vec::new();
    for _ in 0..run_.size(15, 3) {
        let started = Instant::now();
        run(Command::new("sh").args([
            "-c",
            &format!("ss -Htn state established 'sport = :{port}' > /dev/null"),
        ]))?;
        times.push(started.elapsed().as_secs_f64());
    }
    Ok(Spread::of(&times))
}

/// `node_exporter` with no collector but that of TCP states.
struct Exporter {
    service: Service,
    url: String,
}

impl Exporter {
    fn start(interrupt: &Interrupt) -> Result<Self> {
        let port = Ports::choose()?.public;
        let mut command = Command::new("prometheus-node-exporter");
        command
            .args(["--collector.disable-defaults", "--collector.tcpstat"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .env("PATH", workspace::search_path(&[])?);
        let mut service = Service::start_command("node_exporter", &mut command)?;
        super::wait_for_listener(port, &mut service, interrupt)?;
        Ok(Self {
            service,
            url: format!("http://127.0.0.1:{port}/metrics"),
        })
    }

    fn scrape(&self, client: &Agent) -> Result<()> {
        let page = client
            .get(&self.url)
            .call()
            .context("scrape node_exporter")?;
        let page = page.into_body().read_to_string().context("read its page")?;
        ensure!(
            page.contains("node_tcp_connection_states"),
            "it has no TCP states"
        );
        Ok(())
    }

    fn cpu(&self) -> Result<f64> {
        usage::cpu_seconds(self.service.id())
    }

    fn resident(&self) -> Result<u64> {
        usage::resident_kib(self.service.id())
    }
}

fn render(all: &[Taken]) -> Result<String> {
    let mut text = String::new();
    writeln!(
        text,
        "## What the observer takes\n\n\
         `cargo xtask bench observer`: plain TCP connections on a port that processes of \
         {PER_PROCESS} sockets share; one target, checked each second for {WATCHED} s. A *second* is \
         the CPU time of one second: one check, ten samples of the counts, and each half minute \
         a dump of all sockets, which is the greatest of the range. *Start* is from the start of \
         the process until both witnesses agree; without churn, the observer then counts exactly \
         what is open. `node_exporter` has the tcpstat collector alone, and is scraped each second; \
         it sees the whole host.\n\n\
         | | start, s | a second, ms of CPU | mean, % of a core | memory, KiB | maps, KiB | \
         `node_exporter`: %, KiB | one `ss -Htn`, ms |\n|---|---|---|---|---|---|---|---|"
    )?;
    for taken in all {
        let milliseconds = |spread: Spread| Spread {
            median: 1e3 * spread.median,
            least: 1e3 * spread.least,
            most: 1e3 * spread.most,
        };
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {}, {} | {} |",
            taken.scene.label(),
            taken.start,
            milliseconds(taken.seconds),
            short(100.0 * taken.mean),
            taken.resident,
            taken.maps,
            short(100.0 * taken.exporter.0),
            taken.exporter.1,
            milliseconds(taken.ss),
        )?;
    }
    text +=
        "\nThe maps are made at the start for `max-sockets`, here 262,144, whatever is open.\n\n";
    Ok(text)
}
