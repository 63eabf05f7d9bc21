//! A map that is too small: the observer says that it is blind, and sees again when there is room.

use serde_json::json;
use tests::kernel_or_skip;
use tests::observer::{BOUND, Classes, Observer, Watched};
use tests::scripted::{PING, UPGRADE};
use tests::wait;

use super::stage::{Service, Stage, websockets};

const CAPACITY: usize = 100;

async fn stage(capacity: usize) -> Stage {
    let service = Service::open(512).await;
    let targets: Vec<Watched> = service.targets();
    let flag = format!("--kernel.max-sockets={capacity}");
    let observer = Observer::start_with(&targets, &[&flag]).await;
    Stage {
        service,
        observer: observer.expect("observer").seeded().await.expect("seeded"),
    }
}

#[tokio::test]
async fn more_connections_than_the_map_holds_make_it_blind_and_not_wrong() {
    if !kernel_or_skip() {
        return;
    }
    let stage = stage(CAPACITY).await;
    let mut pairs = Vec::new();
    for _ in 0..CAPACITY {
        pairs.push(stage.pair(&[UPGRADE]).await);
    }
    // As many as it must hold, and nothing lost. A slot that is free is room beyond that, a quarter
    // at most.
    stage.shows_exactly(websockets(100)).await;

    for _ in 0..50 {
        pairs.push(stage.pair(&[UPGRADE]).await);
    }
    for target in ["websockets", "connections"] {
        let blind = [("verdict", json!("blind")), ("reason", json!("lost"))];
        stage.observer.reports(target, &blind).await.expect("blind");
    }
    let page = async || stage.observer.page().await.expect("page");
    let events = async |outcome| {
        let labels = [("outcome", outcome)];
        let events = page().await;
        let events = events.value("observer_kernel_established_events_total", &labels);
        events.expect(outcome)
    };
    let (stored, lost) = (events("stored").await, events("map_full").await);
    assert!((100.0..=125.0).contains(&stored), "{stored}");
    assert_eq!(stored + lost, 150.0);
    let untracked = async || {
        let labels = [("target", "connections"), ("cause", "map_full")];
        let page = stage.observer.page().await?;
        page.value("observer_untracked_sockets_total", &labels)
    };
    let untracked = wait::until_equal("untracked", BOUND, lost, untracked);
    untracked.await.expect("each was counted");
    // Every event is accounted for; what is missing is missing in the map, and the witnesses say so.
    let seen = page().await;
    let seen = seen.value("observer_kernel_established_events_seen_total", &[]);
    assert_eq!(seen.expect("seen"), 150.0);
    let is_off = async || {
        let page = stage.observer.page().await?;
        let difference = |identity| {
            let labels = [("identity", identity)];
            page.value("observer_kernel_identity_difference", &labels)
        };
        let target = [("target", "connections")];
        let disagreement = page.value("observer_witness_disagreement", &target)?;
        Ok((disagreement, difference("seen")?, difference("stored")?))
    };
    let off = wait::until_equal("the identities", BOUND, (lost, 0.0, 0.0), is_off);
    off.await
        .expect("opened less closed is short of what is open");
    let said = stage.observer.process.log();
    assert!(said.contains("SOCKETS is full"), "{said}");

    // There is room again: those that were not tracked are taken in, and told by their next ping.
    pairs.drain(..80);
    let taken_in = wait::until_equal("tracked", BOUND, 70, async || {
        let Classes {
            websocket,
            unclassified,
            ..
        } = stage.observer.classes("connections").await?;
        Ok(websocket + unclassified)
    });
    taken_in.await.expect("all that are open");
    for pair in &mut pairs {
        pair.send(&[PING]).await.expect("send");
    }
    stage.is_right_again(websockets(70)).await;
    drop(pairs);
    stage.is_right_again(Classes::default()).await;
    let pair = stage.pair(&[UPGRADE]).await;
    stage.is_right_again(websockets(1)).await;
    drop(pair);
}

#[tokio::test]
async fn more_connections_than_the_map_holds_before_it_starts_are_no_different() {
    if !kernel_or_skip() {
        return;
    }
    let service = Service::open(512).await;
    let mut pairs = Vec::new();
    for _ in 0..150 {
        let pair = service.scripted.pair_that_got(&[UPGRADE]).await;
        pairs.push(pair.expect("a pair"));
    }
    let flag = format!("--kernel.max-sockets={CAPACITY}");
    let observer = Observer::start_with(&service.targets(), &[&flag]).await;
    let observer = observer.expect("observer");
    let stage = Stage { service, observer };
    stage
        .observer
        .checked("connections")
        .await
        .expect("a check");
    let blind = [("verdict", json!("blind"))];
    stage
        .observer
        .reports("connections", &blind)
        .await
        .expect("blind");
    pairs.truncate(60);
    for pair in &mut pairs {
        pair.send(&[PING]).await.expect("send");
    }
    let taken_in = wait::until_equal("tracked", BOUND, 60, async || {
        let classes = stage.observer.classes("connections").await?;
        Ok(classes.websocket + classes.unclassified)
    });
    taken_in.await.expect("all that are open");
    for pair in &mut pairs {
        pair.send(&[PING]).await.expect("send");
    }
    stage.is_right_again(websockets(60)).await;
    drop(pairs);
    stage.is_right_again(Classes::default()).await;
}

#[tokio::test]
async fn sockets_that_want_the_same_slot_are_each_counted() {
    if !kernel_or_skip() {
        return;
    }
    // Of so small a number the quarter is one slot, for all of them.
    let stage = stage(4).await;
    let mut pairs = Vec::new();
    for _ in 0..4 {
        pairs.push(stage.pair(&[UPGRADE]).await);
    }
    stage.shows_exactly(websockets(4)).await;
    // The first had the slot: the next may have it, and those in the map stay there.
    drop(pairs.remove(0));
    stage.shows_exactly(websockets(3)).await;
    pairs.push(stage.pair(&[UPGRADE]).await);
    stage.shows_exactly(websockets(4)).await;
    for left in (0..4).rev() {
        drop(pairs.remove(left / 2));
        stage.shows_exactly(websockets(left as u64)).await;
    }
}
