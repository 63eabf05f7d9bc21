//! What the BPF programs cost in the kernel: for each state change, and for each packet.
//!
//! In turns, each alone, under the same load: an empty program on the same hook, the observer's
//! programs, and other people's tools. By the kernel's own measurement of BPF programs.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use ureq::Agent;

use super::bpf_stats::{Hook, Measuring, Runs};
use super::companion::{Companion, Observer, cgroup2_root, run_release, start_empty};
use super::figure::{Goal, Ratio, Spread, short};
use super::wrk::Wrk;
use super::{Report, Run, echo_server, usage};
use crate::services::{Ports, Service, release_program};
use crate::verdict::client;

/// Measures both hooks.
///
/// # Errors
/// Something could not be started or measured.
pub(super) fn bench(run: &Run) -> Result<Report> {
    let _measuring = Measuring::start()?;
    let client = client();
    let changes = StateChanges::measure(run, &client)?;
    let packets = Packets::measure(run, &client)?;
    let mut ratios = changes.ratios();
    ratios.extend(packets.ratios());
    let mut section = "## What the programs cost in the kernel\n\n".to_owned();
    changes.render(&mut section)?;
    packets.render(&mut section)?;
    Ok(Report::with_ratios(section, ratios))
}

/// One companion's rounds under connections that each carry one request.
struct Changes {
    companion: Companion,
    /// In its programs, for each state change. Unit: nanoseconds.
    in_kernel: Vec<f64>,
    /// Of its process, for each state change. Unit: nanoseconds.
    in_process: Vec<f64>,
    /// Of the whole machine, for each connection. Unit: nanoseconds.
    of_machine: Vec<f64>,
    /// State changes of the machine, for each connection.
    events: Vec<f64>,
}

/// All companions' rounds.
struct StateChanges {
    load: Wrk,
    rows: Vec<Changes>,
}

impl StateChanges {
    const ALL: [Companion; 7] = [
        Companion::Nobody,
        Companion::Empty,
        Companion::Observer,
        Companion::ObserverElsewhere,
        Companion::TcpLife,
        Companion::TcpStates,
        Companion::TcpStatesOfPort,
    ];
    const QUICK: [Companion; 3] = [Companion::Empty, Companion::Observer, Companion::TcpStates];

    fn measure(run: &Run, client: &Agent) -> Result<Self> {
        let ports = Ports::choose()?;
        let mut server = echo_server(&ports, None, &run.interrupt)?;
        let companions: &[Companion] = if run.quick { &Self::QUICK } else { &Self::ALL };
        let mut all = Self {
            load: Wrk {
                url: format!("http://127.0.0.1:{}/", ports.public),
                connections: 16,
                seconds: run.size(3, 1),
                header: Some("connection: close"),
            },
            rows: companions
                .iter()
                .map(|&companion| Changes::of(companion))
                .collect(),
        };
        for round in 0..run.size(9, 3) {
            eprintln!("state changes: round {}", round + 1);
            for changes in &mut all.rows {
                ensure!(!run.interrupt.came(), "interrupted");
                server.check_running()?;
                changes.measure(&all.load, &ports, client, run)?;
            }
        }
        Ok(all)
    }

    fn of(&self, companion: Companion) -> Option<&Changes> {
        self.rows
            .iter()
            .find(|changes| changes.companion == companion)
    }

    fn ratios(&self) -> Vec<Ratio> {
        let [empty, observer, tcpstates] = Self::QUICK.map(|companion| self.of(companion));
        let (Some(empty), Some(observer), Some(tcpstates)) = (empty, observer, tcpstates) else {
            return Vec::new();
        };
        vec![
            Ratio::new(
                "state change: observer / empty program",
                Spread::of_ratios(&observer.in_kernel, &empty.in_kernel),
                Goal::AtMost(3.0),
            ),
            Ratio::new(
                "state change: observer / tcpstates, in the kernel",
                Spread::of_ratios(&observer.in_kernel, &tcpstates.in_kernel),
                Goal::AtMost(1.0 / 80.0),
            ),
            Ratio::new(
                "state change: observer / tcpstates, both less the empty program",
                Spread::of_ratios(&observer.beyond(empty), &tcpstates.beyond(empty)),
                Goal::AtMost(1.0 / 80.0),
            ),
            Ratio::new(
                "state change: observer / tcpstates, kernel and process",
                Spread::of_ratios(&observer.total(), &tcpstates.total()),
                Goal::AtMost(1.0 / 80.0),
            ),
        ]
    }

