//! A real Prometheus scrapes a real server and a real observer under load: the right alerts fire,
//! and every query of every dashboard returns data.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::Method;
use regex::Regex;
use tests::gallery::Liar;
use tests::honest::Honest;
use tests::load::{Crowd, Ending, Kind, Target};
use tests::observer::{Observer, Watched};
use tests::prometheus::{Prometheus, is_here_or_skip};
use tests::relay::{Account, Relay};
use tests::{kernel_or_skip, wait};

use super::{dashboard_queries, rules};

/// For what has to be scraped and evaluated several times on a busy machine.
const BOUND: Duration = Duration::from_secs(60);

/// What the rules wait for in a test, instead of minutes: two evaluations.
const WAIT: &str = "2s";

#[tokio::test]
async fn the_liar_alone_fires_and_every_query_of_the_dashboards_has_data() {
    if !is_here_or_skip() || !kernel_or_skip() {
        return;
    }
    let honest = Honest::start(Ipv4Addr::LOCALHOST.into())
        .await
        .expect("relay");
    let liar = Liar::start("no_decrement_on_abort", &[]).await;
    let liar = liar.expect("the liar");
    let watched = [
        // Few sessions, and many that come and go: what that keeps a check from finding is not the
        // claim here.
        Watched::new("honest", &honest.listen(), &honest.gauge_url())
            .with("settle", "500ms")
            .with("too-wide", "1000000%"),
        Watched::new("liar", &liar.listen(), &liar.page()).with("settle", "500ms"),
    ];
    let observer = Observer::start(&watched).await.expect("observer");
    let jobs = [
        ("observers", observer.address().to_owned()),
        ("relays", honest.relay.management.to_string()),
    ];
    let rules: Vec<String> = rules().iter().map(|text| hurried(text)).collect();
    let prometheus = Prometheus::start(&rules, &jobs).await.expect("Prometheus");

    let mut crowd = Crowd::new(Target::new(liar.public, "/v1/gateway"));
    crowd.open(Kind::WebSocket, 9, 4).await.expect("open");
    let accounts = Accounts::of(&honest.relay).await.expect("accounts");
    let load = async {
        loop {
            if let Err(error) = accounts.rounds(&honest).await {
                return error;
            }
        }
    };
    let story = async {
        agreement_is_seen(&prometheus).await;
        crowd.end(4, Ending::Reset).await;
        the_liar_fires(&prometheus).await;
        every_query_has_data(&prometheus).await;
        nothing_else_fired(&prometheus).await;
    };
    tokio::select! {
        error = load => panic!("the load: {error:#}"),
        () = story => {}
    }
    assert_eq!(prometheus.log(), "", "it logs what is wrong");
}

/// The rules with short waits: the committed ones wait for minutes.
pub(super) fn hurried(rules: &str) -> String {
    let wait = Regex::new(r"(?m)^(\s+(?:for|keep_firing_for): )[1-9]\w*$").expect("a pattern");
    wait.replace_all(rules, format!("${{1}}{WAIT}"))
        .into_owned()
}

async fn agreement_is_seen(prometheus: &Prometheus) {
    let query = "sum(observer_verdict{verdict='agree'})";
    wait::until_equal("agreement on both", BOUND, 2.0, async || {
        let series = prometheus.query(query).await?;
        Ok(series.first().context("nothing scraped yet")?.1)
    })
    .await
    .expect("both agree at first");
}

async fn the_liar_fires(prometheus: &Prometheus) {
    let query = "ALERTS{alertname='GaugeDrift', alertstate='firing', target='liar'}";
    wait::until("the alert", BOUND, async || {
        ensure!(!prometheus.query(query).await?.is_empty(), "not yet");
        let drift = "observer_gauge_drift{target='liar'}";
        ensure!(prometheus.query(drift).await?[0].1 == 4.0, "not of four");
        Ok(())
    })
    .await
    .expect("the liar fires");
}

async fn every_query_has_data(prometheus: &Prometheus) {
    for (panel, query) in dashboard_queries() {
        let query = query
            .replace("$__rate_interval", "15s")
            .replace("$job", ".+")
            .replace("$instance", ".+")
            .replace("$target", ".+");
        assert!(!query.contains('$'), "{panel}: {query}");
        let has_data = wait::until("data", BOUND, async || {
            let series = prometheus.query(&query).await?;
            // A quantile of no observations is not a number.
            let has_number = series.iter().any(|(_, value)| value.is_finite());
            ensure!(has_number, "{series:?}");
            Ok(())
        });
        has_data
            .await
            .unwrap_or_else(|error| panic!("{panel}: {query}: {error:#}"));
    }
}

/// Of all alerts, pending ones too, since the start.
async fn nothing_else_fired(prometheus: &Prometheus) {
    let query = "count by (alertname, target) (last_over_time(ALERTS[1h]))";
    let seen = prometheus.query(query).await.expect("the alerts");
    let seen: Vec<_> = seen.into_iter().map(|(labels, _)| labels).collect();
    let expected = serde_json::json!({"alertname": "GaugeDrift", "target": "liar"});
    assert_eq!(seen, [expected]);
}

/// Who sends, and who receives.
struct Accounts {
    from: Account,
    to: Account,
}

impl Accounts {
    async fn of(relay: &Relay) -> Result<Self> {
        Ok(Self {
            from: relay.account().await?,
            to: relay.account().await?,
        })
    }

    /// A round with a dozen sessions more, and one without: by a number that varies the lag of a service
    /// is learnt.
    async fn rounds(&self, honest: &Honest) -> Result<()> {
        let mut crowd = Crowd::new(honest.gateway(Ipv4Addr::LOCALHOST));
        crowd.open(Kind::WebSocket, 12, 4).await?;
        self.round(&honest.relay).await?;
        crowd.end_all(Ending::Reset).await;
        self.round(&honest.relay).await
    }

    /// A session in which messages arrive and are acknowledged, and an attachment up and down.
    async fn round(&self, relay: &Relay) -> Result<()> {
        let mut client = relay.connect(&self.to).await?;
        for _ in 0..20 {
            let id = relay.send(&self.from, &self.to, "hello").await?;
            let message = client.receive().await?;
            ensure!(message["id"] == *id, "{message}");
            client.ack(&id).await?;
        }
        let path = "/v1/attachments";
        let body = vec![7; 100_000];
        let stored = relay
            .request(Method::POST, path, Some(&self.from), body)
            .await?
            .json()?;
        let path = format!("{path}/{}", stored["id"].as_str().context("an id")?);
        let answer = relay
            .request(Method::GET, &path, Some(&self.from), "")
            .await?;
        ensure!(answer.body.len() == 100_000, "{answer:?}");
        client.close().await
    }
}
