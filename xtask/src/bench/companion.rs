//! What runs beside a load: nothing, the observer, or what people use instead of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use ureq::Agent;

use super::bpf_stats;
use crate::build_ebpf::EMPTY;
use crate::services::{Interrupt, Ports, Service, release_program, wait_for};
use crate::step::pause;
use crate::workspace;

/// Programs start within this on a busy machine.
pub(super) const START_BOUND: Duration = Duration::from_secs(30);

/// From a tool's load of its programs to their being attached; nothing tells when they are.
const ATTACHED: Duration = Duration::from_millis(500);

/// What runs beside the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Companion {
    /// Nothing.
    Nobody,
    /// A program that does nothing, at the tracepoint of state changes.
    Empty,
    /// That, and one at the egress of the root of cgroup2: the observer's hooks without its programs.
    EmptyPair,
    /// The observer, watching the port of the load.
    Observer,
    /// The observer, watching another port.
    ObserverElsewhere,
    /// `tcpstates` of libbpf-tools.
    TcpStates,
    /// The same, told in the kernel to leave out other ports.
    TcpStatesOfPort,
    /// `tcplife` of libbpf-tools.
    TcpLife,
    /// `ss -Htn` on the port, each second.
    Ss,
}

impl Companion {
    /// As tables name it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Nobody => "none",
            Self::Empty => "empty program",
            Self::EmptyPair => "empty programs on both hooks",
            Self::Observer => "observer",
            Self::ObserverElsewhere => "observer of another port",
            Self::TcpStates => "`tcpstates`",
            Self::TcpStatesOfPort => "`tcpstates --localport`",
            Self::TcpLife => "`tcplife`",
            Self::Ss => "`ss` each second",
        }
    }

    /// Starts it, and waits until it works; nobody starts nothing.
    ///
    /// # Errors
    /// It does not start.
    pub(super) fn start(
        self,
        ports: &Ports,
        client: &Agent,
        interrupt: &Interrupt,
    ) -> Result<Option<Service>> {
        let port = ports.public;
        match self {
            Self::Nobody => Ok(None),
            Self::Empty => start_empty(true, None, interrupt).map(Some),
            Self::EmptyPair => start_empty(true, Some(&cgroup2_root()?), interrupt).map(Some),
            Self::Observer => Observer::of(ports).start(client, interrupt).map(Some),
            Self::ObserverElsewhere => {
                let elsewhere = Ports {
                    public: if port == 1 { 2 } else { 1 },
                    ..*ports
                };
                Observer::of(&elsewhere).start(client, interrupt).map(Some)
            }
            Self::TcpStates => start_tracer("tcpstates", "", interrupt).map(Some),
            Self::TcpStatesOfPort => {
                start_tracer("tcpstates", &format!("--localport={port}"), interrupt).map(Some)
            }
            Self::TcpLife => start_tracer("tcplife", "", interrupt).map(Some),
            Self::Ss => start_polling(port).map(Some),
        }
    }
}

/// How an observer is started.
#[derive(Debug, Clone)]
pub(super) struct Observer {
    ports: Ports,
    counts: &'static str,
    interval: &'static str,
    cgroup: Option<PathBuf>,
}

impl Observer {
    /// One that checks the gauge of WebSockets behind `ports` each second.
    pub(super) fn of(ports: &Ports) -> Self {
        Self {
            ports: *ports,
            counts: "websocket",
            interval: "1s",
            cgroup: None,
        }
    }

    /// One whose gauge counts something else.
    pub(super) fn counting(self, counts: &'static str) -> Self {
        Self { counts, ..self }
    }

    /// One that looks at the packets of this cgroup only.
    pub(super) fn in_cgroup(self, cgroup: &Path) -> Self {
        Self {
            cgroup: Some(cgroup.to_owned()),
            ..self
        }
    }

    /// Its configuration.
    fn configuration(&self) -> String {
        let Self {
            ports,
            counts,
            interval,
            cgroup,
        } = self;
        let cgroup = cgroup
            .as_ref()
            .map(|cgroup| format!("[kernel]\ncgroup = \"{}\"\n", cgroup.display()));
        format!(
            "[web]\nlisten-address = \"127.0.0.1:{}\"\n{}[[target]]\nname = \"bench\"\n\
             listen = \":{}\"\ngauge-url = [\"{}\"]\ngauge = \"active_connections\"\n\
             counts = \"{counts}\"\ninterval = \"{interval}\"\n",
            ports.observer,
            cgroup.unwrap_or_default(),
            ports.public,
            ports.gauge_url(),
        )
    }

