//! A liar and an observer that watches it, on ports of their own.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::foreign::Service;
use tests::gallery::Liar;
use tests::load::{Crowd, Kind, Target};
use tests::port::free_address;
use tests::process::{Process, Signal};
use tests::{http, kernel_or_skip, wait};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;

/// For what takes a moment on a machine that is busy with other things.
pub(crate) const BOUND: Duration = Duration::from_secs(45);

/// Where clients of every liar ask for a WebSocket.
pub(crate) const GATEWAY: &str = "/v1/gateway";

/// Most checks between the first that shows a drift in full and the verdict.
const PATIENCE: usize = 2;

/// What is watched.
enum Watched {
    Liar(Box<Liar>),
    Readme(#[expect(dead_code, reason = "held for as long as it is to run")] Process),
    Foreign(#[expect(dead_code, reason = "held for as long as it is to run")] Box<Service>),
}

pub(crate) struct Scene {
    pub(crate) public: SocketAddr,
    pub(crate) management: SocketAddr,
    /// The observer's status page.
    pub(crate) observer: String,
    /// The flags that say what is watched.
    pub(crate) target: Vec<String>,
    report: String,
    liar: Watched,
    process: Process,
    name: String,
}

impl Scene {
    /// Nothing where the kernel cannot be asked; the skip is recorded.
    pub(crate) async fn start(liar: &str) -> Option<Self> {
        Self::start_with(liar, &[], "websocket").await
    }

    /// With arguments for the liar, and what its gauge is taken to count.
    pub(crate) async fn start_with(liar: &str, arguments: &[String], counts: &str) -> Option<Self> {
        if !kernel_or_skip() {
            return None;
        }
        let claims = [format!("--counts={counts}")];
        let scene = Self::open(liar, arguments, |_| claims.to_vec()).await;
        Some(scene.unwrap_or_else(|error| panic!("{liar}: {error:#}")))
    }

    /// With a liar that lists its sessions, or is watched as if it did not; a peer that is silent
    /// for two seconds is suspected.
    pub(crate) async fn start_suspecting(liar: &str, is_listed: bool) -> Option<Self> {
        if !kernel_or_skip() {
            return None;
        }
        let claims = |management| {
            let mut claims = vec!["--silent-after=2s".to_owned()];
            if is_listed {
                claims.push(format!("--connections-url=http://{management}/connections"));
            }
            claims
        };
        let scene = Self::open(liar, &[], claims).await;
        Some(scene.unwrap_or_else(|error| panic!("{liar}: {error:#}")))
    }

    /// The service of `exporter`'s README, and the flags that say what one of its gauges is.
    pub(crate) async fn of_readme(claims: &[&str]) -> Option<Self> {
        if !kernel_or_skip() {
            return None;
        }
        let scene = async {
            let (public, management) = (free_address()?, free_address()?);
            let addresses = [public, management].map(|address| address.to_string());
            let mut service = Process::spawn("fresh_service", &addresses)?;
            let page = format!("http://{management}/metrics");
            service.wait_for_url(&page, BOUND).await?;
            let mut flags = vec![format!("--gauge-url={page}")];
            flags.extend(claims.iter().map(|&claim| claim.to_owned()));
            let service = Watched::Readme(service);
            Self::watch(service, "fresh_service", public, management, &flags).await
        };
        Some(scene.await.unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// A service that is not ours, and flags for the observer beside those that name its gauge.
    pub(crate) async fn of(
        service: impl Future<Output = Result<Service>>,
        flags: &[String],
    ) -> Option<Self> {
        if !kernel_or_skip() {
            return None;
        }
        let service = service.await.unwrap_or_else(|error| panic!("{error:#}"));
        let mut claims = vec![
            format!("--gauge-url={}", service.gauge_url),
            format!("--{}={}", service.claim.0, service.claim.1),
            format!("--counts={}", service.counts),
            format!("--netns={}", service.netns),
            "--gauge-netns=self".to_owned(),
        ];
        claims.extend_from_slice(flags);
        let (name, public) = (service.name, service.public);
        let process = Watched::Foreign(Box::new(service));
        let scene = Self::watch(process, name, public, public, &claims).await;
        Some(scene.unwrap_or_else(|error| panic!("{name}: {error:#}")))
    }

    /// `claims` are the flags that say what the gauge is, for the address of its page.
    async fn open(
        liar: &str,
        arguments: &[String],
        claims: impl Fn(SocketAddr) -> Vec<String>,
    ) -> Result<Self> {
        let process = Liar::start(liar, arguments).await?;
        let (public, management) = (process.public, process.management);
        let mut claims = claims(management);
        claims.push(format!("--gauge-url={}", process.page()));
        let process = Watched::Liar(Box::new(process));
        Self::watch(process, liar, public, management, &claims).await
    }

    /// Starts an observer that watches the service, and waits until it is seeded. `claims` are the
    /// flags that say what the gauge is and what it counts.
    async fn watch(
        liar: Watched,
        name: &str,
        public: SocketAddr,
        management: SocketAddr,
        claims: &[String],
    ) -> Result<Self> {
        let web = free_address()?;
        let mut target = vec![
            "--name=liar".to_owned(),
            format!("--listen=:{}", public.port()),
            "--interval=500ms".to_owned(),
            "--settle=500ms".to_owned(),
        ];
        target.extend_from_slice(claims);
        let mut run = vec!["run".to_owned(), format!("--web.listen-address={web}")];
        run.extend_from_slice(&target);
        let mut observer = Process::spawn("observer", &run)?;
        let ready = format!("http://{web}/-/ready");
        observer.wait_for_url(&ready, BOUND).await?;
        Ok(Self {
            public,
            management,
            observer: format!("http://{web}"),
            target,
            report: format!("http://{web}/api/v1/targets/liar"),
            liar,
            process: observer,
            name: name.to_owned(),
        })
    }

    /// Kills the liar and starts it again where it was.
    pub(crate) async fn restart(&mut self) {
        let Watched::Liar(liar) = &mut self.liar else {
            panic!("{} is no liar", self.name);
        };
        liar.restart(Signal::KILL).await.expect("start it again");
    }

    /// Kills the observer.
    pub(crate) async fn kill_observer(&mut self) {
        self.process
            .signal(Signal::KILL)
            .expect("kill the observer");
        self.process.wait_for_exit(BOUND).await.expect("it ends");
    }

    /// WebSockets that are held open.
    pub(crate) async fn crowd(&self, count: usize) -> Crowd {
        self.crowd_at(self.public, Kind::WebSocket, count).await
    }

    /// Connections of any kind to any address.
    pub(crate) async fn crowd_at(&self, address: SocketAddr, kind: Kind, count: usize) -> Crowd {
        let mut crowd = Crowd::new(Target::new(address, GATEWAY));
        crowd.open(kind, count, 8).await.expect("open");
        crowd
    }

    /// One WebSocket, or why there is none.
    pub(crate) async fn websocket(&self, path: &str) -> Result<WebSocketStream<TcpStream>> {
        let stream = TcpStream::connect(self.public).await.context("connect")?;
        let url = format!("ws://{}{path}", self.public);
        let upgraded = tokio_tungstenite::client_async(url, stream).await;
        Ok(upgraded.context("upgrade")?.0)
    }

    /// So many upgrades that the service refuses.
    pub(crate) async fn refused(&self, path: &str, count: usize) {
        for _ in 0..count {
            self.websocket(path).await.expect_err("it refuses");
        }
    }

    /// The gauge says `claim`, and it is true.
    pub(crate) async fn agrees(&self, claim: i64) {
        wait::until_equal(
            "agreement",
            BOUND,
            ("agree".to_owned(), claim, 0),
            async || {
                let report = self.report().await?;
                let verdict = report["verdict"].as_str().unwrap_or_default().to_owned();
                ensure!(report["low"] == report["high"], "not quiet: {report}");
                let number = |key: &str| report[key].as_f64().unwrap_or(f64::NAN) as i64;
                Ok((verdict, number("claim"), number("drift")))
            },
        )
        .await
        .unwrap_or_else(|error| panic!("{}: {error:#}", self.name));
    }

    /// The observer says exactly this, soon.
    pub(crate) async fn is_caught_by(&self, verdict: &str, drift: i64) -> Value {
        let caught = wait::until(verdict, BOUND, async || {
            let report = self.report().await?;
            let is_it = report["verdict"] == verdict
                && report["drift_low"] == drift
                && report["drift_high"] == drift;
            ensure!(is_it, "{report:#}");
            Ok(report)
        });
        caught
            .await
            .unwrap_or_else(|error| panic!("{}: {error:#}", self.name))
    }

    /// The observer says exactly this, soon, and names the shape.
    pub(crate) async fn is_caught(&self, verdict: &str, drift: i64, shape: &str) {
        let report = self.is_caught_by(verdict, drift).await;
        let history = self.history().await.expect("the history");
        assert_eq!(report["shape"], shape, "{report:#} {history:#}");
        let cause = report["cause"].as_str().expect("a cause");
        let sentence = report["sentence"].as_str().expect("a sentence");
        assert!(sentence.contains(cause), "{sentence}");
        let late = checks_until_verdict(&history, verdict, drift);
        let late = late.unwrap_or_else(|| panic!("{}: no such verdict: {history:#}", self.name));
        assert!(
            late <= PATIENCE,
            "{}: {late} checks late: {history:#}",
            self.name
        );
        if matches!(self.liar, Watched::Liar(_)) {
            self.is_in_the_table(&format!("{verdict} by {}", drift.abs()), shape);
        }
    }

    /// What was caught is a row of the table in the docs. Where `PLUMBLINE_GALLERY` names a file, the
    /// row is added to it, for a table that is to be written anew.
    pub(crate) fn is_in_the_table(&self, verdict: &str, shape: &str) {
        let liar = &self.name;
        let shape = match shape {
            "" => "none".to_owned(),
            shape => format!("`{shape}`"),
        };
        let found = format!("| {verdict} | {shape} |");
        if let Some(file) = env::var_os("PLUMBLINE_GALLERY") {
            let row = format!("| `{liar}` | {} {found}", bug_of(liar));
            let open = OpenOptions::new().create(true).append(true).open(file);
            let written = open.and_then(|mut open| writeln!(open, "{row}"));
            return written.expect("write the table");
        }
        let start = format!("| `{liar}` |");
        let is_there = DRIFT
            .lines()
            .any(|line| line.starts_with(&start) && line.ends_with(&found));
        assert!(is_there, "docs/DRIFT.md lacks {start} … {found}");
    }

    /// The suspects are exactly these peers, all of one kind, and `from` is where they are from.
    pub(crate) async fn suspects(&self, from: &str, kind: &str, peers: &[SocketAddr]) -> Value {
        let suspected = wait::until("suspects", BOUND, async || {
            let report = self.report().await?;
            ensure!(
                suspected(&report) == expected(from, kind, peers),
                "{report:#}"
            );
            Ok(report)
        });
        suspected
            .await
            .unwrap_or_else(|error| panic!("{}: {error:#}", self.name))
    }

    /// From now on so many checks in a row are made, and not one finds anything.
    pub(crate) async fn only_agrees_for(&self, checks: usize) {
        let seen = self.history().await.expect("the history");
        let before = seen["checks"].as_array().map_or(0, Vec::len);
        let made = wait::until("checks", BOUND, async || {
            let history = self.history().await?;
            let made = history["checks"].as_array().cloned().unwrap_or_default();
            ensure!(made.len() >= before + checks, "{} made", made.len());
            Ok(made)
        });
        for check in &made.await.expect("checks")[before..] {
            assert_eq!(check["verdict"], "agree", "{}: {check:#}", self.name);
        }
    }

    /// What `observer check` exits with and prints.
    pub(crate) async fn check(&self, flags: &[&str]) -> (Option<i32>, String) {
        let target = self.target.iter().map(String::as_str);
        let arguments = ["check"]
            .into_iter()
            .chain(target)
            .chain(flags.iter().copied());
        let mut observer = Process::spawn("observer", arguments).expect("start");
        let status = observer.wait_for_exit(BOUND).await.expect("it ends");
        (status.code(), observer.stdout())
    }

    pub(crate) async fn report(&self) -> Result<Value> {
        read(&self.report).await
    }

    pub(crate) async fn history(&self) -> Result<Value> {
        read(&format!("{}/history", self.report)).await
    }
}

/// What a report suspects: its source, how many, and each kind and peer, in order.
pub(crate) fn suspected(report: &Value) -> (String, u64, Vec<(String, String)>) {
    let suspects = &report["suspects"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = suspects["list"].as_array().cloned().unwrap_or_default();
    let mut list: Vec<_> = list
        .iter()
        .map(|suspect| (text(&suspect["kind"]), text(&suspect["peer"])))
        .collect();
    list.sort();
    let total = suspects["total"].as_u64().unwrap_or_default();
    (text(&suspects["from"]), total, list)
}

fn expected(from: &str, kind: &str, peers: &[SocketAddr]) -> (String, u64, Vec<(String, String)>) {
    let suspect = |peer: &SocketAddr| (kind.to_owned(), peer.to_string());
    let mut list: Vec<_> = peers.iter().map(suspect).collect();
    list.sort();
    (from.to_owned(), peers.len() as u64, list)
}

/// As of the build: a guest that runs the tests has no documents.
const DRIFT: &str = include_str!("../../../../docs/DRIFT.md");

/// What a liar's source says of it.
fn bug_of(liar: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/liar");
    let source = fs::read_to_string(folder.join(format!("{liar}.rs"))).expect("the liar's source");
    let bug = source.lines().next().unwrap_or_default();
    bug.trim_start_matches("//! A lying server: ")
        .trim_end_matches('.')
        .to_owned()
}

/// Checks from the first that shows the drift in full to the first that says so.
fn checks_until_verdict(history: &Value, verdict: &str, drift: i64) -> Option<usize> {
    let checks = history["checks"].as_array()?;
    let shows = |check: &Value| {
        let number = |key: &str| check[key].as_i64();
        let (claim, low, high) = (number("claim")?, number("low")?, number("high")?);
        Some(claim - low == drift && claim - high == drift)
    };
    let says = |check: &Value| {
        check["verdict"] == verdict && check["drift_low"] == drift && check["drift_high"] == drift
    };
    let first = checks.iter().position(|check| shows(check) == Some(true))?;
    checks.iter().skip(first).position(says)
}

async fn read(url: &str) -> Result<Value> {
    let answer = http::get(url).await?;
    ensure!(answer.status == 200, "GET {url}: {}", answer.status);
    serde_json::from_str(&answer.body).context("parse the report")
}
