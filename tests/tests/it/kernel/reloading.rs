//! The configuration is read again, at SIGHUP and when a file of it has changed, and what is the same in it
//! goes on.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::ensure;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::claim_page::ClaimPage;
use tests::observer::{BOUND, Observer, Watched};
use tests::prometheus::{self, Prometheus};
use tests::scripted::{Pair, Scripted};
use tests::{kernel_or_skip, port, wait, watched};

/// A service of two connections, and who says so.
struct Scene {
    service: Scripted,
    page: ClaimPage,
    _open: [Pair; 2],
}

impl Scene {
    async fn set() -> Self {
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
    fn group(&self, name: &str) -> Value {
        let listen = format!(":{}", self.service.address().port());
        watched::group(name, self.page.address(), &listen, ("team", "chat"))
    }
}

/// A folder of lists.
struct Lists(TempDir);

impl Lists {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn pattern(&self) -> String {
        self.file("*.json").display().to_string()
    }

    /// Replaces a list as a whole, as who generates it does.
    fn replace(&self, groups: &[Value]) {
        let new = self.file("new");
        fs::write(&new, json!(groups).to_string()).expect("write a list");
        fs::rename(new, self.file("list.json")).expect("replace the list");
    }
}

/// Waits until as many targets are of lists.
async fn are_listed(observer: &Observer, count: f64) {
    let listed = wait::until_equal("listed targets", BOUND, count, async || {
        let page = observer.page().await?;
        page.value("observer_targets", &[("source", "file_sd")])
    });
    listed.await.expect("they are watched");
}

async fn is_exact(observer: &Observer, name: &str) {
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
async fn first_check(observer: &Observer, name: &str) -> SystemTime {
    let history = observer.report(&format!("{name}/history")).await;
    let history = history.expect("the history");
    let first = history["checks"][0]["at"].as_str().expect("a check");
    humantime::parse_rfc3339(first).expect("a time")
}

async fn successful(observer: &Observer) -> f64 {
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
async fn a_list_that_prometheus_reads_serves_the_observer_as_well() {
    if !kernel_or_skip() || !prometheus::is_here_or_skip() {
        return;
    }
    let (chat, other, lists) = (Scene::set().await, Scene::set().await, Lists::new());
    // Neither a page alone nor what another host serves is a target.
    let mut of_another_host = other.group("elsewhere");
    // RFC 5737 section 3: no host has it.
    of_another_host["targets"] = json!(["192.0.2.7:9090"]);
    let alone = json!({"targets": ["127.0.0.1:9"], "labels": {"team": "chat"}});
    lists.replace(&[chat.group("chat"), of_another_host, alone.clone()]);
    let flag = format!("--file-sd.files={}", lists.pattern());
    let observer = Observer::start_with(&[], &[&flag]).await;
    let observer = observer.expect("observer").seeded().await.expect("seeded");
    is_exact(&observer, "chat").await;
    are_listed(&observer, 1.0).await;
    let info = observer.page().await.expect("metrics");
    let info = info.value(
        "observer_target_info",
        &[("target", "chat"), ("team", "chat")],
    );
    assert!(info.expect("its labels") > 0.0);

    let before = SystemTime::now();
    lists.replace(&[chat.group("chat"), other.group("other"), alone]);
    are_listed(&observer, 2.0).await;
    is_exact(&observer, "other").await;
    assert!(first_check(&observer, "chat").await < before, "it went on");

    let prometheus = Prometheus::start_listed(&lists.pattern()).await;
    let prometheus = prometheus.expect("Prometheus");
    wait::until("both pages", BOUND, async || {
        let series = prometheus.query("active_connections{team='chat'}").await?;
        ensure!(series.len() == 2, "{series:?}");
        ensure!(!format!("{series:?}").contains("plumbline"), "{series:?}");
        Ok(())
    })
    .await
    .expect("Prometheus reads the same list");

    lists.replace(&[other.group("other")]);
    are_listed(&observer, 1.0).await;
    assert!(observer.report("chat").await.is_err(), "it is watched");
    is_exact(&observer, "other").await;
}

#[tokio::test]
async fn a_list_that_is_wrong_is_refused_whole_and_the_old_one_stays() {
    if !kernel_or_skip() {
        return;
    }
    let (chat, lists) = (Scene::set().await, Lists::new());
    lists.replace(&[chat.group("chat")]);
    let flag = format!("--file-sd.files={}", lists.pattern());
    let observer = Observer::start_with(&[], &[&flag]).await;
    let observer = observer.expect("observer").seeded().await.expect("seeded");
    is_exact(&observer, "chat").await;

    let mut wrong = chat.group("wrong");
    wrong["labels"]["__plumbline_claim_command"] = json!("/bin/true");
    lists.replace(&[chat.group("new"), wrong]);
    let is_taken = async || successful(&observer).await;
    let refused = wait::until_equal("a refusal", BOUND, 0.0, async || Ok(is_taken().await));
    refused.await.expect("it is refused");
    let log = observer.process.log();
    assert!(log.contains("list.json, group 2: "), "{log}");
    assert!(observer.report("new").await.is_err(), "half of it is taken");
    is_exact(&observer, "chat").await;

    lists.replace(&[]);
    let taken = wait::until_equal("it is taken", BOUND, 1.0, async || Ok(is_taken().await));
    taken.await.expect("none at all is a list as well");
    are_listed(&observer, 0.0).await;
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
