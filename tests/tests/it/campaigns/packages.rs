//! Services of Debian's packages, watched as their recipes say: right when they are right, in churn too,
//! and wrong by just as much as they are made wrong.
//!
//! In full all of them, and a row of the table for each; as a share those that are installed for other
//! tests anyway.

use std::time::Duration;

use anyhow::ensure;
use tests::observer::{BOUND, Observer};
use tests::packages::{self, Held, Package, Running, Wrong};
use tests::process::Process;
use tests::{campaign, kernel_or_skip, scripted, skip, wait};

/// Clients that are held, and those that are left of them.
const CLIENTS: (usize, usize) = (6, 2);
/// Clients that make a gauge wrong.
const WRONG: usize = 3;
/// Checks while clients come and go.
const IN_CHURN: u64 = 5;
/// Some are late by this: a gauge that is refreshed by a timer.
const PATIENCE: Duration = BOUND.saturating_mul(2);

/// What is watched, and by whom.
struct Scene {
    name: &'static str,
    running: Running,
    observer: Observer,
}

impl Scene {
    async fn of(package: &'static Package, running: Running, claim: Option<&str>) -> Self {
        let target = running.target(&recipe(package.recipe).await, claim);
        let observer = Observer::start(&[target]).await;
        let observer = observer.unwrap_or_else(|error| panic!("{}: {error:?}", package.recipe));
        Self {
            name: package.recipe,
            observer: observer.seeded().await.expect("ready"),
            running,
        }
    }

    /// Waits until this is said of a check that saw at least so many.
    async fn says(&self, verdict: &str, drift: i64, open: usize) {
        let said = wait::until(verdict, PATIENCE, async || {
            let report = self.observer.report(self.name).await?;
            let number = |key: &str| report[key].as_i64().unwrap_or(-1);
            ensure!(report["verdict"] == *verdict, "{report:#}");
            ensure!(number("drift") == drift, "{report:#}");
            // An asker's own connections may be among them, and no more than those.
            ensure!(number("high") >= open as i64, "{report:#}");
            ensure!(number("high") <= open as i64 + 3, "{report:#}");
            Ok(())
        });
        said.await
            .unwrap_or_else(|error| panic!("{}: {error:?}", self.name));
    }
}

/// The target that is printed for whoever has such a service.
async fn recipe(name: &str) -> String {
    let mut observer = Process::spawn("observer", ["recipes", name]).expect("start the observer");
    let status = observer.wait_for_exit(BOUND).await.expect("it ends");
    assert!(status.success(), "{name}: {}", observer.log());
    observer.stdout()
}

/// Ends all but so many, every second one by a RST.
fn end(held: &mut Vec<Held>, left: usize) {
    for (number, one) in held.drain(left..).enumerate() {
        if let (Held::Tcp(stream), 1) = (one, number % 2) {
            scripted::reset(stream).expect("reset");
        }
    }
}

async fn is_judged_right(name: &str) {
    if !kernel_or_skip() {
        return;
    }
    let package = packages::all().find(|package| package.name == name);
    let package = package.unwrap_or_else(|| panic!("no package {name}"));
    if let Some(obstacle) = package.obstacle() {
        // Most are installed for the campaign alone.
        if campaign::size(1, 0) == 1 {
            skip(&obstacle);
        }
        return;
    }
    let running = package.start().await;
    let running = running.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let scene = Scene::of(package, running, None).await;
    let mut held = scene.running.clients(CLIENTS.0).await.expect("connect");
    scene.says("agree", 0, CLIENTS.0).await;
    end(&mut held, CLIENTS.1);
    scene.says("agree", 0, CLIENTS.1).await;
    let made = async || {
        scene
            .observer
            .count_of_checks(package.recipe)
            .await
            .expect("a count")
    };
    let enough = made().await + IN_CHURN;
    while made().await < enough {
        let mut some = scene.running.clients(WRONG).await.expect("connect");
        made().await;
        end(&mut some, 0);
    }
    scene.says("agree", 0, CLIENTS.1).await;
    let checks = scene.observer.checks(package.recipe).await.expect("checks");
    assert_eq!((checks.over, checks.under), (0, 0), "{name}: {checks:?}");

    let scene = match package.wrong {
        Wrong::Claim(claim, _) => Scene::of(package, scene.running, Some(claim)).await,
        _ => scene,
    };
    let (_wrong, by) = scene.running.wrong(WRONG).await.expect("connect");
    let verdict = if by > 0 { "over" } else { "under" };
    let listed = match package.wrong {
        Wrong::Silent => CLIENTS.1 + WRONG,
        _ => CLIENTS.1,
    };
    scene.says(verdict, by, listed).await;
    drop(held);
    let what = match package.wrong {
        Wrong::Port(_) => "clients of a port that is not listed",
        Wrong::Address(_) => "clients of an address that is not listed",
        Wrong::Unix(_) => "clients of a Unix socket that is not listed",
        Wrong::Silent => "clients that have said nothing",
        Wrong::Claim(..) => "another claim",
    };
    campaign::figure(
        name,
        format!(
            "agrees at {} and at {}, none of {} checks accuses it; {verdict} by {}: {what}",
            CLIENTS.0,
            CLIENTS.1,
            checks.agree + checks.unsettled + checks.blind,
            by.abs()
        ),
    );
}

/// A test for each, so that each has a name where it fails.
macro_rules! tests_of {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                is_judged_right($name).await;
            }
        )*

        #[test]
        fn every_package_has_a_test() {
            let tested = [$($name),*];
            let packages: Vec<_> = packages::all().map(|package| package.name).collect();
            assert_eq!(packages, tested);
        }
    };
}

tests_of! {
    mariadb: "mariadb",
    memcached: "memcached",
    pgbouncer: "pgbouncer",
    postgresql: "postgresql",
    redis: "redis",
    caddy: "caddy",
    docker_registry: "docker-registry",
    envoy: "envoy",
    haproxy: "haproxy",
    nginx: "nginx",
    nginx_status: "nginx-status",
    node: "node",
    python: "python",
    varnish: "varnish",
    dnsdist: "dnsdist",
    nats: "nats",
    pdns_recursor: "pdns-recursor",
    prometheus: "prometheus",
    prosody: "prosody",
    rabbitmq: "rabbitmq",
    victoriametrics: "victoriametrics",
}
