//! Targets that come and go while the observer runs: their namespaces, their processes, their
//! listeners.

use std::collections::VecDeque;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;
use tests::claim_page::ClaimPage;
use tests::observer::{BOUND, Checks, Classes, Observer, Watched};
use tests::process::{Process, Signal};
use tests::scripted::{OK, Scripted, UPGRADE};
use tests::{kernel_or_skip, port, skip, wait};

use super::namespace::{Namespace, ip, obstacle};
use super::stage::{Stage, http, websockets};

/// A target in another namespace, and one in the observer's own that has a WebSocket.
struct Scene {
    observer: Observer,
    page: ClaimPage,
    public: SocketAddr,
    _here: (Scripted, tests::scripted::Pair, ClaimPage),
}

impl Scene {
    async fn of(netns: &str, flags: &[&str]) -> Self {
        let public = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free().expect("port")));
        let scripted = Scripted::listen(public, 16).expect("listen");
        let pair = scripted.pair().await.expect("a pair");
        let (page, here) = (
            ClaimPage::serve().await.expect("page"),
            ClaimPage::serve().await.expect("page"),
        );
        here.claim(1);
        let listen = format!(":{}", public.port());
        let targets = [
            // Without programs, what others do on this host may have been its own as well.
            Watched::new("here", &listen, &here.url())
                .with("counts", "established")
                .with("too-wide", "1000000%"),
            // The test's own hand on the claim is slow.
            Watched::new("there", &listen, &page.url())
                .with("netns", netns)
                .with("gauge-netns", "self")
                .with("counts", "established")
                .with("settle", &format!("{}s", wait::slowness())),
        ];
        let observer = Observer::start_with(&targets, flags).await;
        let observer = observer.expect("observer").seeded().await.expect("ready");
        Self {
            observer,
            page,
            public,
            _here: (scripted, pair, here),
        }
    }

    async fn is_blind(&self, why: &str) {
        let blind = [
            ("verdict", json!("blind")),
            ("reason", json!("no_namespace")),
            ("connections", json!(null)),
            ("witness_disagreement", json!(null)),
        ];
        self.observer.reports("there", &blind).await.expect("blind");
        let report = self.observer.report("there").await.expect("report");
        let sentence = report["sentence"].as_str().expect("a sentence");
        assert!(sentence.contains(why), "{sentence}");
        // Of the others nothing is different.
        let agree = [("verdict", json!("agree")), ("claim", json!(1.0))];
        self.observer.reports("here", &agree).await.expect("agree");
    }

    async fn has(&self, open: u64) {
        self.page.claim(open);
        let agree = [
            ("verdict", json!("agree")),
            ("claim", json!(open as f64)),
            ("low", json!(open)),
            ("high", json!(open)),
        ];
        self.observer.reports("there", &agree).await.expect("agree");
    }

    fn nobody_was_blamed(&self) {
        super::nobody_was_blamed(&self.observer);
    }
}

async fn ends(mut process: Process) {
    process.signal(Signal::KILL).expect("kill");
    process.wait_for_exit(BOUND).await.expect("ends");
}

async fn a_namespace_may_come_and_go(flags: &[&str]) {
    if !kernel_or_skip() {
        return;
    }
    if let Some(obstacle) = obstacle() {
        return skip(obstacle);
    }
    // Its name, and nothing else.
    let netns = Namespace::add("moving").netns();
    let scene = Scene::of(&netns, flags).await;
    scene.is_blind("No such file or directory").await;

    for open in [4, 6] {
        let namespace = Namespace::add("moving");
        let link = namespace.link();
        let worker = namespace.worker(scene.public).await;
        let clients = namespace.clients(scene.public, open as usize).await;
        scene.has(open).await;
        ends(clients).await;
        ends(worker).await;
        drop(namespace);
        scene.is_blind("No such file or directory").await;
        // The observer does not keep it alive.
        let gone = wait::until("the namespace's end", BOUND, async || {
            match ip(&["link", "show", &link]) {
                true => Err("its link is there"),
                false => Ok(()),
            }
        });
        gone.await.expect("nobody holds it");
    }
    scene.nobody_was_blamed();
}

