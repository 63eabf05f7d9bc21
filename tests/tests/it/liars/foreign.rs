//! Services that are not ours, in the languages and with the libraries that users have.
//!
//! Each is believed when its gauge is right and caught when it is not. Their packages are looked
//! for in `target/foreign`, where these commands put them:
//!
//! ```text
//! python3 -m venv target/foreign/python
//! target/foreign/python/bin/pip install websockets prometheus_client
//! npm install --prefix target/foreign/node ws prom-client
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::load::Ending;

use super::scene::Scene;

fn folder(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(of)
}

/// The command, if it can run here; else the skip is recorded.
fn python() -> Option<Command> {
    let python = folder("../target/foreign/python/bin/python3");
    let needs = ["-c", "import websockets.asyncio.server, prometheus_client"];
    if !succeeds(Command::new(&python).args(needs)) {
        tests::skip("needs python3 with websockets and prometheus_client in target/foreign/python");
        return None;
    }
    let mut command = Command::new(python);
    command.arg(folder("foreign/service.py"));
    Some(command)
}

/// As [`python`].
fn node() -> Option<Command> {
    let modules = folder("../target/foreign/node/node_modules");
    let mut node = Command::new("node");
    node.env("NODE_PATH", &modules);
    if !succeeds(node.args(["-e", "require('ws'); require('prom-client')"])) {
        tests::skip("needs node with ws and prom-client in target/foreign/node");
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
