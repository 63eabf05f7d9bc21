//! Nobody is blamed while the programs are not shown a share of the events; how wide the interval is then.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tests::bpf::Withheld;
use tests::campaign;
use tests::honest::Honest;
use tests::load::{Crowd, Ending, Kind};
use tests::observer::{Checks, Observer};

use crate::kernel::withheld::{can_withhold, is_sure_again};
use crate::kernel::{both_gauges, churn, nobody_was_blamed};

/// One round of withholding and showing: so many percent of it nothing is shown.
const ROUND: Duration = Duration::from_millis(1_500);
/// Rounds at each share, in full and in every run.
const ROUNDS: (u64, u64) = (60, 6);
/// Connections that stay.
const HELD: usize = 5;

/// How far apart the bounds of a target's last checks are, each check once.
async fn widths(observer: &Observer, target: &str, count: usize) -> Vec<i64> {
    let history = observer.report(&format!("{target}/history")).await;
    let history = history.expect("the history");
    let checks = history["checks"].as_array().expect("checks");
    let width = |check: &serde_json::Value| Some(check["high"].as_i64()? - check["low"].as_i64()?);
    let mut widths: Vec<i64> = checks.iter().rev().take(count).filter_map(width).collect();
    widths.sort_unstable();
    widths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_blamed_while_a_share_of_the_events_is_withheld() {
    if !can_withhold() {
        return;
    }
    let rounds = campaign::size(ROUNDS.0, ROUNDS.1);
    let shares = [0, 1, 5, 30];
    let relay = Honest::start(Ipv4Addr::LOCALHOST.into());
    let relay = relay.await.expect("relay");
    let mut held = Crowd::new(relay.gateway(Ipv4Addr::LOCALHOST));
    let opened = held.open(Kind::WebSocket, HELD, HELD).await;
    opened.expect("open");
    let observer = Observer::start(&both_gauges(&relay)).await;
    let observer = observer.expect("observer");
    let stop = Arc::new(AtomicBool::new(false));
    let gateway = relay.gateway(Ipv4Addr::LOCALHOST);
    let churn = tokio::spawn(churn(gateway, Arc::clone(&stop)));
    let progress = campaign::Progress::start("rounds", rounds * shares.len() as u64);
    for percent in shares {
        let count = async || observer.count_of_checks("connections").await;
        let before = count().await.expect("checks");
        for _ in 0..rounds {
            if percent > 0 {
                let withheld = Withheld::begin(observer.process.id(), relay.port());
                let withheld = withheld.expect("withhold");
                tokio::time::sleep(ROUND * percent / 100).await;
                withheld.end().expect("show everything");
            }
            tokio::time::sleep(ROUND * (100 - percent) / 100).await;
            progress.advance(1);
        }
        let made = count().await.expect("checks") - before;
        let widths = widths(&observer, "connections", made as usize).await;
        let width = widths.get(widths.len() / 2).expect("checks that compared");
        campaign::figure(
            &format!("{percent} % withheld: checks, their median width"),
            format!("{made}, {width}"),
        );
        for target in ["connections", "websockets"] {
            let checks = observer.checks(target).await.expect("checks");
            let Checks { over, under, .. } = checks;
            assert_eq!((over, under), (0, 0), "{percent} %: {target}: {checks:?}");
        }
    }
    stop.store(true, Ordering::SeqCst);
    let churned = churn.await.expect("churn");
    is_sure_again(&observer).await;
    nobody_was_blamed(&observer);
    held.end_all(Ending::Clean).await;
    campaign::figure("connections meanwhile", churned);
    campaign::figure("false verdicts", 0);
}
