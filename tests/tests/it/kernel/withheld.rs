//! What the programs are not shown, and nobody counts as missed, the second witness finds.
//!
//! A kernel may withhold events: some do not run BPF programs while certain tasks are current, and
//! what a softirq does then happens to be no socket of theirs.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use tests::bpf::{self, Withheld};
use tests::honest::Honest;
use tests::load::{Crowd, Ending, Kind};
use tests::observer::{BOUND, Classes, Observer};
use tests::scripted::{PING, UPGRADE};
use tests::{kernel_or_skip, skip, ss, wait};
use tokio::io::AsyncWriteExt as _;

use super::stage::{Stage, websockets};
use super::{both_gauges, churn, nobody_was_blamed};

/// Sooner than a survey that nobody has asked for.
const SOON: Duration = Duration::from_secs(10);
/// Two surveys that nobody has asked for, where one takes half a second, and some slack.
const SURVEYS: Duration = Duration::from_secs(120);

pub(crate) fn can_withhold() -> bool {
    if !kernel_or_skip() {
        return false;
    }
    if !bpf::has_bpftool() {
        skip("bpftool is not installed");
        return false;
    }
    true
}

async fn repairs(observer: &Observer) -> anyhow::Result<u64> {
    observer
        .count("observer_repairs_total", "connections")
        .await
}

/// One socket is, and sooner than by a survey that nobody has asked for.
async fn is_repaired_soon(observer: &Observer) {
    let repaired = wait::until_equal("repairs", SOON, 1, async || repairs(observer).await);
    repaired.await.expect("found");
}

/// Where something was withheld and nobody counted it, as many may be missing again: what is allowed
/// is wider, and says so, until the witnesses were found to agree again and again.
pub(crate) async fn is_sure_again(observer: &Observer) {
    let width = async || {
        let report = observer.report("connections").await?;
        let number = |key: &str| report[key].as_i64();
        let width = number("high")
            .zip(number("low"))
            .map(|(high, low)| high - low);
        width.with_context(|| report.to_string())
    };
    let is_wider = wait::until("a wider interval", BOUND, async || {
        ensure!(width().await? > 0, "it is exact");
        Ok(())
    });
    is_wider.await.expect("what may be missing is allowed for");
    let exact = wait::until_equal("the width", SURVEYS, 0, width);
    exact.await.expect("it is sure again");
}

#[tokio::test]
async fn a_close_that_was_withheld_is_found_by_the_next_check() {
    if !can_withhold() {
        return;
    }
    let stage = Stage::open().await;
    let open = stage.pair(&[UPGRADE]).await;
    let mut half = stage.pair(&[UPGRADE]).await;
    half.server.shutdown().await.expect("FIN");
    let closing = Classes {
        closing: 1,
        ..websockets(1)
    };
    stage.shows(closing, (1, 2)).await;

    let withheld = Withheld::begin(stage.observer.process.id(), stage.service.port());
    let withheld = withheld.expect("withhold");
    drop(half);
    let gone = wait::until_equal("ss", BOUND, (1, 0), async || {
        ss::established_and_closing(stage.service.port())
    });
    gone.await.expect("closed");
    withheld.end().expect("show everything");
    // Counted as closing for good, it would hide a drift of one.
    is_repaired_soon(&stage.observer).await;
    is_sure_again(&stage.observer).await;
    stage.is_right_again(websockets(1)).await;
    stage.counted(2, 1).await;
    drop(open);
}

#[tokio::test]
async fn an_opening_that_was_withheld_is_found_before_anyone_is_blamed() {
    if !can_withhold() {
        return;
    }
    let stage = Stage::open().await;
    let before = stage.pair(&[UPGRADE]).await;
    stage.shows_exactly(websockets(1)).await;

    let withheld = Withheld::begin(stage.observer.process.id(), stage.service.port());
    let withheld = withheld.expect("withhold");
    let mut unseen = stage.pair(&[UPGRADE]).await;
    withheld.end().expect("show everything");
    // An honest service has two: one too many, by what the programs have seen.
    stage.claims(2, 2);
    is_repaired_soon(&stage.observer).await;
    unseen.send(&[PING]).await.expect("send");
    is_sure_again(&stage.observer).await;
    stage.is_right_again(websockets(2)).await;
    nobody_was_blamed(&stage.observer);
    drop((before, unseen));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_withheld_is_found_although_connections_come_and_go() {
    const HELD: usize = 5;
    if !can_withhold() {
        return;
    }
    let relay = Honest::start(Ipv4Addr::LOCALHOST.into())
        .await
        .expect("relay");
    let mut held = Crowd::new(relay.gateway(Ipv4Addr::LOCALHOST));
    held.open(Kind::WebSocket, HELD, HELD).await.expect("open");
    let observer = Observer::start(&both_gauges(&relay)).await;
    let observer = observer.expect("observer");
    for target in ["websockets", "connections"] {
        observer.checked(target).await.expect("a check");
    }

    let stop = Arc::new(AtomicBool::new(false));
    let gateway = relay.gateway(Ipv4Addr::LOCALHOST);
    let churn = tokio::spawn(churn(gateway, Arc::clone(&stop)));
    let withheld = Withheld::begin(observer.process.id(), relay.port()).expect("withhold");
    withheld.end().expect("show everything");
    let repaired = wait::until("a repair", SURVEYS, async || {
        let repairs = repairs(&observer).await?;
        ensure!(repairs > 0, "none yet");
        Ok(())
    });
    repaired.await.expect("found while they come and go");
    stop.store(true, Ordering::SeqCst);
    churn.await.expect("churn");
    is_sure_again(&observer).await;
    let exact = [
        ("verdict", json!("agree")),
        ("low", json!(HELD)),
        ("high", json!(HELD)),
    ];
    let reported = observer.reports("connections", &exact).await;
    reported.unwrap_or_else(|error| panic!("{error:?}"));
    nobody_was_blamed(&observer);
    assert_eq!(held.books().open(), HELD as u64);
    held.end_all(Ending::Clean).await;
}
