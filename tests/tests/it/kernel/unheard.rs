//! Packets that are not as the service sent them, or that the programs do not see: no honest service
//! is accused because of it.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;
use tests::claim_page::ClaimPage;
use tests::observer::{Classes, Observer, Watched};
use tests::scripted::{OK, UPGRADE};
use tests::{kernel_or_skip, port, skip};

use super::namespace::{Namespace, obstacle};
use super::nobody_was_blamed;
use super::stage::Service;
use super::workloads::Cgroup;

#[tokio::test]
async fn behind_nat_a_websocket_is_one() {
    if !kernel_or_skip() {
        return;
    }
    if let Some(obstacle) = obstacle() {
        return skip(obstacle);
    }
    let namespace = Namespace::add("nat");
    let free = || SocketAddr::from((Ipv4Addr::LOCALHOST, port::free().expect("port")));
    let (public, advertised) = (free(), free());
    if !namespace.redirect(advertised.port(), public.port()) {
        return skip("needs iptables and a kernel that redirects");
    }
    let _worker = namespace.worker(public).await;
    let page = ClaimPage::serve().await.expect("page");
    let target = Watched::new("redirected", &format!(":{}", public.port()), &page.url());
    let target = target.with("netns", &namespace.netns());
    let target = target.with("gauge-netns", "self");
    let observer = Observer::start(&[target]).await;
    let observer = observer.expect("observer").seeded().await.expect("ready");
    // What the clients get bears the port that they asked for, not the socket's.
    let _clients = namespace.clients(advertised, 3).await;
    page.claim(3);
    let websockets = Classes {
        websocket: 3,
        ..Classes::default()
    };
    let settled = observer.settles("redirected", websockets).await;
    settled.expect("all are WebSockets");
    let agree = [
        ("verdict", json!("agree")),
        ("low", json!(3)),
        ("high", json!(3)),
    ];
    let said = observer.reports("redirected", &agree).await;
    said.expect("exactly so many");
}

#[tokio::test]
async fn a_service_whose_packets_are_not_seen_is_not_accused() {
    if !kernel_or_skip() {
        return;
    }
    let Some(elsewhere) = Cgroup::add(&format!("plumbline-{}", std::process::id())) else {
        return skip("needs cgroup2");
    };
    let service = Service::open(64).await;
    let flag = format!("--kernel.cgroup={}", elsewhere.0.display());
    let observer = Observer::start_with(&service.targets(), &[&flag]).await;
    let observer = observer.expect("observer").seeded().await.expect("ready");
    let mut pairs = Vec::new();
    for segments in [&[UPGRADE][..], &[UPGRADE], &[UPGRADE], &[OK]] {
        let pair = service.scripted.pair_that_got(segments).await;
        pairs.push(pair.expect("a pair"));
    }
    service.claims_connections(4);
    // Whatever it claims: nobody can say how many of them are WebSockets.
    for claim in [3, 0, 4] {
        service.claims_websockets(claim);
        let blind = [
            ("verdict", json!("blind")),
            ("reason", json!("egress_unseen")),
            ("claim", json!(claim as f64)),
        ];
        let said = observer.reports("websockets", &blind).await;
        said.expect("blind");
    }
    let report = observer.report("websockets").await.expect("report");
    let sentence = report["sentence"].as_str().expect("a sentence");
    assert!(sentence.contains("cgroup"), "{sentence}");
    // Connections are counted all the same.
    let agree = [("verdict", json!("agree")), ("low", json!(4))];
    let said = observer.reports("connections", &agree).await;
    said.expect("connections");
    // Nor afterwards, when the last of them closes and the gauge is late.
    drop(pairs);
    service.claims_connections(0);
    service.claims_websockets(0);
    let nobody = observer.settles("websockets", Classes::default()).await;
    nobody.expect("closed");
    nobody_was_blamed(&observer);
}
