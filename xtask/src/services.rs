//! The programs that `demo` and `up` start: on free ports, with their logs kept, and stopped by id
//! whatever happens.
//!
//! It knows how they are started; what they say about each other is `verdict`'s.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::build_ebpf::build_ebpf;
use crate::setup::{self, Purpose};
use crate::step::{pause, tail};
use crate::workspace;

/// A service that takes longer to stop is killed.
const STOP_BOUND: Duration = Duration::from_secs(15);

/// Set by Ctrl-C, SIGTERM or a closed terminal: every wait ends, and what was started is stopped.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn listen() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&flag)).context("listen for Ctrl-C")?;
        }
        Ok(Self(flag))
    }

    /// Whether it has come.
    pub(crate) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Ports on this machine that nobody has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// The service's, for its clients.
    pub(crate) public: u16,
    /// The service's `/metrics`.
    pub(crate) management: u16,
    /// The observer's own endpoint.
    pub(crate) observer: u16,
}

impl Ports {
    /// Those that the programs have by default.
    pub(crate) const DEFAULT: Self = Self {
        public: 3000,
        management: 9090,
        observer: 10090,
    };

    /// The default ones where they are free, others where they are taken.
    pub(crate) fn choose() -> Result<Self> {
        let listen = |port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
        // All are held until all are chosen: else one could be given out twice.
        let mut held = Vec::new();
        let Self {
            public,
            management,
            observer,
        } = Self::DEFAULT;
        for port in [public, management, observer] {
            held.push(
                listen(port)
                    .or_else(|_| listen(0))
                    .context("find a free port")?,
            );
        }
        let mut ports = [0; 3];
        for (port, listener) in ports.iter_mut().zip(&held) {
            *port = listener.local_addr().context("ask for a port")?.port();
        }
        let [public, management, observer] = ports;
        Ok(Self {
            public,
            management,
            observer,
        })
    }

    /// The page that has the gauge.
    pub(crate) fn gauge_url(&self) -> String {
        format!("http://127.0.0.1:{}/metrics", self.management)
    }

    /// The observer's endpoint.
    pub(crate) fn observer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.observer)
    }
}

/// Installs what is missing and builds everything that is started here.
pub(crate) fn prepare() -> Result<()> {
    setup::setup(Purpose::Run)?;
    build_ebpf()?;
    eprintln!("build: the workspace's programs");
    let started = Instant::now();
    let status = workspace::cargo()
        .args(["build", "--workspace", "--bins"])
        .status()
        .context("start cargo")?;
    ensure!(status.success(), "cargo build: {status}");
    eprintln!("build: {:.1} s", started.elapsed().as_secs_f64());
    grant_capabilities(&program("observer"))
}

/// Without root, the observer gets what it needs from its own file.
fn grant_capabilities(observer: &Path) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let rights = "cap_bpf,cap_perfmon,cap_net_admin+ep";
    let hint = format!("sudo setcap {rights} {}", observer.display());
    eprintln!("observer: not root, so: {hint}");
    let status = Command::new("sudo")
        .args(["setcap", rights])
        .arg(observer)
        .status()
        .with_context(|| format!("sudo is missing\nhint: as root: {hint}"))?;
    ensure!(status.success(), "setcap: {status}");
    Ok(())
}

/// Where cargo puts the program `name`.
fn program(name: &str) -> PathBuf {
    workspace::target_dir().join("debug").join(name)
}

/// The same, built to be measured.
pub(crate) fn release_program(name: &str) -> PathBuf {
    workspace::target_dir().join("release").join(name)
}

/// A program that runs.
pub(crate) struct Service {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Starts the workspace's program `name`; both of its outputs go to its log.
    pub(crate) fn start(name: &'static str, arguments: &[String]) -> Result<Self> {
        Self::start_command(name, Command::new(program(name)).args(arguments))
    }

    /// The same, as it was built to be measured.
    pub(crate) fn start_release(name: &'static str, arguments: &[String]) -> Result<Self> {
        Self::start_command(name, Command::new(release_program(name)).args(arguments))
    }

    /// Starts any command; its log is called `name`.
    pub(crate) fn start_command(name: &str, command: &mut Command) -> Result<Self> {
        let folder = workspace::root().join("target/xtask");
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let child = command
            .current_dir(workspace::root())
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("share the log")?)
            .stderr(output)
            // Ctrl-C reaches the task alone, which then stops the services in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        eprintln!("  {name}: process {}, log {}", child.id(), log.display());
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// The relay server, with a data directory of its own that is empty.
    pub(crate) fn start_server(ports: &Ports) -> Result<Self> {
        let data = workspace::root().join("target/xtask/server-data");
        if data.exists() {
            fs::remove_dir_all(&data).context("empty the server's data directory")?;
        }
        let mut arguments = listen_arguments(ports);
        arguments.push(format!("--data-dir={}", data.display()));
        Self::start("server", &arguments)
    }

    /// The observer, watching the gauge that is behind `ports`.
    pub(crate) fn start_observer(ports: &Ports) -> Result<Self> {
        let arguments = [
            "run".to_owned(),
            "--name=relay".to_owned(),
            format!("--listen=:{}", ports.public),
            format!("--gauge-url={}", ports.gauge_url()),
            "--gauge=active_connections".to_owned(),
            "--counts=websocket".to_owned(),
            format!("--web.listen-address=127.0.0.1:{}", ports.observer),
        ];
        Self::start("observer", &arguments)
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file that has what it says.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Fails if it has ended, with the end of its log.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("wait for a process")? {
            let (name, log) = (&self.name, tail(&self.log, 20));
            bail!("{name} has ended ({status}); the end of its log:\n{log}");
        }
        Ok(())
    }

    /// Asks it to stop, and waits; a service that does not stop is killed.
    fn stop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // Fails only where it has just ended.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let started = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if started.elapsed() > STOP_BOUND {
                eprintln!("  {}: did not stop in {STOP_BOUND:?}, killed", self.name);
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            pause(Duration::from_millis(20));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where a service listens, as the server and the lying servers take it.
pub(crate) fn listen_arguments(ports: &Ports) -> Vec<String> {
    vec![
        format!("--public-address=127.0.0.1:{}", ports.public),
        format!("--management-address=127.0.0.1:{}", ports.management),
    ]
}

/// Asks `probe` until it answers; ends early when a service has ended or Ctrl-C came.
pub(crate) fn wait_for<T>(
    what: &str,
    bound: Duration,
    services: &mut [&mut Service],
    interrupt: &Interrupt,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    let mut said = 0;
    loop {
        ensure!(!interrupt.came(), "interrupted");
        for service in services.iter_mut() {
            service.check_running()?;
        }
        let refusal = match probe() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => String::new(),
            Err(error) => format!(": {error:#}"),
        };
        let elapsed = started.elapsed();
        ensure!(elapsed < bound, "no {what} within {bound:?}{refusal}");
        if elapsed.as_secs() >= said + 5 {
            said = elapsed.as_secs();
            eprintln!("  waiting for {what} … {said} s");
        }
        pause(Duration::from_millis(100));
    }
}
