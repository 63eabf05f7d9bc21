//! What is found, and how soon: a leak once it exceeds the published width, a constant drift at the
//! first pause of the traffic. The true drift is known by the books of the load.

use std::time::{Duration, SystemTime};

use anyhow::ensure;
use serde_json::Value;
use tests::gallery::Liar;
use tests::load::{Books, Crowd, Ending, Kind, Target};
use tests::observer::{Observer, Watched};
use tests::{campaign, kernel_or_skip, wait};
use tokio::time::{Instant, interval};

/// Openings, and as many closings, a second.
const RATE: usize = 5_000;
/// Between two portions of the load.
const PORTION: Duration = Duration::from_millis(20);
/// How late the service may be; no portion of the load is unheard for longer.
const SETTLE: Duration = Duration::from_millis(200);
/// The constant drift.
const OFFSET: i64 = 20;

/// A service that lies as it is told, and who watches it.
struct Scene {
    liar: Liar,
    observer: Observer,
}

impl Scene {
    async fn start(lie: String) -> Self {
        let liar = Liar::start("to_order", &[lie]).await;
        let liar = liar.expect("start the liar");
        let target = Watched::new("liar", &liar.listen(), &liar.page())
            .with("counts", "established")
            .with("settle", &format!("{}ms", SETTLE.as_millis()));
        let observer = Observer::start(&[target]).await.expect("observer");
        Self { liar, observer }
    }

    fn crowd(&self) -> Crowd {
        Crowd::new(Target::new(self.liar.public, "/"))
    }

    async fn history(&self) -> Vec<Check> {
        let history = self.observer.report("liar/history").await;
        let history = history.expect("the history");
        let checks = history["checks"].as_array().expect("checks");
        checks.iter().filter_map(Check::of).collect()
    }
}

/// A check that compared something.
#[derive(Debug)]
struct Check {
    at: SystemTime,
    verdict: String,
    width: i64,
    /// What this check alone leaves of the drift.
    own: (i64, i64),
    /// What all of the recent checks leave together, if the drift has not changed.
    drift: (i64, i64),
}

impl Check {
    fn of(check: &Value) -> Option<Self> {
        let number = |key: &str| check[key].as_i64();
        let (low, high) = (number("low")?, number("high")?);
        let claim = check["claim"].as_f64()? as i64;
        Some(Self {
            at: humantime::parse_rfc3339(check["at"].as_str()?).ok()?,
            verdict: check["verdict"].as_str()?.to_owned(),
            width: high - low,
            own: (claim - high, claim - low),
            drift: (number("drift_low")?, number("drift_high")?),
        })
    }
}

/// Churns at the rate until `is_over`, and keeps the books as they were at each portion.
async fn churn<F>(crowd: &Crowd, mut is_over: F) -> Vec<(SystemTime, Books)>
where
    F: AsyncFnMut() -> bool,
{
    let mut books = vec![(SystemTime::now(), crowd.books())];
    let mut beat = interval(PORTION);
    let portion = RATE * PORTION.as_millis() as usize / 1_000;
    let mut asked = Instant::now();
    loop {
        beat.tick().await;
        let churned = crowd.churn(Kind::Tcp, Ending::Reset, portion, portion);
        churned.await.expect("churn");
        books.push((SystemTime::now(), crowd.books()));
        if asked.elapsed() > Duration::from_millis(200) {
            asked = Instant::now();
            if is_over().await {
                return books;
            }
        }
    }
}

