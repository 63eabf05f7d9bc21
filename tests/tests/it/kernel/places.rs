//! Which sockets are a target's: by port, by namespace, and never by anything else.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;
use tests::claim_page::ClaimPage;
use tests::load::{Crowd, Ending, Kind, Target};
use tests::observer::{Classes, Observer, Watched};
use tests::process::Signal;
use tests::scripted::{Scripted, UPGRADE};
use tests::{kernel_or_skip, port, skip};

use super::namespace::{self, Namespace};
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
async fn a_flood_on_a_targets_port_at_another_address_is_ignored_and_counted() {
    if !kernel_or_skip() {
        return;
    }
    let port = port::free().expect("port");
    let page = ClaimPage::serve().await.expect("page");
    let at = |host| SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), port));
    let here = Scripted::listen(at(1), 64).expect("listen");
    let _elsewhere = super::worker(at(2), super::address()).await;
    let targets = [Watched::new("it", &at(1).to_string(), &page.url())];
    let observer = Observer::start(&targets).await.expect("observer");
    let pair = here.pair_that_got(&[UPGRADE]).await.expect("a pair");
    page.claim(1);
    let crowd = Crowd::new(Target::new(at(2), "/v1/gateway"));
    for ending in [Ending::Fin, Ending::Reset] {
        let churn = crowd.churn(Kind::WebSocket, ending, 500, 16).await;
        churn.expect("churn");
    }
    observer.checked("it").await.expect("a check");
    let exact = [
        ("verdict", json!("agree")),
        ("low", json!(1)),
        ("high", json!(1)),
    ];
    observer.reports("it", &exact).await.expect("exact");
    let settled = observer.settles("it", websockets(1)).await;
    settled.expect("nothing of the flood");
    let page = observer.page().await.expect("page");
    let seen = page.value("observer_kernel_established_events_seen_total", &[]);
    assert_eq!(seen.expect("seen"), 1001.0);
    for (outcome, expected) in [("stored", 1.0), ("ignored", 1000.0), ("map_full", 0.0)] {
        let labels = [("outcome", outcome)];
        let events = page.value("observer_kernel_established_events_total", &labels);
        assert_eq!(events.expect(outcome), expected, "{outcome}");
    }
    for identity in ["seen", "stored"] {
        let labels = [("identity", identity)];
        let difference = page.value("observer_kernel_identity_difference", &labels);
        assert_eq!(difference.expect(identity), 0.0, "{identity}");
    }
    drop(pair);
}

/// The kernel measures programs, as long as the value lives.
struct Measured(String);

impl Measured {
    const SYSCTL: &str = "/proc/sys/kernel/bpf_stats_enabled";

    fn start() -> std::io::Result<Self> {
        let before = fs::read_to_string(Self::SYSCTL)?;
        fs::write(Self::SYSCTL, "1")?;
        Ok(Self(before))
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let _ = fs::write(Self::SYSCTL, &self.0);
    }
}

#[tokio::test]
async fn what_an_event_costs_is_published_where_the_kernel_measures_it() {
    if !kernel_or_skip() {
        return;
    }
    let Ok(measured) = Measured::start() else {
        return skip("needs root, to set kernel.bpf_stats_enabled");
    };
    let stage = Stage::open().await;
    for _ in 0..100 {
        stage.pair(&[UPGRADE]).await;
    }
    let page = stage.observer.page().await.expect("page");
    for program in ["inet_sock_set_state", "egress"] {
        let value = |metric| page.value(metric, &[("program", program)]);
        let runs = value("observer_program_runs_total").expect("runs");
        let seconds = value("observer_program_run_seconds_total").expect("seconds");
        assert!(runs >= 100.0, "{program}: {runs} runs");
        let each = seconds / runs;
        assert!(each > 0.0 && each < 0.001, "{program}: {each} s an event");
    }
    drop(measured);
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

#[tokio::test]
async fn equal_ports_in_other_network_namespaces_are_other_services() {
    if !kernel_or_skip() {
        return;
    }
    if let Some(obstacle) = namespace::obstacle() {
        return skip(obstacle);
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
    let path = by_path.netns();
    let pid = format!("pid:{}", elsewhere.id());
    let targets = [
        Watched::new("here", &listen, &page.url()),
        Watched::new("a", &listen, &page_a.url())
            .with("netns", &path)
            .with("gauge-netns", "self"),
        Watched::new("b", &listen, &page_b.url())
            .with("netns", &pid)
            .with("gauge-netns", "self")
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
