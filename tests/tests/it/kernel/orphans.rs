//! Who still has a connection that is over: the service that holds it, or the kernel alone since the
//! service has closed it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::json;
use tests::claim_page::ClaimPage;
use tests::observer::{BOUND, Observer, Watched};
use tests::scripted::{Pair, Scripted, UPGRADE, frame};
use tests::{kernel_or_skip, port, ss, wait};
use tokio::net::TcpStream;

/// A service on one address, with its connections, and the observer of its three kinds of gauge.
struct Scene {
    scripted: Scripted,
    page: ClaimPage,
    observer: Observer,
}

const TARGETS: [&str; 3] = ["websocket", "established", "accepted"];

impl Scene {
    async fn on(address: IpAddr, flags: &[&str]) -> Self {
        let address = SocketAddr::new(address, port::free().expect("port"));
        let scripted = Scripted::listen(address, 64).expect("listen");
        let page = ClaimPage::serve().await.expect("page");
        let listen = format!(":{}", address.port());
        let targets = TARGETS.map(|counts| {
            Watched::new(counts, &listen, &page.url())
                .with("counts", counts)
                // What the service holds makes it wide.
                .with("too-wide", "1000000%")
        });
        let observer = Observer::start_with(&targets, flags).await;
        Self {
            scripted,
            page,
            observer: observer.expect("observer").seeded().await.expect("ready"),
        }
    }

    async fn websocket(&self) -> Pair {
        let pair = self.scripted.pair_that_got(&[UPGRADE]).await;
        pair.expect("a connection")
    }

    /// The service closes a connection whose client does not read: returns the client.
    async fn orphan(&self) -> TcpStream {
        let Pair { client, server } = self.websocket().await;
        let message = frame(2, &[0; 1_000_000]);
        while server.try_write(&message).is_ok() {}
        drop(server);
        client
    }

    /// There are so many connections that the peer has not closed, as `ss` sees it.
    async fn has_closing(&self, closing: u64) {
        let port = self.scripted.address().port();
        let seen = wait::until_equal("ss", BOUND, closing, async || {
            Ok(ss::established_and_closing(port)?.1)
        });
        seen.await.expect("closing");
    }

    async fn says(&self, target: &str, verdict: &str, claim: u64, drift: i64, allowed: [u64; 2]) {
        let said = [
            ("verdict", json!(verdict)),
            ("claim", json!(claim as f64)),
            ("low", json!(allowed[0])),
            ("high", json!(allowed[1])),
            ("drift", json!(drift)),
        ];
        let reported = self.observer.reports(target, &said).await;
        reported.unwrap_or_else(|error| panic!("{target}: {error:?}"));
    }
}

async fn what_the_service_has_closed_hides_no_leak(scene: Scene, targets: &[&str]) {
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(scene.orphan().await);
    }
    let open = [scene.websocket().await, scene.websocket().await];
    scene.has_closing(20).await;
    for target in targets {
        scene.page.claim(2);
        scene.says(target, "agree", 2, 0, [2, 2]).await;
        let report = scene.observer.report(target).await.expect("report");
        assert_eq!(report["held"], json!(0), "{report}");
        assert_eq!(report["suspects"], json!(null), "{report}");
        // Those that were closed are never taken off the gauge.
        scene.page.claim(22);
        scene.says(target, "over", 22, 20, [2, 2]).await;
        // And one that is too low by one is found as well.
        scene.page.claim(1);
        scene.says(target, "under", 1, -1, [2, 2]).await;
    }
    scene.has_closing(20).await;
    drop((clients, open));
}

#[tokio::test]
async fn what_the_service_has_closed_hides_no_leak_over_ipv4() {
    if !kernel_or_skip() {
        return;
    }
    let scene = Scene::on(Ipv4Addr::LOCALHOST.into(), &[]).await;
    what_the_service_has_closed_hides_no_leak(scene, &TARGETS).await;
}

#[tokio::test]
async fn what_the_service_has_closed_hides_no_leak_over_ipv6() {
    if !kernel_or_skip() {
        return;
    }
    let scene = Scene::on(Ipv6Addr::LOCALHOST.into(), &[]).await;
    what_the_service_has_closed_hides_no_leak(scene, &TARGETS).await;
}

#[tokio::test]
async fn an_honest_service_is_not_accused_while_orphans_come_and_go() {
    if !kernel_or_skip() {
        return;
    }
    let scene = Scene::on(Ipv4Addr::LOCALHOST.into(), &[]).await;
    let kept = [scene.websocket().await, scene.websocket().await];
    scene.page.claim(2);
    let mut clients = Vec::new();
    for round in 0..60 {
        clients.push(scene.orphan().await);
        // The oldest of them closes as well.
        if round % 2 == 1 {
            drop(clients.remove(0));
        }
        scene.observer.checked("websocket").await.expect("a check");
    }
    for target in TARGETS {
        let checks = scene.observer.checks(target).await.expect("checks");
        assert_eq!((checks.over, checks.under), (0, 0), "{target}: {checks:?}");
    }
    super::nobody_was_blamed(&scene.observer);
    drop((clients, kept));
}

/// The peer has gone, and the service has not closed: it may not have noticed.
#[tokio::test]
async fn what_the_service_has_not_closed_is_held_or_waits_to_be_accepted() {
    if !kernel_or_skip() {
        return;
    }
    let scene = Scene::on(Ipv4Addr::LOCALHOST.into(), &[]).await;
    let orphan = scene.orphan().await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(scene.websocket().await.server);
    }
    for _ in 0..4 {
        drop(scene.scripted.connect().await.expect("connect"));
    }
    scene.has_closing(8).await;
    for (target, high) in [("websocket", 3), ("established", 7)] {
        scene.page.claim(high);
        scene.says(target, "agree", high, 0, [0, high]).await;
        let expected = [("held", json!(3))];
        scene
            .observer
            .reports(target, &expected)
            .await
            .expect("held");
    }
    drop((held, orphan));
}
