//! What the observer has not seen: it says so, and neither agrees nor blames.

use serde_json::json;
use tests::kernel_or_skip;
use tests::observer::{Ended, Prepared};
use tests::scripted::{PING, Pair, UPGRADE};

use super::stage::{Service, Stage};

/// A service with so many WebSockets that nobody was there to see.
async fn service_with(count: usize) -> (Service, Vec<Pair>) {
    let service = Service::open(512).await;
    let mut pairs = Vec::new();
    for _ in 0..count {
        let pair = service.scripted.pair_that_got(&[UPGRADE]).await;
        pairs.push(pair.expect("a pair"));
    }
    (service, pairs)
}

/// What `observer check` says of its WebSockets.
async fn check(service: &Service) -> Ended {
    let websockets = service.targets().swap_remove(0).with("too-wide", "50%");
    let prepared = Prepared::new(&[websockets], &[]).expect("a configuration");
    let ended = prepared
        .run(Prepared::program().expect("built"), "check")
        .await;
    ended.expect("it ends")
}

#[tokio::test]
async fn a_check_that_excludes_nothing_is_no_agreement() {
    if !kernel_or_skip() {
        return;
    }
    let (service, _pairs) = service_with(23).await;
    service.claims_websockets(5);
    let ended = check(&service).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let words = "23 connections may or may not be WebSockets";
    assert!(ended.stdout.contains(words), "{ended:?}");
    // It has said for what it waits.
    assert!(ended.stderr.contains("of at most 35 s"), "{ended:?}");
}

#[tokio::test]
async fn a_check_waits_for_what_shows_itself_by_a_ping() {
    if !kernel_or_skip() {
        return;
    }
    let (service, mut pairs) = service_with(23).await;
    service.claims_websockets(5);
    let pings = async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            for pair in &mut pairs {
                pair.send(&[PING]).await.expect("send");
            }
        }
    };
    let ended = tokio::select! {
        ended = check(&service) => ended,
        () = pings => unreachable!("it goes on"),
    };
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stdout.contains("under by 18"), "{ended:?}");
}

#[tokio::test]
async fn what_was_never_seen_is_held_against_nobody_until_something_is() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    stage.claims(5, 5);
    for target in ["websockets", "connections", "accepted"] {
        let unseen = [
            ("verdict", json!("blind")),
            ("reason", json!("nothing_seen")),
        ];
        let said = stage.observer.reports(target, &unseen).await;
        said.unwrap_or_else(|error| panic!("{error:?}"));
    }
    let _pair = stage.pair(&[UPGRADE]).await;
    for target in ["websockets", "connections", "accepted"] {
        let over = [("verdict", json!("over")), ("drift", json!(4))];
        let said = stage.observer.reports(target, &over).await;
        said.unwrap_or_else(|error| panic!("{error:?}"));
    }
}
