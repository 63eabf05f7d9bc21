//! Lists of targets that others write: files, pages, and the targets of a Prometheus server.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::ensure;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::claim_page::ClaimPage;
use tests::observer::{BOUND, Observer, Prepared};
use tests::prometheus::{self, Prometheus};
use tests::{kernel_or_skip, wait};

use super::reloading::{Scene, first_check, is_exact, successful};

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
async fn are_listed(observer: &Observer, source: &str, count: f64) {
    let listed = wait::until_equal("listed targets", BOUND, count, async || {
        let page = observer.page().await?;
        page.value("observer_targets", &[("source", source)])
    });
    listed.await.expect("they are watched");
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
    let flag = format!("--discovery.path={}", lists.pattern());
    let observer = Observer::start_with(&[], &[&flag]).await;
    let observer = observer.expect("observer").seeded().await.expect("seeded");
    is_exact(&observer, "chat").await;
    are_listed(&observer, "file", 1.0).await;
    let info = observer.page().await.expect("metrics");
    let info = info.value(
        "observer_target_info",
        &[("target", "chat"), ("team", "chat")],
    );
    assert!(info.expect("its labels") > 0.0);

    let before = SystemTime::now();
    lists.replace(&[chat.group("chat"), other.group("other"), alone]);
    are_listed(&observer, "file", 2.0).await;
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

    // Who has no lists may ask Prometheus for what it scrapes.
    let flags = [
        "--discovery.kind=prometheus".to_owned(),
        format!("--discovery.url={}", prometheus.url()),
        "--discovery.scrape-pool=listed".to_owned(),
        "--discovery.refresh-interval=1s".to_owned(),
    ];
    let flags = flags.each_ref().map(String::as_str);
    let asking = Observer::start_with(&[], &flags).await.expect("observer");
    are_listed(&asking, "prometheus", 2.0).await;
    is_exact(&asking, "chat").await;
    is_exact(&asking, "other").await;
    let report = asking.report("chat").await.expect("a report");
    let labels = &report["labels"];
    assert_eq!(labels["job"], "listed", "as Prometheus has them: {labels}");
    assert_eq!(labels["team"], "chat", "{labels}");

    lists.replace(&[other.group("other")]);
    are_listed(&observer, "file", 1.0).await;
    assert!(observer.report("chat").await.is_err(), "it is watched");
    is_exact(&observer, "other").await;
    are_listed(&asking, "prometheus", 1.0).await;
    is_exact(&asking, "other").await;
}

#[tokio::test]
async fn a_list_that_is_wrong_is_refused_whole_and_the_old_one_stays() {
    if !kernel_or_skip() {
        return;
    }
    let (chat, lists) = (Scene::set().await, Lists::new());
    lists.replace(&[chat.group("chat")]);
    let flag = format!("--discovery.path={}", lists.pattern());
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
    are_listed(&observer, "file", 0.0).await;
}

/// How often a page could not be had.
async fn failures(observer: &Observer) -> anyhow::Result<f64> {
    let page = observer.page().await?;
    page.value("observer_discovery_failures_total", &[("source", "http")])
}

#[tokio::test]
async fn a_page_that_is_a_list_is_asked_again_and_stays_while_it_does_not_answer() {
    if !kernel_or_skip() {
        return;
    }
    let (chat, other) = (Scene::set().await, Scene::set().await);
    let list = ClaimPage::serve().await.expect("a page");
    list.say(&json!([chat.group("chat")]).to_string());
    let flags = [
        "--discovery.kind=http".to_owned(),
        format!("--discovery.url={}", list.url()),
        "--discovery.refresh-interval=1s".to_owned(),
    ];
    let flags = flags.each_ref().map(String::as_str);
    let observer = Observer::start_with(&[], &flags).await.expect("observer");
    are_listed(&observer, "http", 1.0).await;
    is_exact(&observer, "chat").await;

    let before = SystemTime::now();
    list.say(&json!([chat.group("chat"), other.group("other")]).to_string());
    are_listed(&observer, "http", 2.0).await;
    is_exact(&observer, "other").await;
    assert!(first_check(&observer, "chat").await < before, "it went on");
    assert!(failures(&observer).await.expect("a count") < 1.0);

    // What comes is no list, and then nothing comes at all.
    list.say("<!DOCTYPE html><html>maintenance</html>");
    let failed = async |times: f64| {
        let failed = wait::until("failures", BOUND, async || {
            let count = failures(&observer).await?;
            ensure!(count >= times, "{count}");
            Ok(())
        });
        failed.await.expect("it is counted");
    };
    failed(1.0).await;
    drop(list);
    let until = failures(&observer).await.expect("a count") + 2.0;
    failed(until).await;
    is_exact(&observer, "chat").await;
    is_exact(&observer, "other").await;
    assert!(first_check(&observer, "chat").await < before, "it went on");
    let log = observer.process.log();
    let told = log.matches("a list of targets does not answer").count();
    assert_eq!(told, 1, "{log}");
}

#[tokio::test]
async fn a_single_check_asks_the_page_first_and_says_when_it_does_not_answer() {
    if !kernel_or_skip() {
        return;
    }
    let (chat, list) = (
        Scene::set().await,
        ClaimPage::serve().await.expect("a page"),
    );
    list.say(&json!([chat.group("chat")]).to_string());
    let text = format!("[[discovery]]\nkind = 'http'\nurl = '{}'\n", list.url());
    let prepared = Prepared::of_text(&text, &[]).expect("prepare");
    let check = async || {
        let program = Prepared::program().expect("the observer");
        prepared.run(program, "check").await.expect("it ends")
    };
    let agrees = check().await;
    assert_eq!(agrees.code, Some(0), "{agrees:?}");
    assert!(agrees.stdout.contains("they agree"), "{agrees:?}");
    drop(list);
    let fails = check().await;
    assert_eq!(fails.code, Some(3), "{fails:?}");
    assert!(
        fails.stdout.contains("for its list of targets"),
        "{fails:?}"
    );
}
