//! Services that are not ours, with the exporters that their users have: HAProxy, nginx, and what
//! people write in Python and for Node; those whose claim is no gauge are in `forms`.
//!
//! It starts them and says where their gauge is. `cargo xtask setup` installs them, the packages of
//! Python and Node in a folder that `PLUMBLINE_FOREIGN` names.

mod forms;

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, kill_process};
use tempfile::TempDir;

use crate::cable::{self, Cable};
use crate::gallery::Liar;
use crate::port::free_address;
use crate::process::{Process, Signal};

const BOUND: Duration = Duration::from_secs(30);

/// The port of nginx's second server: its connections are in the gauge, and no others know of it.
pub const NGINX_SECOND: u16 = 8081;

/// HAProxy with its own exporter, before a server whose gauge nobody asks for.
const HAPROXY: &str = "\
global
    maxconn 4000
defaults
    mode http
    timeout connect 5s
    timeout client 1m
    timeout server 1m
    timeout tunnel 1m
frontend web
    bind PUBLIC
    maxconn LIMIT
    default_backend relay
frontend exporter
    bind MANAGEMENT
    http-request use-service prometheus-exporter if { path /metrics }
backend relay
    server one BACKEND
";

/// nginx with the page that its exporter reads, on the port that is watched: what reads it there is
/// a connection like any other.
const NGINX: &str = "\
daemon off;
pid nginx.pid;
error_log stderr;
worker_processes 2;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    keepalive_requests 100000000;
    server {
        listen ADDRESS:8080;
        location / { return 200 'hello'; }
        location = /stub_status { stub_status; }
    }
    server {
        listen ADDRESS:8081;
        location / { return 200 'hello'; }
    }
}
";

/// Whether a service counts as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It does.
    Honest,
    /// It has a bug that its users have had.
    Lying,
}

/// A service that runs, and its claim.
#[derive(Debug)]
pub struct Service {
    /// What it is.
    pub name: &'static str,
    /// Where clients connect.
    pub public: SocketAddr,
    /// Where its gauge is.
    pub gauge_url: String,
    /// What of that page is the claim: the setting and its value, as the configuration has them.
    pub claim: (&'static str, String),
    /// What the gauge counts, as the configuration has it.
    pub counts: &'static str,
    /// The network namespace, as the configuration has it.
    pub netns: String,
    process: Process,
    command: Command,
    /// What listens when it is ready.
    ready: String,
    _beside: Vec<Process>,
    _folder: Option<TempDir>,
    _cable: Option<Cable>,
}

impl Service {
    /// `websockets` with `prometheus_client`. The lying one decrements after its loop, which an
    /// aborted connection leaves by an exception.
    ///
    /// # Errors
    /// It does not come up; the text has its log.
    pub async fn python(manner: Manner) -> Result<Self> {
        let mut command = Command::new(installed("python/bin/python3"));
        command.arg(script("service.py"));
        Self::of_script("python", command, manner).await
    }

    /// `ws` with `prom-client`. The lying one takes an end without a close frame for none.
    ///
    /// # Errors
    /// It does not come up; the text has its log.
    pub async fn node(manner: Manner) -> Result<Self> {
        let mut command = Command::new("node");
        command.env("NODE_PATH", installed("node/node_modules"));
        command.arg(script("service.js"));
        Self::of_script("node", command, manner).await
    }

    async fn of_script(name: &'static str, mut command: Command, manner: Manner) -> Result<Self> {
        let (public, management) = (free_address()?, free_address()?);
        let manner = match manner {
            Manner::Honest => "honest",
            Manner::Lying => "lying",
        };
        let ports = [public, management].map(|address| address.port().to_string());
        command.args(ports).arg(manner);
        let process = Process::start(&mut command)?;
        let url = format!("http://{management}/metrics");
        let mut service = Self {
            name,
            public,
            gauge_url: url.clone(),
            claim: ("gauge", "active_connections".to_owned()),
            counts: "websocket",
            netns: "self".to_owned(),
            process,
            command,
            ready: url,
            _beside: Vec::new(),
            _folder: None,
            _cable: None,
        };
        service.wait().await?;
        Ok(service)
    }

    /// HAProxy, whose front end takes `limit` connections at once.
    ///
    /// # Errors
    /// It or its backend does not come up; the text has the log.
    pub async fn haproxy(limit: u32) -> Result<Self> {
        let (public, management) = (free_address()?, free_address()?);
        let relay = Liar::start("half_open", &[]).await?;

        let folder = tempfile::tempdir().context("make a temporary directory")?;
        let file = folder.path().join("haproxy.cfg");
        let text = HAPROXY
            .replace("PUBLIC", &public.to_string())
            .replace("MANAGEMENT", &management.to_string())
            .replace("BACKEND", &relay.public.to_string())
            .replace("LIMIT", &limit.to_string());
        std::fs::write(&file, text).context("write HAProxy's configuration")?;
        let mut command = Command::new("haproxy");
        command.arg("-f").arg(&file).arg("-db");
        let process = Process::start(&mut command)?;
        let url = format!("http://{management}/metrics");
        let mut service = Self {
            name: "haproxy",
            public,
            gauge_url: url.clone(),
            claim: (
                "gauge",
                "haproxy_frontend_current_sessions{proxy=\"web\"}".to_owned(),
            ),
            counts: "established",
            netns: "self".to_owned(),
            process,
            command,
            ready: url,
            _beside: vec![relay.process],
            _folder: Some(folder),
            _cable: None,
        };
        service.wait().await?;
        Ok(service)
    }

