//! Which sockets are a target's: by port, by namespace, and never by anything else.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use tests::claim_page::ClaimPage;
use tests::load::{Crowd, Ending, Kind, Target};
use tests::observer::{BOUND, Classes, Observer, Watched};
use tests::process::{Process, Signal, binary};
use tests::scripted::UPGRADE;
use tests::{kernel_or_skip, port, skip, wait};

use super::stage::{Stage, websockets};

#[tokio::test]
async fn a_flood_on_a_port_that_is_no_target_has_no_effect() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    let pair = stage.pair(&[UPGRADE]).await;
    let (public, management) = (super::address(), super::address());
    let _other = super::worker(public, management).await;
    let crowd = Crowd::new(Target::new(public, "/v1/gateway"));
    for (kind, count) in [
        (Kind::Http, 2_000),
        (Kind::WebSocket, 1_000),
        (Kind::Tcp, 2_000),
    ] {
        let churn = crowd.churn(kind, Ending::Reset, count, 32).await;
        churn.expect("churn");
    }
    stage.shows_exactly(websockets(1)).await;
    stage.counted(1, 0).await;
    let page = stage.observer.page().await.expect("page");
    for (outcome, expected) in [("stored", 1.0), ("ignored", 0.0), ("map_full", 0.0)] {
        let labels = [("outcome", outcome)];
        let events = page.value("observer_kernel_established_events_total", &labels);
        assert_eq!(events.expect(outcome), expected, "{outcome}");
    }
    drop(pair);
}

#[tokio::test]
async fn three_processes_on_one_port_are_one_service() {
    if !kernel_or_skip() {
        return;
    }
    let public = super::address();
    let mut workers = Vec::new();
    let mut urls = Vec::new();
    for _ in 0..3 {
        let management = super::address();
        workers.push(super::worker(public, management).await);
        urls.push(format!("http://{management}/metrics"));
    }
    let all: Vec<&str> = urls.iter().map(String::as_str).collect();
    let listen = format!(":{}", public.port());
    let targets = [
        Watched::new("all", &listen, "").with_urls(&all),
        Watched::new("two", &listen, "").with_urls(&all[..2]),
    ]
    .map(|target| target.with("settle", "1s"));
    let observer = Observer::start(&targets).await.expect("observer");
    let mut crowd = Crowd::new(Target::new(public, "/v1/gateway"));
    crowd.open(Kind::WebSocket, 90, 16).await.expect("open");
    let settled = observer.settles("all", websockets(90)).await;
    settled.expect("ninety");
    let agree = [
        ("verdict", json!("agree")),
        ("claim", json!(90.0)),
        ("low", json!(90)),
        ("high", json!(90)),
    ];
    observer.reports("all", &agree).await.expect("agree");
    // Whoever forgets a worker is told so.
    let third = tests::scrape::fetch(&urls[2]).await.expect("page");
    let third = third.value("active_connections", &[]).expect("gauge");
    assert!(
        third > 0.0,
        "the kernel gave one of three nothing of ninety"
    );
    let under = [("verdict", json!("under")), ("drift", json!(-third as i64))];
    observer.reports("two", &under).await.expect("under");

    // One dies: its connections are gone, and the gauges of the others are true again.
    workers[2].signal(Signal::KILL).expect("kill");
    let left = websockets(90 - third as u64);
    observer.settles("two", left).await.expect("the others'");
    let agree = [("verdict", json!("agree")), ("drift", json!(0))];
    observer.reports("two", &agree).await.expect("agree");
    let down = [
        ("verdict", json!("blind")),
        ("reason", json!("target_down")),
    ];
    observer.reports("all", &down).await.expect("one is down");
}

/// A network namespace with its loopback up, gone when it is dropped.
struct Namespace(String);

impl Namespace {
    fn add(name: &str) -> Self {
        let namespace = Self(format!("plumbline-{}-{name}", std::process::id()));
        let status = ip(&["netns", "add", &namespace.0]);
        assert!(status, "ip netns add");
        assert!(ip(&["-n", &namespace.0, "link", "set", "lo", "up"]), "lo");
        namespace
    }

