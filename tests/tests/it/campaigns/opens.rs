//! Every connection is counted, and none twice, however fast they come and go.

use std::net::Ipv4Addr;

use anyhow::ensure;
use serde_json::json;
use tests::honest::Honest;
use tests::load::{Crowd, Ending, Kind};
use tests::observer::{BOUND, Checks, Observer};
use tests::wait::slowness;
use tests::{campaign, kernel_or_skip, wait};

use crate::kernel::both_gauges;

/// A connection for each request, half of them ended by FIN and half by RST: in full, and as a share.
const CONNECTIONS: (u64, u64) = (1_000_000, 50_000);
/// Ended at a time, between two looks at how far it has come.
const ROUND: u64 = 1_000;
/// Open at the same time.
const CONCURRENCY: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_at_full_speed_are_counted_to_the_last_one() {
    if !kernel_or_skip() {
        return;
    }
    let (full, share) = CONNECTIONS;
    let connections = campaign::size(full, share / u64::from(slowness().pow(2)));
    let relay = Honest::start(Ipv4Addr::LOCALHOST.into())
        .await
        .expect("relay");
    // The product's own settle: a service on a busy machine accepts some time after the kernel.
    let settle = format!("{}s", slowness());
    // Emulated, a scrape takes seconds while connections come.
    let interval = format!("{}ms", 100 * slowness().pow(2));
    let targets = both_gauges(&relay).map(|target| {
        target
            // What such churn keeps a check from finding is not the claim here.
            .with("too-wide", "1000000%")
            .with("settle", &settle)
            .with("interval", &interval)
            .with("scrape-timeout", &interval)
    });
    let observer = Observer::start(&targets).await.expect("observer");
    let names = ["websockets", "connections"];
    let mut before = Vec::new();
    for name in names {
        let agreed = observer.reports(name, &[("verdict", json!("agree"))]).await;
        agreed.expect("agree while nothing is connected");
        before.push(observer.checks(name).await.expect("checks"));
    }

    let crowd = Crowd::new(relay.gateway(Ipv4Addr::LOCALHOST));
    let progress = campaign::Progress::start("connections", connections);
    for round in 0..connections / ROUND {
        let ending = if round % 2 == 0 {
            Ending::Fin
        } else {
            Ending::Reset
        };
        let churn = crowd.churn(Kind::Http, ending, ROUND as usize, CONCURRENCY);
        churn.await.expect("churn");
        progress.advance(ROUND);
    }
    assert_eq!(crowd.books().ended(), connections);
    for (name, before) in names.iter().zip(&before) {
        observer.checked(name).await.expect("a check after the end");
        // Where scrapes are slow, there were fewer while connections came.
        let agreed = wait::until("agreeing checks", BOUND, async || {
            let checks = observer.checks(name).await?;
            ensure!(checks.agree >= before.agree + 10, "{checks:?}");
            Ok(())
        });
        agreed.await.unwrap_or_else(|error| panic!("{error:?}"));
    }

    let page = observer.page().await.expect("page");
    for (name, before) in names.into_iter().zip(before) {
        let count = |metric: &str| page.value(metric, &[("target", name)]).expect("a count") as u64;
        let counts = (
            count("observer_kernel_connections_opened_total"),
            count("observer_kernel_connections_closed_total"),
            count("observer_kernel_websocket_upgrades_total"),
        );
        assert_eq!(counts, (connections, connections, 0));
        assert_eq!(
            observer.classes(name).await.expect("classes"),
            Default::default()
        );
        let after = observer.checks(name).await.expect("checks");
        // Not one verdict other than agree; where the machine is so busy that a scrape takes longer
        // than the 100 ms between two, nothing is said.
        let Checks { agree, blind, .. } = after;
        assert_eq!(
            after,
            Checks {
                agree,
                blind,
                ..before
            },
            "{name}"
        );
        assert!(blind - before.blind <= agree / 20, "{name}: {after:?}");
        campaign::figure(
            &format!("{name}: checks that agree, and blind ones"),
            format!("{}, {}", agree - before.agree, blind - before.blind),
        );
        assert_eq!(count("observer_repairs_total"), 0);
    }
    for line in observer
        .process
        .log()
        .lines()
        .skip_while(|line| !line.contains("verdict=agree"))
    {
        assert!(
            line.contains("verdict=agree") || line.contains("reason=target_down"),
            "{line}"
        );
    }
    let stored = page.value(
        "observer_kernel_established_events_total",
        &[("outcome", "stored")],
    );
    assert_eq!(stored.expect("stored") as u64, connections);
    campaign::figure("opened and closed, by both accounts", connections);
}