    /// Starts it without waiting for anything.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn spawn(&self) -> Result<Service> {
        let file = workspace::root().join("target/xtask/bench-observer.toml");
        fs::write(&file, self.configuration()).context("write the observer's configuration")?;
        let arguments = ["run".to_owned(), format!("--config={}", file.display())];
        Service::start_release("observer", &arguments)
    }

    /// Starts it, and waits until its witnesses agree.
    ///
    /// # Errors
    /// It does not start.
    pub(super) fn start(&self, client: &Agent, interrupt: &Interrupt) -> Result<Service> {
        let mut observer = self.spawn()?;
        self.wait_until_ready(&mut observer, client, interrupt)?;
        Ok(observer)
    }

    /// Waits until its witnesses agree.
    ///
    /// # Errors
    /// They do not in time.
    pub(super) fn wait_until_ready(
        &self,
        observer: &mut Service,
        client: &Agent,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let url = format!("{}/-/ready", self.ports.observer_url());
        wait_for("observer", START_BOUND, &mut [observer], interrupt, || {
            let answer = client.get(&url).call().context("ask the observer")?;
            Ok((answer.status() == 200).then_some(()))
        })
    }
}

/// Attaches programs that do nothing: to state changes, to a cgroup's packets, or to both.
///
/// # Errors
/// The kernel refuses.
pub(super) fn start_empty(
    state_changes: bool,
    cgroup: Option<&Path>,
    interrupt: &Interrupt,
) -> Result<Service> {
    let object = workspace::root().join(EMPTY);
    let mut arguments = vec![format!("--object={}", object.display())];
    arguments.extend(state_changes.then(|| "--state-changes".to_owned()));
    arguments.extend(cgroup.map(|path| format!("--cgroup={}", path.display())));
    let mut service = Service::start_release("bench_empty_program", &arguments)?;
    let log = service.log().to_owned();
    wait_for(
        "empty program",
        START_BOUND,
        &mut [&mut service],
        interrupt,
        || {
            let said = fs::read_to_string(&log).context("read what it says")?;
            Ok(said.contains("attached").then_some(()))
        },
    )?;
    Ok(service)
}

/// Where cgroup2 is mounted.
///
/// # Errors
/// Nowhere.
pub(super) fn cgroup2_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
    let root = mounts.lines().find_map(|line| {
        let [_, point, kind, ..] = line.split(' ').collect::<Vec<_>>()[..] else {
            return None;
        };
        (kind == "cgroup2").then(|| PathBuf::from(point))
    });
    root.context("cgroup2 is not mounted")
}

/// Starts a tool of libbpf-tools. What it prints is thrown away, which costs it least.
fn start_tracer(tool: &str, option: &str, interrupt: &Interrupt) -> Result<Service> {
    // It finds the tracepoint by tracefs: in a mount namespace of its own, where it is not mounted.
    let script = format!(
        "test -d /sys/kernel/tracing/events || mount -t tracefs tracefs /sys/kernel/tracing; \
         exec {tool} {option} > /dev/null"
    );
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", &script])
        .env("PATH", workspace::search_path(&[])?);
    let mut service = Service::start_command(tool, &mut command)?;
    let process = service.id();
    wait_for(tool, START_BOUND, &mut [&mut service], interrupt, || {
        Ok(bpf_stats::has_programs(process).then_some(()))
    })?;
    pause(ATTACHED);
    service.check_running()?;
    Ok(service)
}

fn start_polling(port: u16) -> Result<Service> {
    let script = format!(
        "while :; do ss -Htn state established 'sport = :{port}' > /dev/null; sleep 1; done"
    );
    Service::start_command("ss", Command::new("sh").args(["-c", &script]))
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// It cannot be started, or fails.
pub(super) fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {name}"))?;
    anyhow::ensure!(output.status.success(), "{name}: {}", output.status);
    String::from_utf8(output.stdout).with_context(|| format!("{name} printed no text"))
}

/// The same for one of the benches' own programs, as built to be measured.
///
/// # Errors
/// As of [`run`].
pub(super) fn run_release(name: &str, arguments: &[String]) -> Result<String> {
    run(Command::new(release_program(name)).args(arguments))
}
