//! Connections that a service opens itself, as those of a pool to its database.

use anyhow::ensure;
use serde_json::json;
use tests::claim_page::ClaimPage;
use tests::observer::{BOUND, Observer, Watched};
use tests::port::free_address;
use tests::scripted::{Pair, Scripted};
use tests::{kernel_or_skip, wait};

/// A database, and the page of the service whose pool is connected to it.
struct Scene {
    database: Scripted,
    page: ClaimPage,
    observer: Observer,
}

fn listen() -> Scripted {
    Scripted::listen(free_address().expect("a port"), 64).expect("listen")
}

impl Scene {
    async fn of(flags: &[&str]) -> Self {
        let database = listen();
        let page = ClaimPage::serve().await.expect("page");
        let to = database.address().to_string();
        let target = Watched::new("pool", &to, &page.url())
            .with("counts", "outgoing")
            .with("too-wide", "1000000%");
        let observer = Observer::start_with(&[target], flags).await;
        Self {
            observer: observer.expect("observer").seeded().await.expect("ready"),
            database,
            page,
        }
    }

    async fn connect(&self, count: usize) -> Vec<Pair> {
        self.database.pairs(count).await.expect("connect")
    }

    /// With a drift of at least so many, or at most where it is negative.
    async fn says_surely(&self, claim: u64, verdict: &str, least: i64) {
        self.page.claim(claim);
        let said = wait::until(verdict, BOUND, async || {
            let report = self.observer.report("pool").await?;
            let drift = report["drift"].as_i64().unwrap_or_default();
            let is_so = drift * least.signum() >= least.abs();
            ensure!(report["verdict"] == json!(verdict) && is_so, "{report}");
            Ok(())
        });
        said.await.unwrap_or_else(|error| panic!("{error:?}"));
    }

    async fn says(&self, claim: u64, verdict: &str, open: i64, drift: i64) {
        self.page.claim(claim);
        let exact = [
            ("verdict", json!(verdict)),
            ("low", json!(open)),
            ("high", json!(open)),
            ("drift", json!(drift)),
        ];
        let reported = self.observer.reports("pool", &exact).await;
        reported.unwrap_or_else(|error| panic!("{error:?}"));
    }
}

#[tokio::test]
async fn a_pools_connections_are_counted_by_where_they_go() {
    if !kernel_or_skip() {
        return;
    }
    let scene = Scene::of(&[]).await;
    let mut pool = scene.connect(5).await;
    scene.says(5, "agree", 5, 0).await;
    scene.says(7, "over", 5, 2).await;
    scene.says(4, "under", 5, -1).await;
    // A pool that has closed one, and says so.
    drop(pool.pop());
    scene.says(4, "agree", 4, 0).await;
    // What the database accepts from others is the same here; what goes elsewhere is not.
    let other = listen();
    let _elsewhere = other.pair().await.expect("connect");
    scene.says(4, "agree", 4, 0).await;
}

/// What the kernel counts of all openings is moved by the page's scrapes as well.
#[tokio::test]
async fn without_programs_a_pool_is_counted_by_lists_of_sockets() {
    let scene = Scene::of(&["--kernel.backend=sock-diag"]).await;
    let _pool = scene.connect(5).await;
    scene.says_surely(5, "agree", 0).await;
    scene.says_surely(4, "under", -1).await;
    scene.says_surely(1_005, "over", 900).await;
}

/// Each of these lives for less than the time between two lists of sockets.
#[tokio::test]
async fn connections_that_no_list_shows_are_not_held_against_a_pool() {
    let scene = Scene::of(&["--kernel.backend=sock-diag"]).await;
    let _pool = scene.connect(3).await;
    scene.says_surely(3, "agree", 0).await;
    let checks = async || {
        scene
            .observer
            .count_of_checks("pool")
            .await
            .expect("a count")
    };
    let enough = checks().await + 30;
    while checks().await < enough {
        let pairs = scene.connect(2).await;
        scene.page.claim(5);
        // Meanwhile the page may be read.
        checks().await;
        drop(pairs);
        scene.page.claim(3);
    }
    let checks = scene.observer.checks("pool").await.expect("checks");
    assert_eq!((checks.over, checks.under), (0, 0), "{checks:?}");
}
