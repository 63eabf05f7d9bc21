//! What makes a WebSocket: the server's own `101`, however it is cut into segments.

use tests::kernel_or_skip;
use tests::observer::Classes;
use tests::scripted::{CLOSE, EARLY, OK, PING, UPGRADE, frame};

use super::stage::{Stage, http, unclassified, websockets};

/// Each byte in a segment of its own.
fn byte_by_byte(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.chunks(1).collect()
}

#[tokio::test]
async fn an_upgrade_is_seen_however_it_is_cut() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    let mut pairs = vec![stage.pair(&[UPGRADE]).await];
    // Cut within the status line, within the headers, and within their end.
    let end = UPGRADE.len();
    for cut in [1, 7, 8, 11, 12, 13, 40, end - 3, end - 2, end - 1] {
        pairs.push(stage.pair(&[&UPGRADE[..cut], &UPGRADE[cut..]]).await);
    }
    pairs.push(stage.pair(&byte_by_byte(UPGRADE)).await);
    let with_frames = [UPGRADE, PING, &frame(1, b"hello")].concat();
    pairs.push(stage.pair(&[&with_frames]).await);
    stage.shows_exactly(websockets(13)).await;

    // All of them are followed from there on: the close frame of each is seen, after a frame whose
    // payload has one.
    let decoy = frame(1, &[CLOSE, CLOSE].concat());
    for pair in &mut pairs {
        pair.send(&[&decoy, PING]).await.expect("send");
    }
    stage.shows_exactly(websockets(13)).await;
    for pair in &mut pairs {
        pair.send(&[CLOSE]).await.expect("send");
    }
    // Ended, not closed: an honest service may count them or not.
    stage.shows(websockets(13), (0, 13)).await;
    drop(pairs);
    stage.shows_exactly(Classes::default()).await;
    stage.counted(13, 13).await;
}

#[tokio::test]
async fn a_close_frame_in_the_upgrades_own_segment_ends_it() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    let at_once = [UPGRADE, PING, CLOSE].concat();
    let pair = stage.pair(&[&at_once]).await;
    stage.shows(websockets(1), (0, 1)).await;
    drop(pair);
    stage.shows_exactly(Classes::default()).await;
}

#[tokio::test]
async fn what_is_no_upgrade_is_none() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    let mut kept_alive = stage.pair(&[OK]).await;
    let split = stage
        .pair(&[b"HT", b"TP/1.", b"1 200 OK\r\n", b"\r\n"])
        .await;
    let nearly = stage
        .pair(&[b"HTTP/1.1 10", b"0 Continue\r\n\r\n", OK])
        .await;
    let old = stage
        .pair(&[b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 101"[1..].as_ref()])
        .await;
    stage.shows_exactly(http(4)).await;

    // Pipelining: answers in one segment, and in many.
    kept_alive
        .send(&[&[OK, OK, OK].concat(), OK, OK])
        .await
        .expect("send");
    let silent = stage.pair(&[]).await;
    let tls = stage
        .pair(&[b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03\x00"])
        .await;
    let h = stage.pair(&[b"H", b"ello, this is no HTTP\r\n"]).await;
    let expected = Classes {
        http: 4,
        unclassified: 3,
        ..Classes::default()
    };
    // What was seen from its first byte and is none of ours may still be anything.
    stage.shows(expected, (0, 2)).await;
    drop((kept_alive, split, nearly, old, silent, tls, h));
    stage.shows_exactly(Classes::default()).await;
    stage.counted(7, 7).await;
}

#[tokio::test]
async fn a_kept_alive_connection_may_be_upgraded_later() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    let mut pair = stage.pair(&[OK, OK]).await;
    let mut pipelined = stage.pair(&[OK]).await;
    stage.shows_exactly(http(2)).await;
    pair.send(&[UPGRADE, PING]).await.expect("send");
    let expected = Classes {
        websocket: 1,
        ..http(1)
    };
    stage.shows_exactly(expected).await;
    pipelined.send(&byte_by_byte(UPGRADE)).await.expect("send");
    stage.shows_exactly(websockets(2)).await;
    drop((pair, pipelined));
    stage.shows_exactly(Classes::default()).await;
}

#[tokio::test]
async fn an_upgrade_that_is_dropped_at_once_leaves_nothing_open() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    for round in 0..50 {
        let pair = stage.pair(&[UPGRADE]).await;
        match round % 3 {
            0 => drop(pair),
            1 => tests::scripted::reset(pair.server).expect("reset"),
            _ => tests::scripted::reset(pair.client).expect("reset"),
        }
    }
    stage.shows_exactly(Classes::default()).await;
    stage.counted(50, 50).await;
    let upgrades = stage
        .observer
        .count("observer_kernel_websocket_upgrades_total", "websockets");
    assert_eq!(upgrades.await.expect("upgrades"), 50);
}

#[tokio::test]
async fn an_upgrade_after_the_clients_fin_was_opened_and_ended_at_once() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    let mut pair = stage.pair(&[]).await;
    stage.shows_exactly(unclassified(1)).await;
    tokio::io::AsyncWriteExt::shutdown(&mut pair.client)
        .await
        .expect("FIN");
    let closing = Classes {
        closing: 1,
        ..Classes::default()
    };
    stage.shows_exactly(closing).await;
    pair.send(&[UPGRADE]).await.expect("send");
    stage.shows(closing, (0, 1)).await;
    drop(pair);
    stage.shows_exactly(Classes::default()).await;
}

