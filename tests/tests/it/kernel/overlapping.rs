//! Addresses as people write them, and targets whose addresses overlap: whose a connection is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::json;
use tests::claim_page::ClaimPage;
use tests::observer::{BOUND, Observer, Watched};
use tests::process::Signal;
use tests::scripted::{Pair, Scripted};
use tests::{kernel_or_skip, port, skip, wait};
use tokio::net::TcpStream;

use super::namespace::{self, Namespace, ip};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const ANY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// A listening socket of one address or of any, which others may have as well.
fn listen(address: IpAddr, port: u16) -> Scripted {
    Scripted::share(SocketAddr::new(address, port), 64).expect("listen")
}

/// New connections to `address` that `service` accepts.
async fn connect(service: &Scripted, address: IpAddr, count: usize) -> Vec<Pair> {
    let to = SocketAddr::new(address, service.address().port());
    let mut pairs = Vec::new();
    for _ in 0..count {
        let client = TcpStream::connect(to).await.expect("connect");
        let server = service.accept().await.expect("it is this service's");
        pairs.push(Pair { client, server });
    }
    pairs
}

/// An observer of some targets, each with a page of its own.
struct Scene {
    observer: Observer,
    pages: Vec<(&'static str, ClaimPage)>,
}

impl Scene {
    /// Each target by its name and what it listens on, in TOML.
    async fn of(targets: &[(&'static str, String)], flags: &[&str]) -> Self {
        let (mut pages, mut watched) = (Vec::new(), Vec::new());
        for (name, listen) in targets {
            let page = ClaimPage::serve().await.expect("page");
            let target = Watched::new(name, "", &page.url()).with_toml("listen", listen);
            // Whatever is allowed is agreed with: how wide that is is another test's.
            let target = target.with("too-wide", "1000000%");
            watched.push(target.with("counts", "established"));
            pages.push((*name, page));
        }
        let observer = Observer::start_with(&watched, flags).await;
        Self {
            observer: observer.expect("observer").seeded().await.expect("ready"),
            pages,
        }
    }

    fn claim(&self, claims: &[u64]) {
        for ((_, page), claim) in self.pages.iter().zip(claims) {
            page.claim(*claim);
        }
    }

    /// How often any of them was said to be over or under.
    async fn blamed(&self) -> u64 {
        let mut blamed = 0;
        for (name, _) in &self.pages {
            let checks = self.observer.checks(name).await.expect("checks");
            blamed += checks.over + checks.under;
        }
        blamed
    }

    /// Of each target exactly so many connections are open.
    async fn counts(&self, open: &[u64]) {
        self.claim(open);
        for ((name, _), open) in self.pages.iter().zip(open) {
            let exact = [
                ("verdict", json!("agree")),
                ("claim", json!(*open as f64)),
                ("low", json!(open)),
                ("high", json!(open)),
            ];
            let reported = self.observer.reports(name, &exact).await;
            reported.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
    }
}

#[tokio::test]
async fn an_address_is_what_people_write() {
    if !kernel_or_skip() {
        return;
    }
    let port = port::free().expect("port");
    let service = listen(ANY, port);
    let written = [
        ("bare", format!("'{port}'")),
        ("colon", format!("':{port}'")),
        ("v4", format!("'0.0.0.0:{port}'")),
        ("v6", format!("'[::]:{port}'")),
        ("star", format!("'*:{port}'")),
        ("netstat", format!("':::{port}'")),
        ("localhost", format!("'localhost:{port}'")),
        ("mapped", format!("'[::ffff:127.0.0.1]:{port}'")),
    ];
    let before = connect(&service, V4, 1).await;
    let scene = Scene::of(&written, &[]).await;
    let after = [
        connect(&service, V4, 1).await,
        connect(&service, V6, 4).await,
        connect(&service, OTHER, 8).await,
    ];
    scene.counts(&[14, 14, 14, 14, 14, 14, 6, 2]).await;
    // And each of them finds a leak of one.
    scene.claim(&[15, 15, 15, 15, 15, 15, 7, 3]);
    for (name, _) in &written {
        let over = [("verdict", json!("over")), ("drift", json!(1))];
        scene.observer.reports(name, &over).await.expect(name);
    }
    drop((before, after));
}

#[tokio::test]
async fn a_service_of_one_family_is_found_by_any_address() {
    if !kernel_or_skip() {
        return;
    }
    let port = port::free().expect("port");
    let service = listen(Ipv4Addr::UNSPECIFIED.into(), port);
    let targets = [
        ("v4", format!("'0.0.0.0:{port}'")),
        ("v6", format!("'[::]:{port}'")),
        ("localhost", format!("'localhost:{port}'")),
    ];
    let scene = Scene::of(&targets, &[]).await;
    let pairs = connect(&service, V4, 3).await;
    scene.counts(&[3, 3, 3]).await;
    drop(pairs);
}

#[tokio::test]
async fn a_target_on_several_ports_is_their_sum() {
    if !kernel_or_skip() {
        return;
    }
    let ports = [(); 3].map(|()| port::free().expect("port"));
    let services = ports.map(|port| listen(ANY, port));
    let [a, b, c] = ports;
    let targets = [
        ("all", format!("[':{a}', '[::]:{b}', '127.0.0.1:{c}']")),
        ("one", format!("[':{a}']")),
        ("two", format!("['*:{a}', '{b}', ':{a}']")),
    ];
    let scene = Scene::of(&targets, &[]).await;
    let mut pairs = Vec::new();
    for (service, count) in services.iter().zip([1, 2, 4]) {
        pairs.push(connect(service, V4, count).await);
        pairs.push(connect(service, V6, 8).await);
    }
    scene.counts(&[23, 9, 19]).await;
    pairs.remove(0);
    scene.counts(&[22, 8, 18]).await;
}

async fn one_listener_serves_all_targets(flags: &[&str]) {
    if !kernel_or_skip() {
        return;
    }
    let port = port::free().expect("port");
    let service = listen(ANY, port);
    let before = [
        connect(&service, V4, 1).await,
        connect(&service, V6, 1).await,
    ];
    let targets = [
        ("any", format!("':{port}'")),
        ("v4", format!("'127.0.0.1:{port}'")),
        ("v6", format!("'[::1]:{port}'")),
    ];
    let scene = Scene::of(&targets, flags).await;
    let mut after = vec![
        connect(&service, V4, 1).await,
        connect(&service, V6, 3).await,
        connect(&service, OTHER, 8).await,
    ];
    if flags.is_empty() {
        scene.counts(&[14, 2, 4]).await;
        after.remove(0);
        scene.counts(&[13, 1, 4]).await;
        // Each finds a leak of its own.
        scene.claim(&[13, 2, 5]);
        for (name, drift) in [("any", 0), ("v4", 1), ("v6", 1)] {
            let drift = [("drift", json!(drift))];
            scene.observer.reports(name, &drift).await.expect(name);
        }
    } else {
        // What opens unseen leaves room.
        scene.claim(&[14, 2, 4]);
        for (name, low) in [("any", 14), ("v4", 2), ("v6", 4)] {
            let agree = [("verdict", json!("agree")), ("low", json!(low))];
            scene.observer.reports(name, &agree).await.expect(name);
        }
    }
    drop((before, after));
}

#[tokio::test]
async fn one_listener_serves_all_targets_while_programs_count() {
    one_listener_serves_all_targets(&[]).await;
}

#[tokio::test]
async fn one_listener_serves_all_targets_while_sock_diag_counts() {
    one_listener_serves_all_targets(&["--kernel.backend=sock-diag"]).await;
}

#[tokio::test]
async fn an_address_with_a_listener_of_its_own_is_another_service() {
    if !kernel_or_skip() {
        return;
    }
    let port = port::free().expect("port");
    let (any, own) = (listen(ANY, port), listen(V4, port));
    let targets = [
        ("any", format!("'0.0.0.0:{port}'")),
        ("v4", format!("'127.0.0.1:{port}'")),
        ("v6", format!("'[::1]:{port}'")),
    ];
    let scene = Scene::of(&targets, &[]).await;
    let pairs = [
        connect(&own, V4, 3).await,
        connect(&any, V6, 4).await,
        connect(&any, OTHER, 8).await,
    ];
    scene.counts(&[12, 3, 4]).await;
    drop(pairs);
}

/// Where another socket serves an address from some moment on, those that are open stay whose they
/// are: neither service is accused, and both are exact again once they have ended.
#[tokio::test]
async fn an_address_may_get_a_listener_of_its_own_and_lose_it() {
    if !kernel_or_skip() {
        return;
    }
    let port = port::free().expect("port");
    let any = listen(ANY, port);
    let targets = [
        ("any", format!("':{port}'")),
        ("v4", format!("'127.0.0.1:{port}'")),
    ];
    let scene = Scene::of(&targets, &[]).await;
    let first = connect(&any, V4, 5).await;
    scene.counts(&[5, 5]).await;
    let before = scene.blamed().await;

    let own = listen(V4, port);
    let is_noticed = wait::until("the listener to be seen", BOUND, async || {
        let report = scene.observer.report("any").await?;
        anyhow::ensure!(report["low"] == json!(0), "{report}");
        Ok::<_, anyhow::Error>(())
    });
    is_noticed.await.expect("noticed");
    let second = connect(&own, V4, 3).await;
    // The one service still has its five, the other has three.
    scene.claim(&[5, 3]);
    for _ in 0..5 {
        for name in ["any", "v4"] {
            scene.observer.checked(name).await.expect("a check");
        }
    }
    let agree = [("verdict", json!("agree"))];
    for name in ["any", "v4"] {
        scene.observer.reports(name, &agree).await.expect(name);
    }
    scene.claim(&[0, 3]);
    drop(first);
    scene.counts(&[0, 3]).await;

    scene.claim(&[0, 0]);
    drop((second, own));
    scene.counts(&[0, 0]).await;
    assert_eq!(scene.blamed().await, before);
    let third = connect(&any, V4, 2).await;
    scene.counts(&[2, 2]).await;
    drop(third);
}

#[tokio::test]
async fn an_address_that_the_host_does_not_have_is_blind() {
    if !kernel_or_skip() {
        return;
    }
    let port = port::free().expect("port");
    let service = listen(ANY, port);
    let targets = [
        ("v4", format!("'192.0.2.77:{port}'")),
        ("v6", format!("'[2001:db8::77]:{port}'")),
        // One that is there is enough.
        ("both", format!("['192.0.2.77:{port}', '127.0.0.1:{port}']")),
    ];
    let scene = Scene::of(&targets, &[]).await;
    let pairs = connect(&service, V4, 2).await;
    scene.claim(&[2, 2, 2]);
    for (name, address) in [("v4", "192.0.2.77"), ("v6", "2001:db8::77")] {
        let blind = [
            ("verdict", json!("blind")),
            ("reason", json!("not_listening")),
        ];
        scene.observer.reports(name, &blind).await.expect(name);
        let report = scene.observer.report(name).await.expect("report");
        let sentence = report["sentence"].as_str().expect("a sentence");
        let why = format!("the host does not have the address {address}");
        assert!(sentence.contains(&why), "{sentence}");
    }
    let agree = [("verdict", json!("agree")), ("claim", json!(2.0))];
    scene.observer.reports("both", &agree).await.expect("both");
    drop(pairs);
}

#[tokio::test]
async fn an_interfaces_address_in_a_namespace_may_come_later() {
    if !kernel_or_skip() {
        return;
    }
    if let Some(obstacle) = namespace::obstacle() {
        return skip(obstacle);
    }
    let namespace = Namespace::add("address");
    let port = port::free().expect("port");
    let public = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    let management = SocketAddr::new(V4, super::address().port());
    let worker = namespace.worker_beside(public, management).await;
    let page = ClaimPage::serve().await.expect("page");
    let target = Watched::new("it", &format!("10.77.0.1:{port}"), &page.url())
        .with("netns", &namespace.netns())
        .with("gauge-netns", "self");
    let observer = Observer::start(&[target]).await.expect("observer");
    page.claim(4);
    let blind = [("reason", json!("not_listening"))];
    observer.reports("it", &blind).await.expect("blind");

    let name = namespace.name();
    let add = ["-n", name, "address", "add", "10.77.0.1/32", "dev", "lo"];
    assert!(ip(&add), "ip address add");
    let address = SocketAddr::from(([10, 77, 0, 1], port));
    let mut clients = namespace.clients(address, 4).await;
    let elsewhere = namespace.clients(SocketAddr::new(V4, port), 2).await;
    let agree = [
        ("verdict", json!("agree")),
        ("low", json!(4)),
        ("high", json!(4)),
    ];
    observer.reports("it", &agree).await.expect("agree");
    clients.signal(Signal::KILL).expect("kill");
    drop((worker, elsewhere));
}
