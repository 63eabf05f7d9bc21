//! Services that are not ours, in the languages and with the libraries that users have.
//!
//! Each is believed when its gauge is right and caught when it is not. `cargo xtask setup` installs
//! their packages into its cache of tools; `PLUMBLINE_FOREIGN` names the folder.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::kernel_or_skip;
use tests::load::{Crowd, Ending, Kind, Target};
use tests::process::Process;

use tests::port::free_address;

use super::scene::{BOUND, Scene};

fn folder(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(of)
}

/// What `setup` has installed for a language.
fn installed(what: &str) -> PathBuf {
    env::var_os("PLUMBLINE_FOREIGN")
        .map(PathBuf::from)
        .unwrap_or_default()
        .join(what)
}

/// Python with the packages, if it is here; else the skip is recorded.
pub(super) fn python_packages() -> Option<PathBuf> {
    let python = installed("python/bin/python3");
    let needs = ["-c", "import websockets.asyncio.server, prometheus_client"];
    if !succeeds(Command::new(&python).args(needs)) {
        tests::skip(
            "needs python3 with websockets and prometheus_client in $PLUMBLINE_FOREIGN/python",
        );
        return None;
    }
    Some(python)
}

/// The command, if it can run here; else the skip is recorded.
fn python() -> Option<Command> {
    let mut command = Command::new(python_packages()?);
    command.arg(folder("foreign/service.py"));
    Some(command)
}

/// As [`python`].
fn node() -> Option<Command> {
    let modules = installed("node/node_modules");
    let mut node = Command::new("node");
    node.env("NODE_PATH", &modules);
    if !succeeds(node.args(["-e", "require('ws'); require('prom-client')"])) {
        tests::skip("needs node with ws and prom-client in $PLUMBLINE_FOREIGN/node");
        return None;
    }
    let mut command = Command::new("node");
    command.env("NODE_PATH", modules);
    command.arg(folder("foreign/service.js"));
    Some(command)
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Opens, ends in every way, and is believed throughout.
async fn is_believed(scene: &Scene) {
    let mut crowd = scene.crowd(30).await;
    scene.agrees(30).await;
    crowd.end(5, Ending::Clean).await;
    crowd.end(5, Ending::Fin).await;
    crowd.end(5, Ending::Reset).await;
    scene.agrees(15).await;
    scene.only_agrees_for(10).await;
}

#[tokio::test]
async fn an_honest_python_service_is_believed() {
    let Some(command) = python() else { return };
    if let Some(scene) = Scene::start_foreign(command, "honest").await {
        is_believed(&scene).await;
    }
}

#[tokio::test]
async fn a_lying_python_service_is_caught() {
    let Some(command) = python() else { return };
    let Some(scene) = Scene::start_foreign(command, "lying").await else {
        return;
    };
    let mut crowd = scene.crowd(20).await;
    scene.agrees(20).await;
    crowd.end(6, Ending::Reset).await;
    scene.is_caught("over", 6, "staircase_up").await;
}

#[tokio::test]
async fn an_honest_node_service_is_believed() {
    let Some(command) = node() else { return };
    if let Some(scene) = Scene::start_foreign(command, "honest").await {
        is_believed(&scene).await;
    }
}

#[tokio::test]
async fn a_lying_node_service_is_caught() {
    let Some(command) = node() else { return };
    let Some(scene) = Scene::start_foreign(command, "lying").await else {
        return;
    };
    let mut crowd = scene.crowd(20).await;
    scene.agrees(20).await;
    crowd.end(4, Ending::Clean).await;
    scene.agrees(16).await;
    crowd.end(5, Ending::Reset).await;
    scene.is_caught("over", 5, "staircase_up").await;
}

/// HAProxy with its own exporter, before a server of the gallery whose gauge nobody asks for.
const HAPROXY: &str = "\
global
    maxconn 200
defaults
    mode http
    timeout connect 5s
    timeout client 1m
    timeout server 1m
    timeout tunnel 1m
frontend web
    bind PUBLIC
    maxconn 10
    default_backend relay
frontend exporter
    bind MANAGEMENT
    http-request use-service prometheus-exporter if { path /metrics }
backend relay
    server one BACKEND
";

#[tokio::test]
async fn haproxy_is_believed_and_its_stalled_queue_is_named() {
    if !succeeds(Command::new("haproxy").arg("-v")) {
        tests::skip("needs haproxy");
        return;
    }
    if !kernel_or_skip() {
        return;
    }
    let free = || free_address().expect("a free port");
    let (public, management) = (free(), free());
    let (backend, unused) = (free(), free());
    let mut relay = Process::spawn(
        "liar_half_open",
        [
            format!("--public-address={backend}"),
            format!("--management-address={unused}"),
        ],
    )
    .expect("start the backend");
    relay
        .wait_for_url(&format!("http://{unused}/metrics"), BOUND)
        .await
        .expect("it listens");

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("haproxy.cfg");
    let text = HAPROXY
        .replace("PUBLIC", &public.to_string())
        .replace("MANAGEMENT", &management.to_string())
        .replace("BACKEND", &backend.to_string());
    std::fs::write(&file, text).expect("write its configuration");
    let mut haproxy = Process::start(Command::new("haproxy").arg("-f").arg(&file).arg("-db"))
        .expect("start haproxy");
    haproxy
        .wait_for_url(&format!("http://{management}/metrics"), BOUND)
        .await
        .expect("it listens");
    let claims = [
        "--counts=established".to_owned(),
        "--gauge=haproxy_frontend_current_sessions{proxy=\"web\"}".to_owned(),
    ];
    let scene = Scene::watch(haproxy, "haproxy", Vec::new(), public, management, &claims)
        .await
        .expect("watch it");

    let mut crowd = scene.crowd(8).await;
    scene.agrees(8).await;
    crowd.end(2, Ending::Clean).await;
    crowd.end(2, Ending::Reset).await;
    crowd.end(2, Ending::Fin).await;
    scene.agrees(2).await;

    // The front end takes ten; the kernel takes the others all the same.
    let mut more = Crowd::new(Target::new(public, "/"));
    more.open(Kind::Tcp, 12, 4).await.expect("open");
    scene.is_caught("under", -4, "follows_accept_queue").await;
    more.end(12, Ending::Fin).await;
    scene.agrees(2).await;
}