    /// Where the observer's time goes, in words: the hook, the look at the port, a target's changes.
    fn shares(&self) -> Option<String> {
        let median = |companion| Some(Spread::of(&self.of(companion)?.in_kernel).median);
        let hook = median(Companion::Empty)?;
        let other = median(Companion::ObserverElsewhere)?;
        let own = median(Companion::Observer)?;
        let events = Spread::of(&self.of(Companion::Observer)?.events).median;
        Some(format!(
            "Of the observer's {} ns, {} are the hook and the clock, and {} the look at the port. Of \
             a connection's {} changes, on its two ends, a target has three: opened, left, closed. \
             They have the rest, {} ns each, for the cookie, the target, the socket's slot, eight \
             counts and two readings of the clock (see the profile).",
            short(own),
            short(hook),
            short(other - hook),
            short(events),
            short((own - other) * events / 3.0),
        ))
    }

    fn render(&self, text: &mut String) -> Result<()> {
        let rounds = self.rows.first().map_or(0, |row| row.of_machine.len());
        writeln!(
            text,
            "`cargo xtask bench kernel`. Each line alone, in turns, {rounds} rounds; median \
             (least–most). *In the kernel* is the run time of its BPF programs by \
             `kernel.bpf_stats_enabled`, which includes a reading of the clock: that is nearly all of \
             the empty program's. *Process* is the CPU time of its process; both for each state change of the host. *Machine* is the CPU \
             time of the whole machine for each connection, by `/proc/stat`. What `tcpstates` and \
             `tcplife` print goes to `/dev/null`.\n\n\
             A connection per request, from `wrk` to a plain axum server. Unit: ns.\n\n\
             | | in the kernel | process | machine, each connection | state changes each |\n\
             |---|---|---|---|---|"
        )?;
        for changes in &self.rows {
            let cell = |rounds: &[f64]| {
                let is_measured = rounds.iter().all(|value| value.is_finite());
                is_measured.then(|| Spread::of(rounds).to_string())
            };
            writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                changes.companion.label(),
                cell(&changes.in_kernel).unwrap_or_default(),
                cell(&changes.in_process).unwrap_or_default(),
                Spread::of(&changes.of_machine),
                cell(&changes.events).unwrap_or_default(),
            )?;
        }
        if let Some(shares) = self.shares() {
            writeln!(text, "\n{shares}")?;
        }
        writeln!(
            text,
            "\n`tcpaccept.bt` of bpftrace needs kprobes, which not every kernel has: {}.\n\n\
             ```console\n$ wrk {}\n```\n",
            tcpaccept(),
            self.load.arguments().join(" ")
        )?;
        Ok(())
    }
}

impl Changes {
    fn of(companion: Companion) -> Self {
        Self {
            companion,
            in_kernel: Vec::new(),
            in_process: Vec::new(),
            of_machine: Vec::new(),
            events: Vec::new(),
        }
    }

    fn measure(&mut self, load: &Wrk, ports: &Ports, client: &Agent, run: &Run) -> Result<()> {
        let companion = self.companion.start(ports, client, &run.interrupt);
        let companion = companion.with_context(|| self.companion.label())?;
        let process = companion.as_ref().map(Service::id);
        let read = || -> Result<(Runs, f64)> {
            process.map_or(Ok((Runs::default(), 0.0)), |process| {
                Ok((
                    Runs::of(process, Hook::StateChanges)?,
                    usage::cpu_seconds(process)?,
                ))
            })
        };
        let (runs, cpu) = read()?;
        let machine = usage::machine_cpu_seconds()?;
        let loaded = load.run()?;
        let machine = usage::machine_cpu_seconds()? - machine;
        let (runs_after, cpu_after) = read()?;
        let runs = runs_after - runs;
        let connections = loaded.requests as f64;
        self.in_kernel.push(runs.each());
        self.in_process
            .push((cpu_after - cpu) * 1e9 / runs.count as f64);
        self.of_machine.push(machine * 1e9 / connections);
        self.events.push(match process {
            Some(_) => runs.count as f64 / connections,
            None => f64::NAN,
        });
        Ok(())
    }

    /// In the kernel, less what the hook and the clock cost anyway.
    fn beyond(&self, empty: &Self) -> Vec<f64> {
        let both = self.in_kernel.iter().zip(&empty.in_kernel);
        both.map(|(all, hook)| all - hook).collect()
    }

    fn total(&self) -> Vec<f64> {
        let both = self.in_kernel.iter().zip(&self.in_process);
        both.map(|(kernel, process)| kernel + process).collect()
    }
}