#[tokio::test]
async fn a_body_that_looks_like_an_upgrade_makes_no_websocket() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    let length = format!("content-length: {}\r\n", UPGRADE.len() + 1);
    let chunk = format!("{:x}\r\n", UPGRADE.len() + 1);
    let mut pairs = Vec::new();
    for (field, before) in [
        (length.as_str(), ""),
        ("transfer-encoding: chunked\r\n", chunk.as_str()),
        ("", ""),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{field}\r\n{before}.");
        pairs.push(stage.pair(&[head.as_bytes(), UPGRADE]).await);
        pairs.push(stage.pair(&[&[head.as_bytes(), UPGRADE].concat()]).await);
    }
    stage.shows_exactly(http(6)).await;

    // The body's first bytes may as well be the next response: after the answer to a HEAD request.
    let head = format!("HTTP/1.1 200 OK\r\n{length}\r\n");
    let ambiguous = stage.pair(&[head.as_bytes(), UPGRADE]).await;
    let expected = Classes {
        http: 6,
        ..unclassified(1)
    };
    stage.shows(expected, (0, 1)).await;
    drop((pairs, ambiguous));
    stage.shows_exactly(Classes::default()).await;
}

#[tokio::test]
async fn a_connection_is_upgraded_after_bodies_and_interim_responses() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let large = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n".as_slice(),
        &[b'x'; 300_000],
    ]
    .concat();
    let mut pairs = Vec::new();
    for before in [EARLY, chunked, &large] {
        pairs.push(stage.pair(&[before, UPGRADE, PING]).await);
        pairs.push(stage.pair(&[&[before, UPGRADE, PING].concat()]).await);
    }
    pairs.push(stage.pair(&byte_by_byte(&[EARLY, UPGRADE].concat())).await);
    stage.shows_exactly(websockets(7)).await;
    drop(pairs);
    stage.shows_exactly(Classes::default()).await;
}

#[tokio::test]
async fn an_upgrade_to_another_protocol_makes_no_websocket() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    let mut pairs = Vec::new();
    for protocol in ["tcp", "h2c", "TLS/1.0", "websockets"] {
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: {protocol}\r\nconnection: upgrade\r\n\r\n"
        );
        // What that protocol says may look like anything.
        pairs.push(stage.pair(&[head.as_bytes(), UPGRADE, PING]).await);
    }
    stage.shows_exactly(http(4)).await;
    drop(pairs);
    stage.shows_exactly(Classes::default()).await;
}
