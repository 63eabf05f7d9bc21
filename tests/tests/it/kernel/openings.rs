//! Counters of openings, such as `accepted_total`, held against what the kernel saw opened.

use serde_json::json;
use tests::claim_page::ClaimPage;
use tests::kernel_or_skip;
use tests::observer::{Observer, Watched};
use tests::port::free_address;
use tests::scripted::{Pair, Scripted};

/// A service that has accepted so many connections already when the observer comes.
const BEFORE: u64 = 1_000;

struct Scene {
    service: Scripted,
    page: ClaimPage,
    observer: Observer,
}

impl Scene {
    async fn of(flags: &[&str]) -> Self {
        let service = Scripted::listen(free_address().expect("a port"), 64).expect("listen");
        let page = ClaimPage::serve().await.expect("page");
        accepted(&page, BEFORE);
        let target = Watched::new("it", &service.address().to_string(), &page.url())
            .with("gauge", "accepted_total")
            .with("claim-type", "counter")
            .with("counts", "accepted");
        let observer = Observer::start_with(&[target], flags).await;
        Self {
            observer: observer.expect("observer").seeded().await.expect("ready"),
            service,
            page,
        }
    }

    async fn pairs(&self, count: usize) -> Vec<Pair> {
        self.service.pairs(count).await.expect("connect")
    }

    /// Connections come and go, so many at a time, while so many checks are made of a counter that is
    /// right; returns what it says then.
    async fn churn(&self, at_a_time: usize, checks: u64) -> u64 {
        let made = async || self.observer.count_of_checks("it").await.expect("a count");
        let enough = made().await + checks;
        let mut count = BEFORE;
        while made().await < enough {
            let pairs = self.pairs(at_a_time).await;
            count += pairs.len() as u64;
            accepted(&self.page, count);
            drop(pairs);
        }
        count
    }

    async fn nobody_was_accused(&self) {
        let checks = self.observer.checks("it").await.expect("checks");
        assert_eq!((checks.over, checks.under), (0, 0), "{checks:?}");
    }

    /// That the counter says so much, and what the kernel allows.
    async fn says(&self, claim: u64, verdict: &str, allowed: u64, drift: i64) {
        accepted(&self.page, claim);
        let exact = [
            ("verdict", json!(verdict)),
            ("low", json!(allowed)),
            ("high", json!(allowed)),
            ("drift", json!(drift)),
        ];
        let reported = self.observer.reports("it", &exact).await;
        reported.unwrap_or_else(|error| panic!("{error:?}"));
    }
}

fn accepted(page: &ClaimPage, count: u64) {
    page.say(&format!(
        "# TYPE accepted_total counter\naccepted_total {count}\n"
    ));
}

#[tokio::test]
async fn a_counter_is_held_against_what_was_opened_since_it_was_first_read() {
    if !kernel_or_skip() {
        return;
    }
    let scene = Scene::of(&[]).await;
    scene.says(BEFORE, "agree", BEFORE, 0).await;
    let mut open = scene.pairs(5).await;
    scene.says(BEFORE + 5, "agree", BEFORE + 5, 0).await;
    // What has ended was opened all the same.
    open.truncate(2);
    open.extend(scene.pairs(3).await);
    scene.says(BEFORE + 8, "agree", BEFORE + 8, 0).await;
    // Who waits to be accepted is counted when it is.
    let _waiting = scene.service.connect().await.expect("connect");
    let waits = [
        ("verdict", json!("agree")),
        ("low", json!(BEFORE + 8)),
        ("high", json!(BEFORE + 9)),
    ];
    let reported = scene.observer.reports("it", &waits).await;
    reported.unwrap_or_else(|error| panic!("{error:?}"));
    let _accepted = scene.service.accept().await.expect("accept");
    // It counts two of them twice.
    scene.says(BEFORE + 11, "over", BEFORE + 9, 2).await;
    let report = scene.observer.report("it").await.expect("a report");
    let sentence = report["sentence"].as_str().expect("a sentence");
    let said = format!(
        "the counter says {}, the kernel allows {}: over by 2",
        BEFORE + 11,
        BEFORE + 9
    );
    assert!(sentence.contains(&said), "{sentence}");
}

#[tokio::test]
async fn a_counter_that_misses_openings_is_under_by_as_many() {
    if !kernel_or_skip() {
        return;
    }
    let scene = Scene::of(&[]).await;
    scene.says(BEFORE, "agree", BEFORE, 0).await;
    // Of four that come and go one is not counted.
    drop(scene.pairs(4).await);
    scene.says(BEFORE + 3, "under", BEFORE + 4, -1).await;
    drop(scene.pairs(4).await);
    scene.says(BEFORE + 6, "under", BEFORE + 8, -2).await;
}

#[tokio::test]
async fn a_counter_that_is_right_is_not_accused_while_connections_come_and_go() {
    if !kernel_or_skip() {
        return;
    }
    let scene = Scene::of(&[]).await;
    scene.says(BEFORE, "agree", BEFORE, 0).await;
    let count = scene.churn(3, 30).await;
    scene.says(count, "agree", count, 0).await;
    scene.nobody_was_accused().await;
}

#[tokio::test]
async fn a_counter_that_begins_anew_is_that_of_a_new_process() {
    if !kernel_or_skip() {
        return;
    }
    let scene = Scene::of(&[]).await;
    let _open = scene.pairs(3).await;
    scene.says(BEFORE + 3, "agree", BEFORE + 3, 0).await;
    // The listening socket was handed over, and the counters were not.
    scene.says(0, "agree", 0, 0).await;
    let _more = scene.pairs(2).await;
    scene.says(2, "agree", 2, 0).await;
    scene.says(5, "over", 2, 3).await;
    let checks = scene.observer.checks("it").await.expect("checks");
    assert_eq!(checks.under, 0, "{checks:?}");
}

/// What opened and closed between two lists of sockets is bounded by what the namespace opened.
#[tokio::test]
async fn without_programs_a_counter_is_bounded_and_never_accused_for_what_no_list_shows() {
    let scene = Scene::of(&["--kernel.backend=sock-diag"]).await;
    let count = scene.churn(2, 20).await;
    scene.nobody_was_accused().await;
    // Where no list ever showed one, nobody would be accused.
    let _seen = scene.pairs(1).await;
    // More than the whole namespace has opened.
    accepted(&scene.page, count + 1_000_000);
    let over = [("verdict", json!("over"))];
    let reported = scene.observer.reports("it", &over).await;
    reported.unwrap_or_else(|error| panic!("{error:?}"));
}
