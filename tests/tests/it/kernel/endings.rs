//! However a connection ends, and from whichever side, its end is counted once and at once.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;
use tests::honest::Honest;
use tests::load::{Books, Crowd, Kind};
use tests::observer::{BOUND, Classes, Observer, Watched};
use tests::process::{Process, Signal};
use tests::scripted::{CLOSE, OK, UPGRADE, reset};
use tests::{kernel_or_skip, wait};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::both_gauges;
use super::stage::{Service, Stage, http, unclassified, websockets};

fn closing(closing: u64) -> Classes {
    Classes {
        closing,
        ..Classes::default()
    }
}

#[tokio::test]
async fn resets_from_either_side_end_connections_of_every_class() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    let mut pairs = Vec::new();
    for segments in [&[UPGRADE][..], &[OK], &[]] {
        for _ in 0..4 {
            pairs.push(stage.pair(segments).await);
        }
    }
    let all = Classes {
        websocket: 4,
        http: 4,
        unclassified: 4,
        closing: 0,
    };
    stage.shows_exactly(all).await;
    let mut held = Vec::new();
    for (index, pair) in pairs.into_iter().enumerate() {
        if index % 2 == 0 {
            reset(pair.client).expect("reset");
            held.push(pair.server);
        } else {
            reset(pair.server).expect("reset");
            held.push(pair.client);
        }
    }
    stage.shows_exactly(Classes::default()).await;
    stage.counted(12, 12).await;
}

#[tokio::test]
async fn a_half_closed_connection_is_closing_until_both_sides_have_closed() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    // CLOSE_WAIT: the client has closed, and the service holds on.
    let mut left_alone = stage.pair(&[UPGRADE]).await;
    let mut answered = stage.pair(&[OK]).await;
    left_alone.client.shutdown().await.expect("FIN");
    answered.client.shutdown().await.expect("FIN");
    stage.shows(closing(2), (0, 1)).await;
    // Sending is still possible, and changes nothing.
    answered.send(&[OK]).await.expect("send");
    stage.shows(closing(2), (0, 1)).await;
    drop(left_alone);
    stage.shows_exactly(closing(1)).await;
    drop(answered);

    // FIN_WAIT2: the service has closed its half, the client has not.
    let mut half = stage.pair(&[UPGRADE]).await;
    half.server.shutdown().await.expect("FIN");
    stage.shows(closing(1), (0, 1)).await;
    half.client.shutdown().await.expect("FIN");
    stage.shows_exactly(Classes::default()).await;
    stage.counted(3, 3).await;
}

#[tokio::test]
async fn a_refused_connect_has_no_effect() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    let pair = stage.pair(&[UPGRADE]).await;
    // Nobody listens on this address of the same port.
    let elsewhere = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 9), stage.service.port()));
    for _ in 0..100 {
        let refused = TcpStream::connect(elsewhere).await;
        refused.expect_err("nobody listens there");
    }
    stage.shows_exactly(websockets(1)).await;
    stage.counted(1, 0).await;
    drop(pair);
}

#[tokio::test]
async fn a_websocket_that_takes_long_to_close_has_ended_and_is_not_closed() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    let mut pair = stage.pair(&[UPGRADE]).await;
    let other = stage.pair(&[UPGRADE]).await;
    pair.send(&[CLOSE]).await.expect("send");
    // ESTABLISHED all the while; a service that stops counting at its close frame is as honest as
    // one that waits for the client's.
    stage.shows(websockets(2), (1, 2)).await;
    // What is sent after a close frame is no frame.
    pair.send(&[UPGRADE, CLOSE]).await.expect("send");
    stage.shows(websockets(2), (1, 2)).await;
    drop(pair);
    stage.shows_exactly(websockets(1)).await;
    drop(other);
}

#[tokio::test]
async fn connections_that_nobody_accepts_are_unaccepted_to_the_last_one() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(stage.service.scripted.connect().await.expect("connect"));
    }
    let unaccepted = async |expected: u64| {
        let metrics = ["kernel_unaccepted_connections", "accept_queue_length"];
        for metric in metrics.map(|metric| format!("observer_{metric}")) {
            wait::until_equal(&metric, BOUND, expected, async || {
                stage.observer.count(&metric, "accepted").await
            })
            .await
            .expect("the queue");
        }
    };
    stage.shows(unclassified(20), (0, 0)).await;
    unaccepted(20).await;
    // A connection that is aborted in the queue stays in it: the queue lowers only the lower bound.
    stage.claims_accepted(0, (0, 20)).await;
    let mut accepted = Vec::new();
    for _ in 0..5 {
        accepted.push(stage.service.scripted.accept().await.expect("accept"));
    }
    unaccepted(15).await;
    stage.claims_accepted(5, (5, 20)).await;
    // Three give up while they wait: the service will still be handed them.
    clients.truncate(17);
    let waiting = Classes {
        closing: 3,
        ..unclassified(17)
    };
    stage.shows(waiting, (0, 0)).await;
    unaccepted(15).await;
    stage.claims_accepted(5, (2, 20)).await;
}

