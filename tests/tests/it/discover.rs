//! From nothing to a verdict: `observer discover` finds the gauge of a service, and what it prints is
//! a configuration that agrees.
//!
//! Where it asks every listener, it does so in a network namespace of its own: other tests count the
//! connections of theirs.

use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tests::cable::{self, Cable};
use tests::foreign::{Manner, Service};
use tests::load::{Crowd, Kind, Target};
use tests::observer::{Observer, Prepared};
use tests::packages::{self, Held, Running};
use tests::process::binary;
use tests::{http, kernel_or_skip, wait};

use crate::liars::foreign::is_here;
use crate::liars::scene::{BOUND, GATEWAY};

/// What a command of the observer says, which is to succeed.
fn said(mut command: Command) -> String {
    let ended = command.output().expect("it starts");
    let (out, err) = (
        String::from_utf8_lossy(&ended.stdout).into_owned(),
        String::from_utf8_lossy(&ended.stderr),
    );
    assert!(ended.status.success(), "{command:?}: {err}{out}");
    out
}

fn observer() -> Command {
    Prepared::program().expect("the observer")
}

/// Connections that are held open.
async fn crowd(at: std::net::SocketAddr, kind: Kind, count: usize) -> Crowd {
    let mut crowd = Crowd::new(Target::new(at, GATEWAY));
    crowd.open(kind, count, 8).await.expect("open");
    crowd
}

/// `config check` accepts the text, and `check` of it agrees.
async fn is_a_configuration_that_agrees(text: &str, program: impl Fn() -> Command) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("found.toml");
    std::fs::write(&file, text).expect("write it");
    let mut check = observer();
    check.args(["config", "check", "--config"]).arg(&file);
    assert_eq!(said(check), "ok: 1 target(s)\n", "{text}");

    let prepared = Prepared::of_text(text, &[]).expect("prepare");
    let ended = prepared.run(program(), "check").await.expect("it ends");
    assert_eq!(ended.code, Some(0), "{ended:?}\n{text}");
    assert!(ended.stdout.contains("they agree"), "{ended:?}\n{text}");
}

#[tokio::test]
async fn the_gauge_of_a_service_among_others_is_found_and_agrees() {
    if !kernel_or_skip() {
        return;
    }
    if let Some(obstacle) = cable::obstacle() {
        tests::skip(&obstacle);
        return;
    }
    let cable = Cable::lay().await.expect("a network namespace");
    let mut up = cable.command("ip");
    up.args(["link", "set", "lo", "up"]);
    said(up);
    let mut services = Vec::new();
    // Two of a kind: each has its own gauge, and another number of clients.
    for port in [3000, 4000] {
        let [public, management] = [port, port + 1].map(|port| format!("{}:{port}", cable.there));
        let arguments = [
            "half_open".to_owned(),
            format!("--public-address={public}"),
            format!("--management-address={management}"),
        ];
        let mut service = cable.spawn_there("liar", &arguments).expect("start it");
        let url = format!("http://{management}/metrics");
        service.wait_for_url(&url, BOUND).await.expect("it is up");
        services.push(service);
    }
    let first = crowd((cable.there, 3000).into(), Kind::WebSocket, 7).await;
    let there = || {
        cable.command(
            &binary("observer")
                .expect("the observer")
                .display()
                .to_string(),
        )
    };
    let discover = |arguments: &[&str]| {
        let mut command = there();
        command.arg("discover").args(arguments);
        said(command)
    };
    let text = discover(&[]);
    assert!(text.contains(":3000\"]"), "{text}");
    assert!(text.contains(":3001/metrics\""), "{text}");
    is_a_configuration_that_agrees(&text, there).await;

    let second = crowd((cable.there, 4000).into(), Kind::WebSocket, 4).await;
    let both: Vec<Value> =
        serde_json::from_str(&discover(&["--output", "json"])).expect("it is JSON");
    let proposed: Vec<_> = both
        .iter()
        .filter(|row| row["is_proposed"] == true)
        .map(|row| (row["value"].as_f64(), row["high"].as_u64(), &row["claim"]))
        .collect();
    let claim = Value::from("active_connections");
    assert_eq!(
        proposed,
        [(Some(7.0), Some(7), &claim), (Some(4.0), Some(4), &claim)],
        "{both:#?}"
    );
    let text = discover(&[":4000"]);
    assert!(
        text.contains(":4000\"]") && !text.contains(":3000\"]"),
        "{text}"
    );
    drop((first, second));
}

/// Services that other tests need anyway, and how many clients each has.
const SERVICES: [(&str, usize); 6] = [
    ("haproxy", 9),
    ("nats", 5),
    ("nginx-status", 7),
    ("node", 4),
    ("prometheus", 8),
    ("python", 6),
];

