//! The configuration is read again and again under load: nothing is lost, and nobody is blamed.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;
use tests::claim_page::ClaimPage;
use tests::gallery::Liar;
use tests::load::{Crowd, Ending, Kind, Target};
use tests::observer::{BOUND, Checks, Observer, Watched};
use tests::port;
use tests::scripted::Scripted;
use tests::{campaign, kernel_or_skip, wait};

/// Connections a second to the target that stays: in full, and as a share.
const RATE: (u64, u64) = (5_000, 500);
/// Between two portions of these.
const PORTION: Duration = Duration::from_millis(20);

/// Opens and ends connections at an even rate until it is over.
async fn churn(crowd: Crowd, is_over: Arc<AtomicBool>) -> Crowd {
    let rate = campaign::size(RATE.0, RATE.1);
    let portion = (rate * PORTION.as_millis() as u64 / 1_000) as usize;
    let mut beat = tokio::time::interval(PORTION);
    while !is_over.load(Ordering::SeqCst) {
        beat.tick().await;
        let churned = crowd.churn(Kind::Tcp, Ending::Fin, portion, portion).await;
        churned.expect("it is served");
    }
    crowd
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_targets_come_and_go() {
    if !kernel_or_skip() {
        return;
    }
    let service = Liar::start("to_order", &[]).await;
    let service = service.expect("start the service");
    let public = service.public;
    let stays = Watched::new("stays", &service.listen(), &service.page())
        .with("counts", "established")
        .with("too-wide", "1000000%");

    // It has two connections from before it is watched.
    let other = port::free().expect("a port");
    let other = Scripted::listen((Ipv4Addr::LOCALHOST, other).into(), 16).expect("listen");
    let before = [
        other.pair().await.expect("a pair"),
        other.pair().await.expect("a pair"),
    ];
    let claim = ClaimPage::serve().await.expect("a page");
    claim.claim(2);
    let comes = Watched::new("comes", &other.address().to_string(), &claim.url())
        .with("counts", "established");

    let observer = Observer::start(std::slice::from_ref(&stays)).await;
    let mut observer = observer.expect("observer");
    observer.checked("stays").await.expect("a check");
    let is_over = Arc::new(AtomicBool::new(false));
    let crowd = Crowd::new(Target::new(public, "/"));
    let churning = tokio::spawn(churn(crowd, Arc::clone(&is_over)));
    let begun = Instant::now();
    let reloads = campaign::size(100, 10);
    let progress = campaign::Progress::start("reloads", reloads);
    let both = [stays.clone(), comes];
    for _ in 0..reloads.div_ceil(2) {
        observer.reload(&both).await.expect("it comes");
        let agrees = [
            ("verdict", json!("agree")),
            ("low", json!(2)),
            ("high", json!(2)),
        ];
        let reported = observer.reports("comes", &agrees).await;
        reported.expect("what was open before is known");
        observer.reload(&both[..1]).await.expect("it goes");
        let gone = wait::until("its end", BOUND, async || {
            ensure!(observer.report("comes").await.is_err(), "it is still there");
            Ok(())
        });
        gone.await.expect("it is watched no more");
        progress.advance(2);
    }
    is_over.store(true, Ordering::SeqCst);
    let crowd = churning.await.expect("churn");
    let seconds = begun.elapsed().as_secs_f64();

    // Each of them was counted, and none twice.
    let counted = wait::until_equal("what was opened", BOUND, crowd.books().opened, async || {
        observer
            .count("observer_kernel_connections_opened_total", "stays")
            .await
    });
    counted.await.expect("nothing was lost");
    let checks = observer.checks("stays").await.expect("checks");
    let Checks { over, under, .. } = checks;
    assert_eq!((over, under), (0, 0), "{checks:?}");
    let log = observer.process.log();
    for word in [
        "verdict=over",
        "verdict=under",
        "repaired",
        "refused",
        "panicked",
    ] {
        assert!(!log.contains(word), "{word}: {log}");
    }
    let rate = crowd.books().ended() as f64 / seconds;
    campaign::figure("reloads", reloads);
    campaign::figure("connections a second meanwhile", format!("{rate:.0}"));
    campaign::figure("connections opened, and counted", crowd.books().opened);
    campaign::figure("false verdicts", 0);
    drop(before);
}
