//! A real Prometheus over three observers: what is said of a service is what is so of all its replicas.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;
use tempfile::TempDir;
use tests::claim_page::ClaimPage;
use tests::observer::Observer;
use tests::port;
use tests::prometheus::{Prometheus, is_here_or_skip};
use tests::scripted::{Pair, Scripted};
use tests::watched::group;
use tests::{kernel_or_skip, wait};

use super::monitoring::hurried;
use super::read;

/// For what has to be scraped and evaluated several times on a busy machine.
const BOUND: Duration = Duration::from_secs(60);

/// Connections of each replica.
const OPEN: usize = 20;

/// A replica of a service, and the observer of its host, if there is one.
struct Replica {
    page: ClaimPage,
    observer: Option<Observer>,
    _service: Scripted,
    _open: Vec<Pair>,
    _list: TempDir,
}

impl Replica {
    async fn start(is_observed: bool) -> Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, port::free()?).into();
        let service = Scripted::listen(address, 16)?;
        let mut open = Vec::new();
        for _ in 0..OPEN {
            open.push(service.pair().await?);
        }
        let page = ClaimPage::serve().await?;
        page.claim(OPEN as u64);
        let list = TempDir::new()?;
        let file = list.path().join("list.json");
        let groups = json!([group(
            "chat",
            page.address(),
            &service.address().to_string(),
            ("job", "chat"),
        )]);
        fs::write(&file, groups.to_string()).context("write the list")?;
        let flag = format!("--discovery.path={}", file.display());
        let observer = match is_observed {
            true => Some(Observer::start_with(&[], &[&flag]).await?.seeded().await?),
            false => None,
        };
        Ok(Self {
            page,
            observer,
            _service: service,
            _open: open,
            _list: list,
        })
    }
}

/// The names of the alerts that fire.
async fn firing(prometheus: &Prometheus) -> Result<Vec<String>> {
    let query = "count by (alertname) (ALERTS{alertstate='firing'})";
    let series = prometheus.query(query).await?.into_iter();
    let names = series.filter_map(|(labels, _)| labels["alertname"].as_str().map(str::to_owned));
    let mut names: Vec<_> = names.collect();
    names.sort();
    Ok(names)
}

async fn fires(prometheus: &Prometheus, expected: &[&str]) {
    let fired = wait::until("the alerts", BOUND, async || {
        let firing = firing(prometheus).await?;
        ensure!(firing == expected, "{firing:?}");
        Ok(())
    });
    fired
        .await
        .unwrap_or_else(|error| panic!("{expected:?}: {error:#}"));
}

async fn is_recorded(prometheus: &Prometheus, series: &str, value: f64) {
    let recorded = wait::until_equal(series, BOUND, value, async || {
        let series = prometheus.query(series).await?;
        Ok(series.first().context("nothing yet")?.1)
    });
    recorded.await.expect("it is recorded");
}

#[tokio::test]
async fn a_service_of_many_hosts_is_judged_as_a_whole() {
    if !is_here_or_skip() || !kernel_or_skip() {
        return;
    }
    let mut replicas = Vec::new();
    for is_observed in [true, true, true, false] {
        replicas.push(Replica::start(is_observed).await.expect("a replica"));
    }
    let observers = replicas
        .iter()
        .filter_map(|replica| replica.observer.as_ref());
    let addresses: Vec<_> = observers
        .map(|observer| observer.address().to_owned())
        .collect();
    let pages = |count: usize| -> Vec<_> {
        replicas[..count]
            .iter()
            .map(|one| one.page.address().to_string())
            .collect()
    };
    let observers = ("observers", addresses.join("', '"));
    // Several scrapes in the two minutes of the rules; the test has less.
    let rules = read("deploy/prometheus/rules/fleet.yml").replace("[2m]", "[3s]");
    let jobs = [observers.clone(), ("chat", pages(3).join("', '"))];
    let prometheus = Prometheus::start(&[hurried(&rules)], &jobs).await;
    let prometheus = prometheus.expect("Prometheus");

    // All is well with three.
    is_recorded(&prometheus, "job_target:observer_app_connections:sum", 60.0).await;
    is_recorded(
        &prometheus,
        "job_target:observer_replicas_judged:count",
        3.0,
    )
    .await;
    is_recorded(&prometheus, "job:observer_replicas_unwatched:count", 0.0).await;
    fires(&prometheus, &[]).await;

    // One says 5 too many, one 5 too few: the sum is right.
    replicas[0].page.claim(25);
    replicas[1].page.claim(15);
    is_recorded(&prometheus, "job_target:observer_gauge_drift:sum_abs", 10.0).await;
    fires(&prometheus, &["DriftsCancel"]).await;

    // The other two are mended: the sum is over by 5, in what Prometheus has as well.
    replicas[1].page.claim(20);
    is_recorded(&prometheus, "job_target:observer_gauge_drift_low:sum", 5.0).await;
    let over = wait::until("the alerts of the sum", BOUND, async || {
        let firing = firing(&prometheus).await?;
        for name in ["ServiceDrift", "StoredGaugeImpossible"] {
            ensure!(firing.iter().any(|one| one == name), "{firing:?}");
        }
        Ok(())
    });
    over.await.expect("the sum is over");
    assert_eq!(prometheus.log(), "", "it logs what is wrong");
    drop(prometheus);

    // A host without an observer: nothing is said of its replica, but that nobody observes it.
    replicas[0].page.claim(20);
    let jobs = [observers, ("chat", pages(4).join("', '"))];
    let prometheus = Prometheus::start(&[hurried(&rules)], &jobs).await;
    let prometheus = prometheus.expect("Prometheus");
    is_recorded(&prometheus, "job:observer_replicas_unwatched:count", 1.0).await;
    is_recorded(&prometheus, "job_target:observer_gauge_drift:sum_abs", 0.0).await;
    fires(&prometheus, &["ReplicasUnwatched"]).await;
}