#[tokio::test]
async fn a_namespace_may_come_and_go_while_programs_count() {
    a_namespace_may_come_and_go(&["--kernel.backend=ebpf"]).await;
}

#[tokio::test]
async fn a_namespace_may_come_and_go_while_sock_diag_counts() {
    a_namespace_may_come_and_go(&["--kernel.backend=sock-diag"]).await;
}

#[tokio::test]
async fn a_name_that_stands_for_another_namespace_is_followed() {
    if !kernel_or_skip() {
        return;
    }
    if let Some(obstacle) = obstacle() {
        return skip(obstacle);
    }
    let old = Namespace::add("moving");
    let scene = Scene::of(&old.netns(), &[]).await;
    let worker = old.worker(scene.public).await;
    let clients = old.clients(scene.public, 5).await;
    scene.has(5).await;
    // Its processes stay, and so do their connections; the name goes.
    drop(old);
    let new = Namespace::add("moving");
    let other_worker = new.worker(scene.public).await;
    let other_clients = new.clients(scene.public, 2).await;
    scene.has(2).await;
    // What happens in the old one is nobody's concern.
    ends(clients).await;
    ends(worker).await;
    scene.has(2).await;
    let repairs = scene.observer.count("observer_repairs_total", "there");
    assert_eq!(repairs.await.expect("repairs"), 0);
    scene.nobody_was_blamed();
    drop((other_worker, other_clients));
}

#[tokio::test]
async fn a_target_of_a_process_that_ends_is_blind() {
    if !kernel_or_skip() {
        return;
    }
    if let Some(obstacle) = obstacle() {
        return skip(obstacle);
    }
    let namespace = Namespace::add("moving");
    // On another port than the target's: its namespace is all that counts.
    let process = namespace.worker((Ipv4Addr::LOCALHOST, 9).into()).await;
    let pid = process.id();
    let scene = Scene::of(&format!("pid:{pid}"), &[]).await;
    let worker = namespace.worker(scene.public).await;
    let clients = namespace.clients(scene.public, 3).await;
    scene.has(3).await;
    ends(process).await;
    scene.is_blind(&format!("/proc/{pid}/ns/net")).await;
    scene.nobody_was_blamed();
    drop((worker, clients));
}

/// One thread keeps what it takes to enter namespaces, the others nothing.
#[tokio::test]
async fn only_one_thread_may_enter_namespaces() {
    if !kernel_or_skip() {
        return;
    }
    if let Some(obstacle) = obstacle() {
        return skip(obstacle);
    }
    let namespace = Namespace::add("moving");
    let scene = Scene::of(&namespace.netns(), &[]).await;
    let tasks = format!("/proc/{}/task", scene.observer.process.id());
    let mut may = Vec::new();
    for task in fs::read_dir(tasks).expect("threads") {
        let status = task.expect("a thread").path().join("status");
        // A thread may end at any time.
        let Ok(status) = fs::read_to_string(status) else {
            continue;
        };
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
        let capabilities = field("CapPrm:").expect("capabilities").trim();
        let capabilities = u64::from_str_radix(capabilities, 16).expect("a mask");
        if capabilities != 0 {
            may.push((
                field("Name:").expect("a name").trim().to_owned(),
                capabilities,
            ));
        }
    }
    // CAP_SYS_PTRACE is bit 19, CAP_SYS_ADMIN bit 21.
    assert_eq!(may, [("doorkeeper".to_owned(), 1 << 19 | 1 << 21)]);
}

#[tokio::test]
async fn a_listener_may_be_closed_and_opened_again_while_connections_stay() {
    if !kernel_or_skip() {
        return;
    }
    let mut stage = Stage::open().await;
    let address = stage.service.scripted.address();
    let kept = [stage.pair(&[UPGRADE]).await, stage.pair(&[OK]).await];
    for more in 1..=3 {
        stage.service.scripted.close().expect("close");
        let two = Classes {
            websocket: 1,
            ..http(1)
        };
        stage.shows_exactly(two).await;
        stage.service.scripted = Scripted::listen(address, 64).expect("listen again");
        let pairs = [stage.pair(&[UPGRADE]).await, stage.pair(&[UPGRADE]).await];
        let four = Classes {
            websocket: 3,
            ..http(1)
        };
        stage.shows_exactly(four).await;
        drop(pairs);
        stage.shows_exactly(two).await;
        stage.counted(2 + 2 * more, 2 * more).await;
    }
    drop(kept);
    stage.shows_exactly(websockets(0)).await;
}

