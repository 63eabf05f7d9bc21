//! Peers that are left out: a health check, or whoever else a gauge does not count.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::json;
use tests::claim_page::ClaimPage;
use tests::observer::{BOUND, Observer, Watched};
use tests::scripted::{Pair, Scripted};
use tests::{kernel_or_skip, port, wait};
use tokio::net::TcpSocket;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const CHECKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 0, 1));
const OTHER_CHECKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 255, 7));
/// Both checkers, and the peers over IPv6.
const IGNORED: &str = "['127.9.0.0/16', '::1']";

/// A service of every address and family, watched without some peers.
struct Scene {
    service: Scripted,
    page: ClaimPage,
    ignored: &'static str,
}

impl Scene {
    async fn of(ignored: &'static str) -> Self {
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port::free().expect("port"));
        Self {
            service: Scripted::share(any, 64).expect("listen"),
            page: ClaimPage::serve().await.expect("page"),
            ignored,
        }
    }

    async fn observer(&self, flags: &[&str]) -> Observer {
        let listen = format!(":{}", self.service.address().port());
        let target = Watched::new("it", &listen, &self.page.url())
            .with("counts", "established")
            .with_toml("ignore-peers", self.ignored);
        let observer = Observer::start_with(&[target], flags).await;
        observer.expect("observer").seeded().await.expect("ready")
    }

    /// New connections that are accepted.
    async fn connect(&self, from: IpAddr, count: usize) -> Vec<Pair> {
        let port = self.service.address().port();
        let mut pairs = Vec::new();
        for _ in 0..count {
            let (socket, to) = match from {
                IpAddr::V4(_) => (TcpSocket::new_v4(), V4),
                IpAddr::V6(_) => (TcpSocket::new_v6(), V6),
            };
            let socket = socket.expect("a socket");
            socket.bind(SocketAddr::new(from, 0)).expect("bind");
            let client = socket.connect(SocketAddr::new(to, port)).await;
            pairs.push(Pair {
                client: client.expect("connect"),
                server: self.service.accept().await.expect("accept"),
            });
        }
        pairs
    }
}

async fn says(observer: &Observer, verdict: &str, open: i64, drift: i64) {
    let exact = [
        ("verdict", json!(verdict)),
        ("low", json!(open)),
        ("high", json!(open)),
        ("drift", json!(drift)),
    ];
    let reported = observer.reports("it", &exact).await;
    reported.unwrap_or_else(|error| panic!("{error:?}"));
}

#[tokio::test]
async fn peers_that_are_ignored_are_on_neither_side() {
    if !kernel_or_skip() {
        return;
    }
    let scene = Scene::of(IGNORED).await;
    let before = [
        scene.connect(V4, 2).await,
        scene.connect(CHECKER, 3).await,
        scene.connect(V6, 1).await,
    ];
    scene.page.claim(2);
    let observer = scene.observer(&[]).await;
    says(&observer, "agree", 2, 0).await;
    let after = [
        scene.connect(V4, 1).await,
        scene.connect(OTHER_CHECKER, 2).await,
        scene.connect(V6, 2).await,
    ];
    scene.page.claim(3);
    says(&observer, "agree", 3, 0).await;
    // A gauge that counts them is off by as many, and one that loses one of the others by that.
    scene.page.claim(11);
    says(&observer, "over", 3, 8).await;
    scene.page.claim(2);
    says(&observer, "under", 3, -1).await;
    drop((before, after));
    scene.page.claim(0);
    says(&observer, "agree", 0, 0).await;
}

#[tokio::test]
async fn sock_diag_alone_leaves_them_out_as_well() {
    if !kernel_or_skip() {
        return;
    }
    let scene = Scene::of(IGNORED).await;
    let before = [scene.connect(V4, 2).await, scene.connect(CHECKER, 3).await];
    let observer = scene.observer(&["--kernel.backend=sock-diag"]).await;
    let after = [scene.connect(V4, 1).await, scene.connect(V6, 2).await];
    let three = wait::until_equal("connections", BOUND, json!(3), async || {
        let report = observer.report("it").await?;
        anyhow::Ok(report["connections"]["unclassified"].clone())
    });
    three.await.expect("the others");
    drop((before, after));
}

#[tokio::test]
async fn requests_of_a_peer_that_is_ignored_widen_nothing() {
    if !kernel_or_skip() {
        return;
    }
    let scene = Scene::of(IGNORED).await;
    let held = scene.connect(V4, 3).await;
    scene.page.claim(3);
    let observer = scene.observer(&[]).await;
    says(&observer, "agree", 3, 0).await;
    let before = observer.checks("it").await.expect("checks").agree;
    while observer.checks("it").await.expect("checks").agree < before + 20 {
        drop(scene.connect(CHECKER, 10).await);
    }
    let history = observer.report("it/history").await.expect("history");
    let checks = history["checks"].as_array().expect("checks");
    let newest = &checks[checks.len() - 20..];
    for check in newest {
        assert_eq!((&check["low"], &check["high"]), (&json!(3), &json!(3)));
    }
    drop(held);
}
