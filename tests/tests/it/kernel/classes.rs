//! WebSockets are told from plain HTTP by what the server sends, in every family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::json;
use tests::honest::Honest;
use tests::kernel_or_skip;
use tests::load::{Crowd, Ending, Kind};
use tests::observer::{Classes, Observer, Watched};

use super::both_gauges;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Clients of every kind, from `from`: this many WebSockets, HTTP connections and silent ones.
async fn open(relay: &Honest, from: IpAddr, [websocket, http, silent]: [usize; 3]) -> Crowd {
    let mut crowd = Crowd::new(relay.gateway(from));
    for (kind, count) in [
        (Kind::WebSocket, websocket),
        (Kind::Http, http),
        (Kind::Tcp, silent),
    ] {
        crowd.open(kind, count, 16).await.expect("open");
    }
    crowd
}

#[tokio::test]
async fn websockets_are_told_from_http_on_ipv4() {
    if !kernel_or_skip() {
        return;
    }
    let relay = Honest::start(Ipv4Addr::UNSPECIFIED.into())
        .await
        .expect("relay");
    let observer = Observer::start(&both_gauges(&relay)).await.expect("start");
    let crowd = open(&relay, V4, [40, 9, 4]).await;
    let expected = Classes {
        websocket: 40,
        http: 9,
        unclassified: 4,
        closing: 0,
    };
    for (target, claim) in [("websockets", 40.0), ("connections", 53.0)] {
        observer.settles(target, expected).await.expect("classes");
        let said = [("verdict", json!("agree")), ("claim", json!(claim))];
        observer.reports(target, &said).await.expect("agree");
    }
    drop(crowd);
    let nobody = Classes::default();
    observer.settles("websockets", nobody).await.expect("empty");
}

#[tokio::test]
async fn websockets_are_told_from_http_on_ipv6_and_on_ipv4_mapped_addresses() {
    if !kernel_or_skip() {
        return;
    }
    let relay = Honest::start(Ipv6Addr::UNSPECIFIED.into())
        .await
        .expect("relay");
    let observer = Observer::start(&both_gauges(&relay)).await.expect("start");
    let mut mapped = open(&relay, V4, [30, 7, 3]).await;
    let mut v6 = open(&relay, V6, [20, 5, 2]).await;
    let expected = Classes {
        websocket: 50,
        http: 12,
        unclassified: 5,
        closing: 0,
    };
    for (target, claim) in [("websockets", 50.0), ("connections", 67.0)] {
        observer.settles(target, expected).await.expect("classes");
        let said = [("verdict", json!("agree")), ("claim", json!(claim))];
        observer.reports(target, &said).await.expect("agree");
    }
    mapped.end(10, Ending::Clean).await;
    v6.end(5, Ending::Reset).await;
    let fewer = Classes {
        websocket: 35,
        ..expected
    };
    observer.settles("websockets", fewer).await.expect("fewer");
}

#[tokio::test]
async fn a_socket_of_an_address_is_of_any_address_as_well() {
    if !kernel_or_skip() {
        return;
    }
    let relay = Honest::start(Ipv6Addr::UNSPECIFIED.into())
        .await
        .expect("relay");
    let target = |name, listen: &str| Watched::new(name, listen, &relay.gauge_url());
    let port = relay.port();
    // Sockets that were open before are sorted by user space, later ones by the programs.
    let before = (
        open(&relay, V4, [2, 0, 0]).await,
        open(&relay, V6, [1, 0, 0]).await,
    );
    let observer = Observer::start(&[
        target("any", &relay.listen()),
        target("v4", &format!("127.0.0.1:{port}")),
    ])
    .await
    .expect("observer");
    let later = (
        open(&relay, V4, [8, 2, 0]).await,
        open(&relay, V6, [4, 1, 0]).await,
    );
    // The relay pings every second: that settles what was there before.
    let v4 = Classes {
        websocket: 10,
        http: 2,
        ..Classes::default()
    };
    let all = Classes {
        websocket: 15,
        http: 3,
        ..Classes::default()
    };
    observer.settles("v4", v4).await.expect("the address's");
    // One listening socket serves both.
    observer.settles("any", all).await.expect("all");
    drop((before, later));
}
