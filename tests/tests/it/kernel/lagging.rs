//! A page that is made now and then: what it says was true when it was made.
//!
//! With a time stamp the claim is held against what the kernel counted at that time. Without one it
//! is taken for a claim of now, and is late by more than `settle` allows. A service that is a little late
//! in what it counts is learnt.

use std::net::Ipv4Addr;
use std::time::SystemTime;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tests::claim_page::ClaimPage;
use tests::dice::Dice;
use tests::gallery::Liar;
use tests::load::{Crowd, Ending, Kind, Target};
use tests::observer::{BOUND, Checks, Observer, Watched};
use tests::scripted::{Pair, Scripted, UPGRADE};
use tests::{kernel_or_skip, port, wait};
use tokio::time::{Duration, sleep};

/// How old the page is. Unit: ms.
const LAG: u64 = 600;

/// A service that connections keep coming to, and its page of a while ago.
struct Lagging {
    scripted: Scripted,
    page: ClaimPage,
    /// Each connection, and when it was opened. Unit: ms.
    opened: Vec<(u64, Pair)>,
    is_stamped: bool,
}

impl Lagging {
    async fn start(is_stamped: bool) -> Self {
        let address = (Ipv4Addr::LOCALHOST, port::free().expect("port")).into();
        Self {
            scripted: Scripted::listen(address, 16).expect("listen"),
            page: ClaimPage::serve().await.expect("page"),
            opened: Vec::new(),
            is_stamped,
        }
    }

    fn target(&self) -> Watched {
        let listen = format!(":{}", self.scripted.address().port());
        Watched::new("it", &listen, &self.page.url())
            .with("interval", "1s")
            .with("settle", "100ms")
    }

    /// One more connection, unless the last one is of just now, and a new page.
    async fn go_on(&mut self) {
        let last = self.opened.last().map_or(0, |(at, _)| *at);
        if now() > last + LAG / 10 {
            let pair = self.scripted.pair_that_got(&[UPGRADE]).await;
            self.opened.push((now(), pair.expect("a pair")));
        }
        let then = now() - LAG;
        let count = self.opened.partition_point(|(at, _)| *at <= then);
        match self.is_stamped {
            true => self
                .page
                .say(&format!("active_connections {count} {then}\n")),
            false => self.page.claim(count as u64),
        }
    }

    /// Goes on until the observer's checks are `enough`, and returns them.
    async fn until(&mut self, enough: impl Fn(Checks) -> bool) -> Checks {
        self.go_on().await;
        let observer = Observer::start(&[self.target()]).await.expect("observer");
        let checks = wait::until("checks", BOUND, async || {
            self.go_on().await;
            let checks = observer.checks("it").await?;
            ensure!(
                enough(checks),
                "{checks:?}: {}",
                observer.report("it").await?
            );
            Ok(checks)
        });
        checks.await.expect("checks")
    }
}

/// Since 1970. Unit: ms.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("after 1970").as_millis() as u64
}

#[tokio::test]
async fn a_time_stamp_tells_when_the_claim_was_true() {
    if !kernel_or_skip() {
        return;
    }
    let mut lagging = Lagging::start(true).await;
    let checks = lagging.until(|checks| checks.agree >= 6).await;
    let wrong = checks.over + checks.under + checks.unsettled;
    assert_eq!(wrong, 0, "{checks:?}");
}

#[tokio::test]
async fn without_a_time_stamp_an_old_page_is_wrong() {
    if !kernel_or_skip() {
        return;
    }
    let mut lagging = Lagging::start(false).await;
    let checks = lagging.until(|checks| checks.under > 0).await;
    assert_eq!(checks.over, 0, "{checks:?}");
}

/// What is said of a service with four idle connections and twenty short requests a second, late by 30 ms,
/// whose gauge is off by `offset`, as soon as it `is_enough`.
async fn learnt(offset: i64, settle: &str, is_enough: impl Fn(&Value) -> bool) -> Value {
    let lie = [format!("--offset={offset}"), "--lag=30".to_owned()];
    let service = Liar::start("to_order", &lie).await.expect("service");
    let public = service.public;
    let mut idle = Crowd::new(Target::new(public, "/"));
    idle.open(Kind::Tcp, 4, 4).await.expect("open");
    let requests = tokio::spawn(async move {
        let crowd = Crowd::new(Target::new(public, "/"));
        let mut dice = Dice::seeded(1);
        loop {
            let pause = sleep(Duration::from_millis(dice.roll(100)));
            let request = crowd.churn(Kind::Tcp, Ending::Fin, 1, 1);
            tokio::join!(pause, request).1.expect("a request");
        }
    });
    let target = Watched::new("it", &service.listen(), &service.page())
        .with("counts", "established")
        .with("settle", settle);
    let observer = Observer::start(&[target]).await.expect("observer");
    let report = wait::until("what is learnt", 8 * BOUND, async || {
        let report = observer.report("it").await?;
        ensure!(is_enough(&report), "{report}");
        anyhow::Ok(report)
    });
    let report = report.await.context(observer.process.log());
    requests.abort();
    let checks = observer.checks("it").await.expect("checks");
    assert_eq!(checks.under, 0, "{checks:?}");
    report.expect("it is learnt")
}

#[tokio::test]
async fn a_surplus_of_26_beside_short_requests_is_likely_where_it_is_not_sure() {
    if !kernel_or_skip() {
        return;
    }
    let report = learnt(26, "1s", |report| {
        report["likely"]["low"].as_i64() > Some(15)
    })
    .await;
    assert!(report["likely"]["high"].as_i64() >= Some(26), "{report}");
    let sentence = report["sentence"].as_str().expect("a sentence");
    let is_sure = report["verdict"] == "over";
    assert!(
        is_sure || sentence.contains("; likely over by 2"),
        "{sentence}"
    );
}

#[tokio::test]
async fn a_service_that_is_late_and_honest_is_not_likely_to_drift() {
    if !kernel_or_skip() {
        return;
    }
    let report = learnt(0, "1s", |report| {
        report["likely"]["checks"].as_u64() >= Some(25)
    })
    .await;
    let bound = |key: &str| report["likely"][key].as_i64().expect("a bound");
    assert!(bound("low") <= 0 && bound("high") >= 0, "{report}");
    let sentence = report["sentence"].as_str().expect("a sentence");
    assert!(!sentence.contains("likely over") && !sentence.contains("likely under"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settle_that_is_learnt_makes_a_surplus_of_26_sure_and_blames_no_honest_service() {
    if !kernel_or_skip() {
        return;
    }
    let is_short = |report: &Value| report["settle_seconds"].as_f64() < Some(1.0);
    let (over, honest) = tokio::join!(
        learnt(26, "auto", |report| {
            is_short(report) && report["verdict"] == "over"
        }),
        learnt(0, "auto", |report| {
            is_short(report) && report["likely"]["checks"].as_u64() >= Some(22)
        }),
    );
    let bound = |key: &str| over[key].as_i64().expect("a bound");
    assert!(
        bound("drift_low") > 9 && bound("drift_high") >= 26,
        "{over}"
    );
    assert_eq!(honest["verdict"], "agree", "{honest}");
}
