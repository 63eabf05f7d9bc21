//! A Prometheus server that has scraped the service is asked for the claim, which is then of a while
//! ago.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tests::load::{Crowd, Kind, Target};
use tests::observer::{BOUND, Observer, Watched};
use tests::process::Signal;
use tests::prometheus::{self, Prometheus};
use tests::{kernel_or_skip, wait};

use super::{address, nobody_was_blamed, worker};

/// What the worker says of its WebSockets.
const QUERY: &str = r#"sum(active_connections{job="chat"})"#;

fn target(name: &'static str, listen: &str, prometheus: &Prometheus, query: &str) -> Watched {
    Watched::new(name, listen, prometheus.url())
        .with("claim-query", query)
        .with("interval", "500ms")
        .with("scrape-timeout", "500ms")
}

#[tokio::test]
async fn prometheus_samples_are_held_against_the_moment_of_their_scrape() {
    if !kernel_or_skip() || !prometheus::is_here_or_skip() {
        return;
    }
    let (public, management) = (address(), address());
    let mut service = worker(public, management).await;
    let jobs = [("chat", management.to_string())];
    let prometheus = Prometheus::start(&[], &jobs).await.expect("prometheus");
    let listen = format!(":{}", public.port());
    let observer = Observer::start(&[
        target("right", &listen, &prometheus, QUERY),
        target("few", &listen, &prometheus, &format!("{QUERY} - 3")),
        target(
            "nobody",
            &listen,
            &prometheus,
            r#"sum(active_connections{job="char"})"#,
        ),
    ])
    .await
    .expect("observer");
    let gateway = Target::new(public, "/v1/gateway");
    let mut crowd = Crowd::new(gateway.clone());
    crowd.open(Kind::WebSocket, 20, 4).await.expect("open");
    let agree = [("verdict", json!("agree")), ("claim", json!(20.0))];
    observer.reports("right", &agree).await.expect("agree");
    // Wrong by three, and that is what is found.
    let under = [("verdict", json!("under")), ("drift", json!(-3))];
    observer.reports("few", &under).await.expect("under");
    // Nothing is not 0.
    let missing = [("verdict", json!("blind")), ("claim", json!(null))];
    observer.reports("nobody", &missing).await.expect("blind");
    let report = observer.report("nobody").await.expect("report");
    let failure = report["failure"].as_str().unwrap_or_default();
    assert!(
        failure.contains("has no sample now, which is not 0"),
        "{report}"
    );

    // A sample is up to a second old, while a hundred come and go in each.
    let stop = Arc::new(AtomicBool::new(false));
    let churn = tokio::spawn(super::churn(gateway, Arc::clone(&stop)));
    let before = observer.checks("right").await.expect("checks");
    let checked = wait::until("checks under churn", BOUND, async || {
        let now = observer.checks("right").await?;
        anyhow::ensure!(
            now.agree + now.blind >= before.agree + before.blind + 6,
            "{now:?}"
        );
        anyhow::Ok(now)
    });
    let after = checked.await.expect("checks");
    stop.store(true, Ordering::SeqCst);
    churn.await.expect("churn");
    assert_eq!((after.over, after.under), (0, 0), "{after:?}");

    // Without the service its series are missing, and that is not 0 either.
    service.signal(Signal::KILL).expect("kill");
    let down = [("verdict", json!("blind"))];
    observer.reports("right", &down).await.expect("blind");
    let checks = observer.checks("right").await.expect("checks");
    assert_eq!((checks.over, checks.under), (0, 0), "{checks:?}");
    drop(crowd);
}

#[tokio::test]
async fn an_instance_that_is_down_leaves_no_claim_of_the_others() {
    if !kernel_or_skip() || !prometheus::is_here_or_skip() {
        return;
    }
    let (public, management) = (address(), address());
    let _service = worker(public, management).await;
    // Nobody is at the second.
    let jobs = [("chat", format!("{management}', '{}", address()))];
    let prometheus = Prometheus::start(&[], &jobs).await.expect("prometheus");
    let listen = format!(":{}", public.port());
    let all = target("all", &listen, &prometheus, QUERY);
    let one = format!(r#"sum(active_connections{{job="chat",instance="{management}"}})"#);
    let one = target("one", &listen, &prometheus, &one);
    let observer = Observer::start(&[all, one]).await.expect("observer");
    let mut crowd = Crowd::new(Target::new(public, "/v1/gateway"));
    crowd.open(Kind::WebSocket, 5, 5).await.expect("open");
    let agree = [("verdict", json!("agree")), ("claim", json!(5.0))];
    observer.reports("one", &agree).await.expect("agree");
    let blind = [("verdict", json!("blind"))];
    observer.reports("all", &blind).await.expect("blind");
    let told = wait::until("the reason", BOUND, async || {
        let report = observer.report("all").await?;
        let failure = report["failure"].as_str().unwrap_or_default().to_owned();
        anyhow::ensure!(failure.contains("is down for Prometheus"), "{report}");
        anyhow::Ok(())
    });
    told.await.expect("which instance is down");
    nobody_was_blamed(&observer);
}
