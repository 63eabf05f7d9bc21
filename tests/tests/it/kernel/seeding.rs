//! Connections that were there before the observer: none is missed, and each is told by what its
//! server sends next.

use tests::kernel_or_skip;
use tests::observer::Classes;
use tests::scripted::{CLOSE, OK, PING, UPGRADE, frame};
use tokio::io::AsyncWriteExt as _;

use super::stage::{Service, unclassified, websockets};

#[tokio::test]
async fn what_was_open_before_is_told_by_its_next_bytes() {
    if !kernel_or_skip() {
        return;
    }
    let service = Service::open(64).await;
    let pair = async |segments: &[&[u8]]| {
        let pair = service.scripted.pair_that_got(segments).await;
        pair.expect("a pair")
    };
    let mut websocket = pair(&[UPGRADE]).await;
    let mut kept_alive = pair(&[OK]).await;
    let mut silent = pair(&[]).await;
    let message = frame(1, &[7; 40]);
    let mut within = pair(&[UPGRADE, &message[..10]]).await;
    let mut half_closed = pair(&[OK]).await;
    half_closed.client.shutdown().await.expect("FIN");
    let unaccepted = service.scripted.connect().await.expect("connect");

    let stage = service.watched().await;
    let expected = Classes {
        closing: 1,
        ..unclassified(5)
    };
    // Any of them may be a WebSocket.
    stage.shows(expected, (0, 6)).await;
    stage.counted(6, 0).await;
    stage.claims_accepted(4, (4, 6)).await;

    websocket.send(&[PING]).await.expect("send");
    kept_alive.send(&[OK]).await.expect("send");
    silent.send(&[UPGRADE]).await.expect("send");
    // The rest of a message tells nothing, the next whole frame does.
    within.send(&[&message[10..]]).await.expect("send");
    let expected = Classes {
        websocket: 2,
        http: 1,
        unclassified: 2,
        closing: 1,
    };
    stage.shows(expected, (2, 5)).await;
    within.send(&[&message]).await.expect("send");
    drop((half_closed, unaccepted));
    // It has been closed by its client alone: nobody has accepted it.
    let last = stage.service.scripted.accept().await.expect("accept");
    drop(last);
    let expected = Classes {
        websocket: 3,
        http: 1,
        ..Classes::default()
    };
    stage.shows_exactly(expected).await;

    // Those that were recognised are followed like any other.
    let decoy = frame(2, &CLOSE.repeat(20));
    for pair in [&mut websocket, &mut within, &mut silent] {
        pair.send(&[&decoy[..3], &decoy[3..], PING])
            .await
            .expect("send");
    }
    stage.shows_exactly(expected).await;
    websocket.send(&[CLOSE]).await.expect("send");
    stage.shows(expected, (2, 3)).await;
    // Upgrades are what the server said; a WebSocket that was found by its frames is none.
    let metric = "observer_kernel_websocket_upgrades_total";
    let upgrades = stage.observer.count(metric, "websockets").await;
    assert_eq!(upgrades.expect("upgrades"), 1);
    drop((websocket, kept_alive, silent, within));
    stage.shows_exactly(Classes::default()).await;
    stage.counted(6, 6).await;
}

#[tokio::test]
async fn a_close_frame_is_what_tells_a_websocket_and_its_end_at_once() {
    if !kernel_or_skip() {
        return;
    }
    let service = Service::open(64).await;
    let before = service.scripted.pair_that_got(&[UPGRADE]).await;
    let mut before = before.expect("a pair");
    let stage = service.watched().await;
    stage.shows(unclassified(1), (0, 1)).await;
    before.send(&[CLOSE]).await.expect("send");
    stage.shows(websockets(1), (0, 1)).await;
    drop(before);
    stage.shows_exactly(Classes::default()).await;
}

#[tokio::test]
async fn what_was_open_before_and_ends_without_a_word_is_gone() {
    if !kernel_or_skip() {
        return;
    }
    let service = Service::open(512).await;
    let mut pairs = Vec::new();
    for _ in 0..300 {
        let pair = service.scripted.pair_that_got(&[UPGRADE]).await;
        pairs.push(pair.expect("a pair"));
    }
    let stage = service.watched().await;
    stage.shows(unclassified(300), (0, 300)).await;
    pairs.truncate(100);
    stage.shows(unclassified(100), (0, 100)).await;
    for pair in &mut pairs {
        pair.send(&[PING]).await.expect("send");
    }
    stage.shows_exactly(websockets(100)).await;
    drop(pairs);
    stage.shows_exactly(Classes::default()).await;
    stage.counted(300, 300).await;
}

#[tokio::test]
async fn text_that_looks_like_a_frame_tells_nothing_of_what_was_open_before() {
    if !kernel_or_skip() {
        return;
    }
    let service = Service::open(64).await;
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let before = service.scripted.pair_that_got(&[head]).await;
    let mut before = before.expect("a pair");
    let stage = service.watched().await;
    stage.shows(unclassified(1), (0, 1)).await;
    // An event of a stream: `A` and a carriage return are a frame's header with a length of 13.
    before
        .send(&[b"A\r\ndata: {}\n\n\r\n"])
        .await
        .expect("send");
    stage.shows(unclassified(1), (0, 1)).await;
    drop(before);
    stage.shows_exactly(Classes::default()).await;
}