    /// A command that runs the workspace's program `name` inside; its process is the program's.
    fn run(&self, name: &str, arguments: &[String]) -> Process {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]);
        command.arg(binary(name).expect("built")).args(arguments);
        Process::start(&mut command).expect("start")
    }

    /// A worker on the public address, once it listens.
    async fn worker(&self, public: SocketAddr) -> Process {
        let worker = self.run(
            "honest_worker",
            &[
                format!("--public-address={public}"),
                "--management-address=127.0.0.1:1".to_owned(),
            ],
        );
        let listens = wait::until("a listener", BOUND, async || {
            let mut ss = Command::new("ip");
            ss.args(["netns", "exec", &self.0, "ss", "-Hltn"]);
            let output = ss.output().expect("run ss");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.contains(&public.to_string()).then_some(()).ok_or(text)
        });
        listens.await.expect("it listens");
        worker
    }

    /// Clients that hold so many WebSockets.
    async fn clients(&self, public: SocketAddr, count: usize) -> Process {
        let mut clients = self.run(
            "crowd",
            &[
                format!("--address={public}"),
                "--kind=websocket".to_owned(),
                format!("--count={count}"),
            ],
        );
        clients.wait_for_log("open", BOUND).await.expect("open");
        clients
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.0)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.0]);
    }
}

fn ip(arguments: &[&str]) -> bool {
    let status = Command::new("ip").args(arguments).status();
    status.is_ok_and(|status| status.success())
}

#[tokio::test]
async fn equal_ports_in_other_network_namespaces_are_other_services() {
    if !kernel_or_skip() {
        return;
    }
    if !rustix::process::geteuid().is_root() || !ip(&["netns", "list"]) {
        return skip("needs root and ip (iproute2), to make network namespaces");
    }
    let (by_path, by_pid) = (Namespace::add("a"), Namespace::add("b"));
    let port = port::free().expect("port");
    let public = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let here = super::worker(public, super::address()).await;
    let there = by_path.worker(public).await;
    let elsewhere = by_pid.worker(public).await;
    // In one of them before the observer comes, in the others after.
    let early = by_pid.clients(public, 5).await;

    let (page, page_a, page_b) = (
        ClaimPage::serve().await.expect("page"),
        ClaimPage::serve().await.expect("page"),
        ClaimPage::serve().await.expect("page"),
    );
    let listen = format!(":{port}");
    let path = format!("path:{}", by_path.path().display());
    let pid = format!("pid:{}", elsewhere.id());
    let targets = [
        Watched::new("here", &listen, &page.url()),
        Watched::new("a", &listen, &page_a.url()).with("netns", &path),
        Watched::new("b", &listen, &page_b.url())
            .with("netns", &pid)
            .with("counts", "established"),
    ];
    let observer = Observer::start(&targets).await.expect("observer");
    let mut crowd = Crowd::new(Target::new(public, "/v1/gateway"));
    crowd.open(Kind::WebSocket, 3, 3).await.expect("open");
    let mut late = by_path.clients(public, 7).await;
    let also = by_pid.clients(public, 2).await;
    page.claim(3);
    page_a.claim(7);
    page_b.claim(7);
    let b = Classes {
        websocket: 2,
        unclassified: 5,
        ..Classes::default()
    };
    for (target, classes, claim) in [
        ("here", websockets(3), 3.0),
        ("a", websockets(7), 7.0),
        ("b", b, 7.0),
    ] {
        observer.settles(target, classes).await.expect(target);
        let agree = [("verdict", json!("agree")), ("claim", json!(claim))];
        observer.reports(target, &agree).await.expect(target);
    }
    late.signal(Signal::KILL).expect("kill");
    let settled = observer.settles("a", Classes::default()).await;
    settled.expect("gone there");
    let settled = observer.settles("here", websockets(3)).await;
    settled.expect("and only there");
    let over = [("verdict", json!("over")), ("drift", json!(7))];
    observer
        .reports("a", &over)
        .await
        .expect("the claim stayed");
    drop((here, there, elsewhere, early, also));
}
