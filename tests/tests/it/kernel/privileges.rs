//! What the observer can do with which capabilities, as a user who is not root.

use std::net::Ipv4Addr;
use std::process::Command;

use serde_json::json;
use tests::honest::Honest;
use tests::load::{Crowd, Kind};
use tests::observer::{Classes, Observer, Prepared};
use tests::{kernel_or_skip, skip};

use super::both_gauges;

/// `nobody` of most systems.
const NOBODY: &str = "65534";

/// A relay with 12 WebSockets and 3 HTTP connections, and an observer with these capabilities only.
struct Scene {
    observer: Observer,
    _crowd: Crowd,
    _relay: Honest,
}

impl Scene {
    /// None where this test cannot run; the skip is recorded.
    async fn with(capabilities: &[&str]) -> Option<Self> {
        if !kernel_or_skip() {
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            skip("needs root, to become another user");
            return None;
        }
        if Command::new("setpriv").arg("--version").output().is_err() {
            skip("setpriv (util-linux) is not installed");
            return None;
        }
        let relay = Honest::start(Ipv4Addr::LOCALHOST.into())
            .await
            .expect("relay");
        let prepared = Prepared::new(&both_gauges(&relay), &[]).expect("prepare");
        let program = prepared.copy_program().expect("copy");
        let mut command = as_nobody(capabilities);
        command.arg(program);
        let observer = prepared.start(command).await.expect("start");
        let observer = observer.seeded().await.expect("seeded");
        let mut crowd = Crowd::new(relay.gateway(Ipv4Addr::LOCALHOST));
        crowd.open(Kind::WebSocket, 12, 4).await.expect("open");
        crowd.open(Kind::Http, 3, 3).await.expect("open");
        Some(Self {
            observer,
            _crowd: crowd,
            _relay: relay,
        })
    }

    async fn backend_is(&self, backend: &str) {
        let page = self.observer.page().await.expect("page");
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("backend", backend)];
        let info = page.value("observer_build_info", &labels);
        assert_eq!(info.expect("the backend"), 1.0);
    }

    async fn reports(&self, target: &str, expected: &[(&str, serde_json::Value)]) {
        let reported = self.observer.reports(target, expected).await;
        reported.expect("the report");
    }
}

/// A command that becomes another user with these capabilities and no others.
fn as_nobody(capabilities: &[&str]) -> Command {
    let mut all = "-all".to_owned();
    for capability in capabilities {
        all.push_str(",+");
        all.push_str(capability);
    }
    let mut command = Command::new("setpriv");
    command.args([
        format!("--reuid={NOBODY}"),
        format!("--regid={NOBODY}"),
        "--clear-groups".to_owned(),
        format!("--inh-caps={all}"),
        format!("--ambient-caps={all}"),
    ]);
    command
}

#[tokio::test]
async fn three_capabilities_are_enough_for_everything() {
    let Some(scene) = Scene::with(&["bpf", "perfmon", "net_admin"]).await else {
        return;
    };
    let status = std::fs::read_to_string(format!("/proc/{}/status", scene.observer.process.id()));
    let status = status.expect("status");
    assert!(status.contains(&format!("Uid:\t{NOBODY}\t")), "{status}");
    scene.backend_is("ebpf").await;
    let expected = Classes {
        websocket: 12,
        http: 3,
        ..Classes::default()
    };
    let settled = scene.observer.settles("websockets", expected).await;
    settled.expect("classes");
    let agree = |claim: f64| [("verdict", json!("agree")), ("claim", json!(claim))];
    scene.reports("websockets", &agree(12.0)).await;
    scene.reports("connections", &agree(15.0)).await;
}

#[tokio::test]
async fn without_net_admin_websockets_cannot_be_told_and_connections_still_can() {
    let Some(scene) = Scene::with(&["bpf", "perfmon"]).await else {
        return;
    };
    scene.backend_is("ebpf").await;
    let log = scene.observer.process.log();
    let said = log
        .lines()
        .filter(|line| line.contains("be told apart") && line.contains("CAP_NET_ADMIN is missing"));
    assert_eq!(said.count(), 1, "{log}");
    let blind = [
        ("verdict", json!("blind")),
        ("reason", json!("cannot_tell")),
    ];
    scene.reports("websockets", &blind).await;
    let unknown = json!({"websocket": null, "http": null, "unclassified": 15, "closing": 0});
    let agree = [
        ("verdict", json!("agree")),
        ("claim", json!(15.0)),
        ("low", json!(15)),
        ("high", json!(15)),
        ("connections", unknown),
    ];
    scene.reports("connections", &agree).await;
}

async fn falls_back_without(missing: &str, rest: &[&str]) {
    let Some(scene) = Scene::with(rest).await else {
        return;
    };
    scene.backend_is("sock-diag").await;
    let log = scene.observer.process.log();
    let said = log
        .lines()
        .filter(|line| line.contains("falling back to sock_diag") && line.contains(missing));
    assert_eq!(said.count(), 1, "{log}");
    let blind = [
        ("verdict", json!("blind")),
        ("reason", json!("cannot_tell")),
    ];
    scene.reports("websockets", &blind).await;
}

#[tokio::test]
async fn without_perfmon_it_says_so_and_falls_back_to_sock_diag() {
    falls_back_without("CAP_PERFMON is missing", &["bpf", "net_admin"]).await;
}

#[tokio::test]
async fn without_bpf_it_says_so_and_falls_back_to_sock_diag() {
    falls_back_without("CAP_BPF is missing", &["perfmon", "net_admin"]).await;
}

#[tokio::test]
async fn without_any_capability_it_falls_back_to_sock_diag() {
    falls_back_without("is missing", &[]).await;
}