/// Whether `tcpaccept.bt` runs here, in words.
fn tcpaccept() -> &'static str {
    // BPF_PROG_TYPE_KPROBE is attached by a probe event: without that folder there is none.
    let events = [
        "/sys/kernel/tracing/kprobe_events",
        "/sys/kernel/debug/tracing/kprobe_events",
    ];
    let config = fs::read("/proc/kallsyms").unwrap_or_default();
    let has_kprobes = config
        .windows(b" register_kprobe\n".len())
        .any(|window| window == b" register_kprobe\n");
    match has_kprobes || events.iter().any(|file| Path::new(file).exists()) {
        true => "this one has them, but it sees accepts only and is not measured",
        false => "this one has none, so it does not run here",
    }
}

/// What is attached to the packets of the server's cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watcher {
    Empty,
    /// The observer of the server's port.
    Target,
    /// The observer of another port.
    Other,
}

impl Watcher {
    const ALL: [Self; 3] = [Self::Empty, Self::Target, Self::Other];

    fn label(self) -> &'static str {
        match self {
            Self::Empty => "empty program",
            Self::Target => "observer, a target's WebSockets",
            Self::Other => "observer, other traffic",
        }
    }
}

/// All watchers' rounds. Unit: nanoseconds for each packet.
struct Packets {
    arguments: Vec<String>,
    rounds: [Vec<f64>; Watcher::ALL.len()],
}

impl Packets {
    fn measure(run: &Run, client: &Agent) -> Result<Self> {
        let cgroup = Cgroup::make()?;
        let ports = Ports::choose()?;
        let mut server = echo_server(&ports, Some(&cgroup.0), &run.interrupt)?;
        let mut packets = Self {
            arguments: vec![
                format!("--address=127.0.0.1:{}", ports.public),
                format!("--seconds={}", run.size(3, 1)),
            ],
            rounds: Default::default(),
        };
        for round in 0..run.size(9, 5) {
            eprintln!("packets: round {}", round + 1);
            for (watcher, nanoseconds) in Watcher::ALL.into_iter().zip(&mut packets.rounds) {
                ensure!(!run.interrupt.came(), "interrupted");
                server.check_running()?;
                let service = match watcher {
                    Watcher::Empty => start_empty(false, Some(&cgroup.0), &run.interrupt)?,
                    Watcher::Target => Observer::of(&ports)
                        .in_cgroup(&cgroup.0)
                        .start(client, &run.interrupt)?,
                    Watcher::Other => Observer::of(&Ports { public: 1, ..ports })
                        .in_cgroup(&cgroup.0)
                        .start(client, &run.interrupt)?,
                };
                let before = Runs::of(service.id(), Hook::Packets)?;
                run_release("bench_echo", &packets.arguments)?;
                let runs = Runs::of(service.id(), Hook::Packets)? - before;
                ensure!(runs.count > 0, "{}: it saw no packet", watcher.label());
                nanoseconds.push(runs.each());
            }
        }
        Ok(packets)
    }

    fn ratios(&self) -> Vec<Ratio> {
        let [empty, target, other] = &self.rounds;
        vec![
            Ratio::new(
                "packet of a target's WebSocket / empty program",
                Spread::of_ratios(target, empty),
                Goal::AtMost(4.0),
            ),
            Ratio::new(
                "packet of other traffic / empty program",
                Spread::of_ratios(other, empty),
                Goal::AtMost(2.0),
            ),
        ]
    }

    fn render(&self, text: &mut String) -> Result<()> {
        writeln!(
            text,
            "An egress packet, of an echoing WebSocket server in a cgroup of its own, to which the \
             programs are attached: its packets alone are measured. Unit: ns.\n\n\
             | | each packet |\n|---|---|"
        )?;
        for (watcher, rounds) in Watcher::ALL.into_iter().zip(&self.rounds) {
            writeln!(text, "| {} | {} |", watcher.label(), Spread::of(rounds))?;
        }
        let arguments = self.arguments.join(" ");
        writeln!(text, "\n```console\n$ bench_echo {arguments}\n```\n")?;
        Ok(())
    }
}

/// A cgroup below the root of cgroup2, gone when the value is dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn make() -> Result<Self> {
        let folder = cgroup2_root()?.join(format!("plumbline-bench-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("  {} stays: {error}", self.0.display());
        }
    }
}

/// A command that starts a program in a cgroup.
pub(super) fn in_cgroup(cgroup: &Path, program: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""])
        .arg(cgroup)
        .arg(release_program(program));
    command
}