    /// nginx in a network namespace of its own, with its exporter outside. Its gauge counts the
    /// connections of all its servers: see [`NGINX_SECOND`].
    ///
    /// # Errors
    /// It or its exporter does not come up; the text has the log.
    pub async fn nginx() -> Result<Self> {
        let cable = Cable::lay().await?;
        let folder = tempfile::tempdir().context("make a temporary directory")?;
        let file = folder.path().join("nginx.conf");
        let text = NGINX.replace("ADDRESS", &cable.there.to_string());
        std::fs::write(&file, text).context("write nginx's configuration")?;
        let mut command = cable.command("nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file);
        let mut process = Process::start(&mut command)?;
        let public = SocketAddr::new(cable.there.into(), 8080);
        let ready = format!("http://{public}/stub_status");
        process.wait_for_url(&ready, BOUND).await?;

        let management = free_address()?;
        let mut exporter = Process::start(
            Command::new("prometheus-nginx-exporter")
                .arg(format!("-nginx.scrape-uri={ready}"))
                .arg(format!("-web.listen-address={management}")),
        )?;
        let url = format!("http://{management}/metrics");
        exporter.wait_for_url(&url, BOUND).await?;
        Ok(Self {
            name: "nginx",
            public,
            gauge_url: url,
            claim: ("gauge", "nginx_connections_active".to_owned()),
            counts: "established",
            netns: cable.netns(),
            process,
            command,
            ready,
            _beside: vec![exporter],
            _folder: Some(folder),
            _cable: Some(cable),
        })
    }

    /// Ends it, and starts it again where it was.
    ///
    /// # Errors
    /// It does not end, or does not come up again.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.terminate(BOUND).await?;
        self.process = Process::start(&mut self.command)?;
        self.wait().await
    }

    /// The id of its process; of several the first.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal, and its workers.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        let id = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        for child in children.context("list the workers")?.split_whitespace() {
            let child = child.parse().ok().and_then(Pid::from_raw);
            kill_process(child.context("a worker's id")?, signal).context("signal a worker")?;
        }
        self.process.signal(signal)
    }

    async fn wait(&mut self) -> Result<()> {
        self.process.wait_for_url(&self.ready, BOUND).await
    }
}

/// Why the service of this name cannot run here; `None` if it can.
///
/// # Errors
/// There is no such service.
pub fn obstacle(name: &str) -> Result<Option<String>> {
    let has = |command: &str, arguments: &[&str]| succeeds(Command::new(command).args(arguments));
    let (is_here, needs) = match name {
        "haproxy" => (has("haproxy", &["-v"]), "haproxy"),
        "nginx" => {
            if let Some(obstacle) = cable::obstacle() {
                return Ok(Some(obstacle));
            }
            let exporter = has("prometheus-nginx-exporter", &["-version"]);
            (
                has("nginx", &["-v"]) && exporter,
                "nginx and prometheus-nginx-exporter",
            )
        }
        "prometheus" => (has("prometheus", &["--version"]), "prometheus"),
        "nats" => (has("nats-server", &["--version"]), "nats-server"),
        "python" => {
            let import = "import websockets.asyncio.server, prometheus_client";
            let mut python = Command::new(installed("python/bin/python3"));
            (
                succeeds(python.args(["-c", import])),
                "python3 with websockets and prometheus_client in $PLUMBLINE_FOREIGN/python",
            )
        }
        "node" => {
            let mut node = Command::new("node");
            node.env("NODE_PATH", installed("node/node_modules"));
            (
                succeeds(node.args(["-e", "require('ws'); require('prom-client')"])),
                "node with ws and prom-client in $PLUMBLINE_FOREIGN/node",
            )
        }
        _ => bail!("there is no foreign service {name:?}"),
    };
    Ok((!is_here).then(|| format!("needs {needs}")))
}

/// What `setup` has installed, as a path below the folder; it may not exist.
pub fn installed(what: &str) -> PathBuf {
    let folder = env::var_os("PLUMBLINE_FOREIGN").map(PathBuf::from);
    folder.unwrap_or_default().join(what)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("foreign")
        .join(name)
}

fn succeeds(command: &mut Command) -> bool {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