/// Workers that share a port are re-created one after the other, as a service does that recycles
/// them.
#[tokio::test]
async fn one_listener_of_several_that_comes_or_goes_is_no_restart() {
    if !kernel_or_skip() {
        return;
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free().expect("port")));
    let share = || Scripted::share(address, 16).expect("listen");
    let first = share();
    let pairs = [first.pair().await, first.pair().await];
    let mut workers = VecDeque::from([first, share(), share(), share()]);
    let page = ClaimPage::serve().await.expect("page");
    page.claim(2);
    let listen = format!(":{}", address.port());
    let target = Watched::new("it", &listen, &page.url()).with("counts", "established");
    let observer = Observer::start(&[target]).await.expect("observer");
    let agree = [("verdict", json!("agree")), ("claim", json!(2.0))];
    observer.reports("it", &agree).await.expect("agree");
    let before = observer.checks("it").await.expect("checks");
    // Each of them is another one in the end, and at each check one is.
    for _ in 0..12 {
        workers.pop_front();
        workers.push_back(share());
        observer.checked("it").await.expect("a check");
        observer.reports("it", &agree).await.expect("agree");
    }
    let after = observer.checks("it").await.expect("checks");
    let other = |checks: Checks| Checks { agree: 0, ..checks };
    assert_eq!(other(after), other(before));

    // All of them at once are a restart.
    workers.clear();
    workers.extend([share(), share()]);
    wait::until("a check that says so", BOUND, async || {
        let blind = observer.checks("it").await?.blind;
        anyhow::ensure!(blind > before.blind, "{blind} checks were blind");
        Ok::<_, anyhow::Error>(())
    })
    .await
    .expect("a restart");
    observer.reports("it", &agree).await.expect("agree");
    drop(pairs);
}

/// Behind a proxy that listens for it, or a listening socket that systemd keeps, the service is
/// restarted and the listener stays: its page says so.
#[tokio::test]
async fn a_page_of_a_process_that_was_started_later_is_a_restart() {
    if !kernel_or_skip() {
        return;
    }
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free().expect("port")));
    let scripted = Scripted::listen(any, 16).expect("listen");
    let pair = scripted.pair().await.expect("a connection");
    let page = ClaimPage::serve().await.expect("page");
    let say = |start: &str| {
        page.say(&format!(
            "process_start_time_seconds {start}\nactive_connections 1\n"
        ));
    };
    say("1700000000.2");
    let listen = format!(":{}", any.port());
    let target = Watched::new("it", &listen, &page.url()).with("counts", "established");
    let observer = Observer::start(&[target]).await.expect("observer");
    let agree = [("verdict", json!("agree"))];
    observer.reports("it", &agree).await.expect("agree");
    let before = observer.checks("it").await.expect("checks");
    // The same start, rounded by whoever works it out at each scrape.
    for start in ["1700000001", "1700000000", "1700000001.9"] {
        say(start);
        observer.checked("it").await.expect("a check");
    }
    let checks = observer.checks("it").await.expect("checks");
    assert_eq!(checks.blind, before.blind, "{checks:?}");

    say("1700000060");
    let noticed = wait::until_equal("blind checks", BOUND, before.blind + 1, async || {
        Ok(observer.checks("it").await?.blind)
    });
    noticed.await.expect("a restart");
    observer.reports("it", &agree).await.expect("agree");
    let after = observer.checks("it").await.expect("checks");
    assert_eq!((after.over, after.under), (0, 0), "{after:?}");
    assert_eq!(after.blind, before.blind + 1, "{after:?}");
    drop(pair);
}
