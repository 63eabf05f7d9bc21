//! An observer that is killed at any moment and started again is right again, and blames nobody.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tests::bpf::{self, Objects};
use tests::honest::Honest;
use tests::load::{Crowd, Ending, Kind};
use tests::observer::{BOUND, Observer};
use tests::process::Signal;
use tests::{campaign, kernel_or_skip, skip, ss, wait};

use crate::kernel::{both_gauges, churn, nobody_was_blamed};

/// In full, and as a share.
const RESTARTS: (u64, u64) = (200, 8);
/// WebSockets that stay open all the while.
const HELD: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_under_churn_never_make_it_wrong() {
    if !kernel_or_skip() {
        return;
    }
    if !bpf::has_bpftool() {
        return skip("bpftool is not installed");
    }
    let relay = Honest::start(Ipv4Addr::LOCALHOST.into())
        .await
        .expect("relay");
    let targets = both_gauges(&relay).map(|target| target.with("settle", "500ms"));
    let mut held = Crowd::new(relay.gateway(Ipv4Addr::LOCALHOST));
    held.open(Kind::WebSocket, HELD, 8).await.expect("open");

    let restarts = campaign::size(RESTARTS.0, RESTARTS.1);
    let progress = campaign::Progress::start("restarts", restarts);
    let (mut churned, mut churning) = (0, Duration::ZERO);
    let mut repaired = 0;
    let mut all = Objects::default();
    for restart in 0..restarts {
        let stop = Arc::new(AtomicBool::new(false));
        let began = Instant::now();
        let churn = tokio::spawn(churn(relay.gateway(Ipv4Addr::LOCALHOST), Arc::clone(&stop)));
        let observer = Observer::start(&targets).await;
        let mut observer = observer.unwrap_or_else(|error| panic!("{restart}: {error:?}"));
        let objects = Objects::of_process(observer.process.id()).expect("objects");
        // Some are checked in full churn, the others are left alone as soon as they are seeded.
        if restart % 3 == 0 {
            for target in ["websockets", "connections"] {
                observer.checked(target).await.expect("a check under churn");
            }
        }
        // Then quiet: exact to the socket.
        stop.store(true, Ordering::SeqCst);
        churned += churn.await.expect("churn");
        churning += began.elapsed();
        let said = [
            ("verdict", json!("agree")),
            ("claim", json!(HELD as f64)),
            ("low", json!(HELD)),
            ("high", json!(HELD)),
        ];
        let exact = observer.reports("connections", &said).await;
        let sockets = ss::states(relay.port()).expect("ss");
        exact.unwrap_or_else(|error| panic!("restart {restart}: ss: {sockets:?}: {error:?}"));
        nobody_was_blamed(&observer);
        // Where the kernel has withheld an event.
        let repairs = observer.count("observer_repairs_total", "connections");
        repaired += u64::from(repairs.await.expect("repairs") > 0);
        observer.process.signal(Signal::KILL).expect("kill");
        observer.process.wait_for_exit(BOUND).await.expect("ends");
        all.programs.extend(objects.programs);
        all.maps.extend(objects.maps);
        all.links.extend(objects.links);
        progress.advance(1);
    }
    assert_eq!(all.programs.len() as u64, 2 * restarts);
    let none = Objects::default();
    let gone = wait::until_equal("objects in the kernel", BOUND, none, async || all.left());
    gone.await.expect("nothing is left");
    assert_eq!(held.books().open(), HELD as u64);
    held.end_all(Ending::Clean).await;
    campaign::figure("restarts", restarts);
    campaign::figure("of them with a repair", repaired);
    let rate = churned as f64 / churning.as_secs_f64();
    campaign::figure("connections a second meanwhile", format!("{rate:.0}"));
}