/// The whole way of somebody who has a host and no configuration.
#[tokio::test]
async fn six_services_are_found_and_judged_right_without_a_line_by_hand() {
    if !kernel_or_skip() {
        return;
    }
    let services = SERVICES.map(|(name, clients)| {
        let package = packages::all().find(|package| package.name == name);
        (package.expect("a package"), clients)
    });
    let obstacle = services.iter().find_map(|(package, _)| package.obstacle());
    if let Some(obstacle) = obstacle.or_else(cable::obstacle) {
        tests::skip(&obstacle);
        return;
    }
    let cable = Cable::lay().await.expect("a network namespace");
    let _entered = cable.enter().expect("enter it");
    let mut running = Vec::new();
    for (package, clients) in services {
        let service = package.start().await.expect(package.name);
        let held = service.clients(clients).await.expect(package.name);
        running.push((service, held));
    }

    let mut discover = observer();
    discover.arg("discover");
    let text = said(discover);
    let prepared = Prepared::of_text(&text, &[]).expect("prepare");
    let found = prepared.start(observer()).await.expect("it starts");
    let found = found.seeded().await.expect("ready");
    are_judged_right(&found, &running, &text).await;
    for (_, held) in &mut running {
        held.truncate(held.len() - 3);
    }
    are_judged_right(&found, &running, &text).await;
}

/// That there is a target for the port of each service, and that it agrees on the clients that it has.
async fn are_judged_right(observer: &Observer, services: &[(Running, Vec<Held>)], text: &str) {
    let judged = wait::until("verdicts", BOUND, async || {
        let answer = http::get(&format!("{}/api/v1/targets", observer.url())).await?;
        let list: Value = serde_json::from_str(&answer.body)?;
        let targets = list["targets"].as_array().context("a list of targets")?;
        ensure!(targets.len() == services.len(), "{list:#}");
        for (service, held) in services {
            let port = format!(":{}", service.public_port());
            let is_its = |target: &&Value| {
                let listen = target["listen"].as_str().unwrap_or_default();
                listen.split(", ").any(|one| one.ends_with(&port))
            };
            let target = targets.iter().find(is_its);
            let target = target.with_context(|| format!("no target of {port}: {list:#}"))?;
            let is_right = target["verdict"] == "agree" && target["drift"] == 0;
            ensure!(is_right, "{target:#}");
            // Who reads the page may be a client as well.
            let claim = target["claim"].as_f64().context("a claim")? as usize;
            ensure!(
                claim.abs_diff(held.len()) <= 1,
                "{} held: {target:#}",
                held.len()
            );
        }
        Ok(())
    });
    judged
        .await
        .unwrap_or_else(|error| panic!("{error:?}\n{text}"));
}

#[tokio::test]
async fn the_gauge_of_a_python_service_is_found_on_the_page_that_is_named() {
    if !kernel_or_skip() || !is_here("python") {
        return;
    }
    let service = Service::python(Manner::Honest).await.expect("it is up");
    let crowd = crowd(service.public, Kind::WebSocket, 5).await;
    let mut discover = observer();
    discover
        .arg("discover")
        .arg(format!(":{}", service.public.port()));
    discover.args(["--page", &service.gauge_url]);
    let text = said(discover);
    assert!(text.contains("gauge-url = \"http"), "{text}");
    is_a_configuration_that_agrees(&text, observer).await;
    drop(crowd);
}

#[tokio::test]
async fn nginx_in_a_namespace_is_found_with_both_ports_by_its_recipe() {
    if !kernel_or_skip() || !is_here("nginx") {
        return;
    }
    let service = Service::nginx().await.expect("it is up");
    let crowd = crowd(service.public, Kind::Http, 6).await;
    let mut discover = observer();
    discover.args(["discover", &format!("pid:{}", service.id())]);
    discover.args(["--page", &service.gauge_url]);
    let text = said(discover);
    for part in [
        "name = \"nginx-8080\"",
        ":8081\"",
        "netns = \"pid:",
        "observer recipes nginx",
    ] {
        assert!(text.contains(part), "no {part}: {text}");
    }
    is_a_configuration_that_agrees(&text, observer).await;
    drop(crowd);
}

#[test]
fn where_nothing_listens_it_says_so_and_how_to_see_what_does() {
    let ended = observer()
        .args(["discover", ":1"])
        .output()
        .expect("it ends");
    let told = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{told}");
    assert!(
        told.contains("nothing listens on port 1: `ss -ltnp`"),
        "{told}"
    );
}

#[test]
fn recipes_are_printed_as_configurations() {
    let mut list = observer();
    list.arg("recipes");
    assert!(said(list).contains("nginx_connections_active - 1"));
    let mut one = observer();
    one.args(["recipes", "nginx"]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("nginx.toml");
    std::fs::write(&file, said(one)).expect("write it");
    let mut check = observer();
    check.args(["config", "check", "--config"]).arg(&file);
    assert_eq!(said(check), "ok: 1 target(s)\n");
    let mut json = observer();
    json.args(["recipes", "--output", "json"]);
    let all: Vec<Value> = serde_json::from_str(&said(json)).expect("it is JSON");
    assert!(all.len() > 20);
}