fn rate(books: &[(SystemTime, Books)]) -> u64 {
    let [(began, before), .., (ended, after)] = books else {
        return 0;
    };
    let seconds = ended.duration_since(*began).expect("time").as_secs_f64();
    ((after.ended() - before.ended()) as f64 / seconds) as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leak_is_found_as_soon_as_it_exceeds_the_width() {
    if !kernel_or_skip() {
        return;
    }
    let every = campaign::size(100, 10);
    let scene = Scene::start(format!("--leak-every={every}")).await;
    let crowd = scene.crowd();
    let progress = campaign::Progress::start("checks", 1_000);
    let mut seen = 0;
    // Until the leak was found, and for a while after.
    let mut found = None;
    let books = churn(&crowd, async || {
        let checks = scene.history().await;
        progress.advance((checks.len() - seen) as u64);
        seen = checks.len();
        if found.is_none() && checks.iter().any(|check| check.verdict == "over") {
            found = Some(checks.len());
        }
        found.is_some_and(|found| checks.len() > found + 20) || checks.len() > 700
    })
    .await;
    let rate = rate(&books);
    let checks = scene.history().await;

    // What had ended `settle` before a check the service has counted; what ends after it has not.
    let leaked = |at: SystemTime| {
        let ended = books.iter().take_while(|(then, _)| *then <= at).last();
        ended.map_or(0, |(_, books)| books.ended() / every) as i64
    };
    let leaked_after = |at: SystemTime| {
        let ended = books.iter().find(|(then, _)| *then >= at);
        let (_, last) = ended.or(books.last()).expect("books");
        (last.ended() / every) as i64
    };
    let mut exceeding = 0;
    let mut since = None;
    for check in &checks {
        let least = leaked(check.at - SETTLE);
        // The claim was read in the 100 ms after `at`; a portion is booked when it is over.
        let most = leaked_after(check.at + 4 * PORTION + Duration::from_millis(100));
        let (low, high) = check.own;
        assert!(low <= most, "at most {most} leaked: {check:?}");
        assert!(high >= least, "at least {least} leaked: {check:?}");
        let (low, high) = check.drift;
        assert!(high - low <= check.width, "{check:?}");
        if least > check.width {
            exceeding += 1;
            assert!(low > 0, "{least} leaked: {check:?}");
            // A verdict needs two checks that show the drift, and `confirm-for` (here `settle`)
            // from one to the other; a check reads its claim within the 100 ms after `at`.
            let since = *since.get_or_insert(check.at);
            let is_early = exceeding <= 2 || check.at < since + SETTLE + Duration::from_millis(100);
            assert!(
                check.verdict == "over" || (check.verdict == "unsettled" && is_early),
                "{exceeding} checks late: {check:?}"
            );
        }
    }
    assert!(exceeding > 2, "{exceeding} of {} checks", checks.len());
    let first = checks.iter().find(|check| check.verdict == "over");
    let first = first.expect("it was found");
    campaign::figure("leak: one closing of", every);
    campaign::figure("leak: openings and closings a second, each", rate);
    campaign::figure("leak: width when it was found", first.width);
    campaign::figure("leak: leaked until then", leaked_after(first.at));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_constant_drift_is_found_at_the_first_pause_to_the_socket() {
    if !kernel_or_skip() {
        return;
    }
    let busy = Duration::from_secs(campaign::size(55, 3));
    let cycles = campaign::size(4, 2);
    let scene = Scene::start(format!("--offset={OFFSET}")).await;
    let crowd = scene.crowd();
    let progress = campaign::Progress::start("pauses", cycles);
    let mut rates = Vec::new();
    let mut waited = Vec::new();
    for cycle in 0..cycles {
        let begun = Instant::now();
        let books = churn(&crowd, async || {
            let report = scene.observer.report("liar").await.expect("a report");
            if cycle > 0 {
                // It was found, and no traffic hides it again.
                let drift = (&report["drift_low"], &report["drift_high"]);
                assert_eq!(drift, (&OFFSET.into(), &OFFSET.into()), "{report:#}");
                assert_eq!(report["verdict"], "over", "{report:#}");
            }
            begun.elapsed() > busy
        })
        .await;
        rates.push(rate(&books));
        let paused = Instant::now();
        let found = wait::until("the drift", Duration::from_secs(5), async || {
            let report = scene.observer.report("liar").await?;
            let drift = (report["drift_low"].as_i64(), report["drift_high"].as_i64());
            ensure!(drift == (Some(OFFSET), Some(OFFSET)), "{report:#}");
            ensure!(report["verdict"] == "over", "{report:#}");
            // What was found at the last pause counts for some time: this one is to be seen as well.
            ensure!(report["low"] == report["high"], "{report:#}");
            Ok(())
        });
        found.await.expect("found within the pause");
        waited.push(paused.elapsed());
        progress.advance(1);
    }
    let mut narrowest = i64::MAX;
    for check in &scene.history().await {
        let (low, high) = check.drift;
        assert!(low <= OFFSET && OFFSET <= high, "{check:?}");
        narrowest = narrowest.min(check.width);
        assert!(high - low <= narrowest, "{narrowest}: {check:?}");
    }
    let least = rates.iter().min().expect("a rate");
    campaign::figure("pause: openings and closings a second, each", least);
    campaign::figure(
        "pause: until the drift of 20 was found to the socket",
        format!("{:.1} s", waited[0].as_secs_f64()),
    );
}