#[tokio::test]
async fn connections_for_which_the_accept_queue_has_no_room_are_not_open() {
    if !kernel_or_skip() {
        return;
    }
    // The kernel lets one more wait than the backlog says: sk_acceptq_is_full() asks for more than.
    let stage = Service::open(4).await.watched().await;
    let address = stage.service.scripted.address();
    let clients: Vec<_> = (0..40)
        .map(|_| tokio::spawn(TcpStream::connect(address)))
        .collect();
    wait::until_equal("unaccepted", BOUND, 5, async || {
        let metric = "observer_kernel_unaccepted_connections";
        stage.observer.count(metric, "accepted").await
    })
    .await
    .expect("a full queue");
    stage.shows(unclassified(5), (0, 0)).await;
    stage.counted(5, 0).await;
    for client in clients {
        client.abort();
    }
}

#[tokio::test]
async fn a_listener_that_is_closed_takes_only_those_with_it_whom_nobody_accepted() {
    if !kernel_or_skip() {
        return;
    }
    let mut stage = Stage::open().await;
    let kept = [stage.pair(&[UPGRADE]).await, stage.pair(&[OK]).await];
    let waiting = stage.service.scripted.connect().await.expect("connect");
    let three = Classes {
        websocket: 1,
        http: 1,
        unclassified: 1,
        closing: 0,
    };
    stage.shows_exactly(three).await;
    stage.service.scripted.close().expect("close");
    let two = Classes {
        websocket: 1,
        ..http(1)
    };
    stage.shows_exactly(two).await;
    drop((kept, waiting));
    let nobody = stage.observer.settles("websockets", Classes::default());
    nobody.await.expect("all gone");
    let blind = [("reason", json!("not_listening"))];
    let reported = stage.observer.reports("websockets", &blind).await;
    reported.expect("nothing listens and nothing is connected");
}

#[tokio::test]
async fn a_client_that_is_killed_is_gone_from_kernel_and_gauge() {
    if !kernel_or_skip() {
        return;
    }
    let relay = Honest::start(Ipv4Addr::LOCALHOST.into())
        .await
        .expect("relay");
    let targets = both_gauges(&relay).map(|target| target.with("settle", "1s"));
    let observer = Observer::start(&targets).await.expect("observer");
    let mut stays = Crowd::new(relay.gateway(Ipv4Addr::LOCALHOST));
    stays.open(Kind::WebSocket, 10, 10).await.expect("open");
    let mut client = super::clients("http", relay.port(), "/", 30);
    client.wait_for_log("open", BOUND).await.expect("open");
    let both = Classes {
        websocket: 10,
        ..http(30)
    };
    observer.settles("connections", both).await.expect("both");
    client.signal(Signal::KILL).expect("kill");
    let settled = observer.settles("connections", websockets(10)).await;
    settled.expect("the killed are gone");
    for target in ["websockets", "connections"] {
        observer.checked(target).await.expect("a check");
        let agree = [("verdict", json!("agree")), ("claim", json!(10.0))];
        observer.reports(target, &agree).await.expect("agree");
    }
    super::nobody_was_blamed(&observer);
}

#[tokio::test]
async fn a_service_that_is_killed_leaves_nothing_open_and_is_seen_again_when_it_is_back() {
    if !kernel_or_skip() {
        return;
    }
    let (public, management) = (super::address(), super::address());
    let mut worker = super::worker(public, management).await;
    let page = format!("http://{management}/metrics");
    let listen = format!(":{}", public.port());
    let targets = [Watched::new("it", &listen, &page).with("settle", "1s")];
    let observer = Observer::start(&targets).await.expect("observer");
    let mut crowd = Crowd::new(tests::load::Target::new(public, "/v1/gateway"));
    crowd.open(Kind::WebSocket, 30, 10).await.expect("open");
    let settled = observer.settles("it", websockets(30)).await;
    settled.expect("thirty");
    worker.signal(Signal::KILL).expect("kill");
    let settled = observer.settles("it", Classes::default()).await;
    settled.expect("nobody");
    let blind = [
        ("verdict", json!("blind")),
        ("reason", json!("not_listening")),
    ];
    observer.reports("it", &blind).await.expect("blind");
    wait::until_equal("the clients to hear of it", BOUND, 30, async || {
        let Books { by_peer, .. } = crowd.books();
        Ok(by_peer)
    })
    .await
    .expect("all thirty");

    let _back: Process = super::worker(public, management).await;
    crowd.open(Kind::WebSocket, 7, 7).await.expect("open");
    let agree = [("verdict", json!("agree")), ("claim", json!(7.0))];
    observer.reports("it", &agree).await.expect("agree again");
    super::nobody_was_blamed(&observer);
}
