//! An observer that is restarted under open WebSockets knows them again after one round of pings.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::json;
use tests::honest::Honest;
use tests::load::{Crowd, Ending, Kind};
use tests::observer::{BOUND, Classes, Observer};
use tests::process::{Signal, raise_descriptor_limit};
use tests::{campaign, kernel_or_skip, wait};

use crate::kernel::{both_gauges, nobody_was_blamed, stage};

/// WebSockets that are open: in full, and as a share.
const OPEN: (u64, u64) = (15_000, 500);
/// Seconds from one ping to the next: in full, and as a share.
const PING: (u64, u64) = (20, 2);
/// Both ends of a ping's travel, and the scrape that shows it.
const SLACK: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_round_of_pings_after_a_restart_nothing_is_unclassified() {
    if !kernel_or_skip() {
        return;
    }
    raise_descriptor_limit().expect("descriptors");
    let open = campaign::size(OPEN.0, OPEN.1);
    let round = Duration::from_secs(campaign::size(PING.0, PING.1));
    let interval = format!("{}s", round.as_secs());
    let relay = Honest::start_pinging(Ipv4Addr::LOCALHOST.into(), &interval).await;
    let relay = relay.expect("relay");
    let targets = both_gauges(&relay).map(|target| target.with("settle", "1s"));
    let mut before = Observer::start(&targets).await.expect("observer");

    let progress = campaign::Progress::start("WebSockets", open);
    let mut crowd = Crowd::new(relay.gateway(Ipv4Addr::LOCALHOST));
    while crowd.books().open() < open {
        let more = (open - crowd.books().open()).min(500);
        let opened = crowd.open(Kind::WebSocket, more as usize, 32).await;
        opened.expect("open");
        progress.advance(more);
    }
    let exact = [
        ("verdict", json!("agree")),
        ("claim", json!(open as f64)),
        ("low", json!(open)),
        ("high", json!(open)),
    ];
    before.reports("websockets", &exact).await.expect("exact");
    nobody_was_blamed(&before);
    before.process.signal(Signal::KILL).expect("kill");
    before.process.wait_for_exit(BOUND).await.expect("ends");

    let restarted = Instant::now();
    let after = Observer::start(&targets).await.expect("observer");
    let seeded = restarted.elapsed();
    // All are there from the first moment that anything is said, of whatever class.
    let all_open = wait::until("the counts", BOUND, async || {
        after.classes("websockets").await
    });
    let Classes {
        websocket,
        http,
        unclassified,
        closing,
    } = all_open.await.expect("classes");
    assert_eq!((websocket + unclassified, http, closing), (open, 0, 0));
    let all = stage::websockets(open);
    let known = wait::until_equal("classes", round + SLACK, all, async || {
        after.classes("websockets").await
    });
    known.await.expect("one round of pings");
    let known = restarted.elapsed();
    for target in ["websockets", "connections"] {
        after.checked(target).await.expect("a check");
        after.reports(target, &exact).await.expect("exact again");
    }
    nobody_was_blamed(&after);
    let repairs = after.count("observer_repairs_total", "websockets").await;
    assert_eq!(repairs.expect("repairs"), 0);
    assert_eq!(crowd.books().open(), open, "{:?}", crowd.books());
    crowd.end_all(Ending::Fin).await;
    let nobody = after.settles("websockets", Classes::default()).await;
    nobody.expect("all gone");

    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    campaign::figure("WebSockets over a restart", open);
    campaign::figure("time between two pings", &interval);
    campaign::figure("seeded after", seconds(seeded));
    campaign::figure("all known again after", seconds(known));
}
