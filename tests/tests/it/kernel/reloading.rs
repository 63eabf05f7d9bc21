//! The configuration is read again, at SIGHUP and when a file of it has changed, and what is the same in it
//! goes on.

use std::net::Ipv4Addr;
use std::time::SystemTime;

use anyhow::ensure;
use serde_json::{Value, json};
use tests::claim_page::ClaimPage;
use tests::observer::{BOUND, Observer, Watched};
use tests::scripted::{Pair, Scripted};
use tests::{kernel_or_skip, port, wait, watched};

/// A service of two connections, and who says so.
pub(super) struct Scene {
    service: Scripted,
    page: ClaimPage,
    _open: [Pair; 2],
}

impl Scene {
    pub(super) async fn set() -> Self {
        let address = (Ipv4Addr::UNSPECIFIED, port::free().expect("a port")).into();
        let service = Scripted::listen(address, 16).expect("listen");
        let page = ClaimPage::serve().await.expect("a page");
        page.claim(2);
        let pair = async || service.pair().await.expect("a connection");
        let open = [pair().await, pair().await];
        Self {
            service,
            page,
            _open: open,
        }
    }

    fn target(&self, name: &'static str, address: &str) -> Watched {
        let listen = format!("{address}:{}", self.service.address().port());
        Watched::new(name, &listen, &self.page.url()).with("counts", "established")
    }

    /// Its group in a list.
    pub(super) fn group(&self, name: &str) -> Value {
        let listen = format!(":{}", self.service.address().port());
        watched::group(name, self.page.address(), &listen, ("team", "chat"))
    }
}

pub(super) async fn is_exact(observer: &Observer, name: &str) {
    let exact = [
        ("verdict", json!("agree")),
        ("low", json!(2)),
        ("high", json!(2)),
    ];
    let reported = observer.reports(name, &exact).await;
    reported.unwrap_or_else(|error| panic!("{error:?}"));
}

async fn checks(observer: &Observer, name: &str) -> u64 {
    observer.count_of_checks(name).await.expect("checks")
}

/// When the first check that is remembered read its claim.
pub(super) async fn first_check(observer: &Observer, name: &str) -> SystemTime {
    let history = observer.report(&format!("{name}/history")).await;
    let history = history.expect("the history");
    let first = history["checks"][0]["at"].as_str().expect("a check");
    humantime::parse_rfc3339(first).expect("a time")
}

pub(super) async fn successful(observer: &Observer) -> f64 {
    let page = observer.page().await.expect("metrics");
    let taken = page.value("observer_config_last_reload_successful", &[]);
    taken.expect("the gauge")
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_whole_and_the_old_one_stays() {
    if !kernel_or_skip() {
        return;
    }
    let scene = Scene::set().await;
    let chat = scene.target("chat", "");
    let observer = Observer::start(std::slice::from_ref(&chat)).await;
    let mut observer = observer.expect("observer");
    is_exact(&observer, "chat").await;
    assert!(successful(&observer).await > 0.0);

    let wrong = "[[target]]\nname = 'other'\nlisten = ':1'\ngauge-url = ['http://h/']\n[[target]]\nlisten = 3\n";
    observer.reload_text(wrong).await.expect("it is answered");
    assert!(successful(&observer).await < 1.0);
    assert!(
        observer.report("other").await.is_err(),
        "half of it was taken"
    );
    let log = observer.process.log();
    assert!(log.contains("observer.toml:6"), "where it is wrong: {log}");
    let before = checks(&observer, "chat").await;
    is_exact(&observer, "chat").await;
    observer
        .checked("chat")
        .await
        .expect("it is checked as before");
    assert!(checks(&observer, "chat").await > before);

    observer.reload(&[chat]).await.expect("it is read");
    assert!(successful(&observer).await > 0.0);
    assert!(checks(&observer, "chat").await > before);
}

#[tokio::test]
async fn only_what_is_configured_otherwise_begins_anew() {
    if !kernel_or_skip() {
        return;
    }
    let (kept, changed) = (Scene::set().await, Scene::set().await);
    let targets = [kept.target("kept", ""), changed.target("changed", "")];
    let mut observer = Observer::start(&targets).await.expect("observer");
    let many = wait::until("some checks", BOUND, async || {
        for name in ["kept", "changed"] {
            let checks = observer.count_of_checks(name).await?;
            ensure!(checks >= 20, "{name}: {checks}");
        }
        Ok(())
    });
    many.await.expect("they are checked");
    let before = SystemTime::now();

    let [kept_target, changed_target] = targets;
    let otherwise = changed_target.with_toml("confirm", "3");
    let reloaded = observer.reload(&[kept_target, otherwise]).await;
    reloaded.expect("it is read");
    observer.checked("changed").await.expect("it is checked");
    assert!(first_check(&observer, "changed").await > before);
    assert!(first_check(&observer, "kept").await < before);
    is_exact(&observer, "kept").await;
    is_exact(&observer, "changed").await;
    let log = observer.process.log();
    assert!(log.contains("started=changed stopped=changed"), "{log}");
}

#[tokio::test]
async fn an_address_within_another_targets_comes_and_goes() {
    if !kernel_or_skip() {
        return;
    }
    let scene = Scene::set().await;
    let (any, own) = (scene.target("any", ""), scene.target("own", "127.0.0.1"));
    let observer = Observer::start(std::slice::from_ref(&any)).await;
    let mut observer = observer.expect("observer");
    is_exact(&observer, "any").await;
    for _ in 0..2 {
        // The address has no listening socket of its own: its connections are both targets'.
        let reloaded = observer.reload(&[any.clone(), own.clone()]).await;
        reloaded.expect("it comes");
        is_exact(&observer, "own").await;
        is_exact(&observer, "any").await;
        let reloaded = observer.reload(std::slice::from_ref(&any)).await;
        reloaded.expect("it goes");
        is_exact(&observer, "any").await;
    }
    for name in ["verdict=over", "verdict=under"] {
        let log = observer.process.log();
        assert!(!log.contains(name), "{log}");
    }
}

#[tokio::test]
async fn a_file_of_the_configuration_that_has_changed_is_read_without_a_signal() {
    if !kernel_or_skip() {
        return;
    }
    let scene = Scene::set().await;
    let chat = scene.target("chat", "");
    let observer = Observer::start(std::slice::from_ref(&chat)).await;
    let observer = observer.expect("observer");
    observer
        .replace_config(&[scene.target("renamed", "")])
        .expect("write");
    let comes = wait::until("the other target", BOUND, async || {
        observer.report("renamed").await.map(drop)
    });
    comes.await.expect("it is watched");
    is_exact(&observer, "renamed").await;
}
