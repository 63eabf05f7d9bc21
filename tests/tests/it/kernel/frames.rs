//! A WebSocket's frames are followed by their headers: only a close frame is one.

use tests::kernel_or_skip;
use tests::observer::Classes;
use tests::scripted::{CLOSE, PING, Pair, UPGRADE, frame};

use super::stage::{Stage, websockets};

/// Sends, and expects the WebSocket to be alive; then closes it and expects that to be seen.
async fn is_followed_over(segments: &[&[u8]]) {
    let stage = Stage::open().await;
    let mut pair = stage.pair(&[UPGRADE]).await;
    pair.send(segments).await.expect("send");
    stage.shows_exactly(websockets(1)).await;
    pair.send(&[CLOSE]).await.expect("send");
    stage.shows(websockets(1), (0, 1)).await;
}

#[tokio::test]
async fn a_message_whose_later_segment_looks_like_a_close_frame_is_none() {
    if !kernel_or_skip() {
        return;
    }
    // One frame over three segments, the second of which is nothing but a close frame's bytes.
    let message = frame(2, &[CLOSE, CLOSE, PING].concat());
    is_followed_over(&[&message[..2], CLOSE, &message[6..]]).await;
}

#[tokio::test]
async fn a_frame_header_may_be_split_over_segments() {
    if !kernel_or_skip() {
        return;
    }
    let short = frame(1, CLOSE);
    let medium = frame(2, &CLOSE.repeat(50));
    let long = frame(2, &CLOSE.repeat(20_000));
    let mut segments: Vec<&[u8]> = vec![&short[..1], &short[1..]];
    for cut in 1..4 {
        segments.extend([&medium[..cut], &medium[cut..]]);
    }
    for cut in 1..10 {
        segments.extend([&long[..cut], &long[cut..]]);
    }
    segments.extend(short.chunks(1));
    segments.extend(medium.chunks(1));
    is_followed_over(&segments).await;
}

#[tokio::test]
async fn a_close_frame_whose_header_is_split_ends_it() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    let tail = [PING, &CLOSE[..1]].concat();
    let pair = stage.pair(&[UPGRADE, &tail]).await;
    let mut pair = pair;
    stage.shows_exactly(websockets(1)).await;
    pair.send(&[&CLOSE[1..]]).await.expect("send");
    stage.shows(websockets(1), (0, 1)).await;
}

#[tokio::test]
async fn many_frames_in_a_segment_are_followed() {
    if !kernel_or_skip() {
        return;
    }
    let mixed = [PING, &frame(1, CLOSE), &frame(2, &[0x88; 300]), PING].concat();
    let full = PING.repeat(4_000);
    is_followed_over(&[&mixed, &full]).await;
    is_followed_over(&[&full, &mixed]).await;
}

#[tokio::test]
async fn large_messages_are_followed() {
    if !kernel_or_skip() {
        return;
    }
    let message = frame(2, &CLOSE.repeat(400_000));
    is_followed_over(&[&message, PING, &message]).await;
}

#[tokio::test]
async fn too_many_frames_in_a_segment_lose_the_boundary_until_whole_frames_come() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    let mut pair = stage.pair(&[UPGRADE, &PING.repeat(5_000)]).await;
    // It may have sent a close frame unseen: both claims are honest.
    stage.shows(websockets(1), (0, 1)).await;
    // Part of a frame finds nothing again.
    let message = frame(2, &[0; 64]);
    pair.send(&[&message[..20], &message[20..]])
        .await
        .expect("send");
    stage.shows(websockets(1), (0, 1)).await;
    pair.send(&[PING]).await.expect("send");
    stage.shows_exactly(websockets(1)).await;
    pair.send(&[&PING.repeat(6_000)]).await.expect("send");
    stage.shows(websockets(1), (0, 1)).await;
    // Nothing of it is left behind when it ends while lost.
    drop(pair);
    stage.shows_exactly(Classes::default()).await;
    let other = stage.pair(&[UPGRADE]).await;
    stage.shows_exactly(websockets(1)).await;
    drop(other);
}

#[tokio::test]
async fn a_frame_that_no_server_may_send_loses_the_boundary() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    let masked = [0x81, 0x85, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    let mut pair: Pair = stage.pair(&[UPGRADE, &masked]).await;
    stage.shows(websockets(1), (0, 1)).await;
    pair.send(&[&[PING, PING].concat()]).await.expect("send");
    stage.shows_exactly(websockets(1)).await;
}
