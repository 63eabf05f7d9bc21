//! Gauges whose value is of another time, another process or another world.

use std::process::Command;

use tests::http;
use tests::load::Ending;
use tests::process::Process;

use super::scene::{BOUND, GATEWAY, Scene};

#[tokio::test]
async fn a_gauge_from_a_stale_cache() {
    // Long enough for a verdict before the cache is filled anew.
    let arguments = ["--refresh=8".to_owned()];
    let Some(scene) = Scene::start_with("liar_stale_cache", &arguments, "websocket").await else {
        return;
    };
    let mut crowd = scene.crowd(10).await;
    // The cache is filled: from now on it is as old as it gets.
    scene.agrees(10).await;
    crowd.end(4, Ending::Clean).await;
    scene.is_caught("over", 4, "lags").await;
}

#[tokio::test]
async fn the_series_of_one_worker_is_lost() {
    let Some(scene) = Scene::start("liar_one_worker_lost").await else {
        return;
    };
    let _crowd = scene.crowd(10).await;
    scene.agrees(10).await;
    order(&scene, "recycle").await;
    scene.is_caught("under", -5, "reset").await;
}

#[tokio::test]
async fn a_gauge_reset_while_connections_live_on() {
    let Some(scene) = Scene::start("liar_reset_while_open").await else {
        return;
    };
    let _crowd = scene.crowd(9).await;
    scene.agrees(9).await;
    order(&scene, "reload").await;
    scene.is_caught("under", -9, "reset").await;
}

async fn order(scene: &Scene, what: &str) {
    let url = format!("http://{}/{what}", scene.management);
    let answer = http::post(&url, &serde_json::Value::Null).await;
    assert_eq!(answer.expect("an answer").status, 200);
}

#[tokio::test]
async fn a_value_carried_over_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = [format!("--state={}", folder.path().join("gauge").display())];
    let liar = "liar_carried_over_restart";
    let Some(mut scene) = Scene::start_with(liar, &arguments, "websocket").await else {
        return;
    };
    let _crowd = scene.crowd(6).await;
    scene.agrees(6).await;
    scene.restart().await;
    scene.is_caught("over", 6, "step_at_restart").await;
}

/// Opens WebSockets and is gone: with `TCP_REPAIR` set, a socket is closed without a packet.
const VANISH: &str = r#"
import socket, sys
host, port, path, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
request = (f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
held = []
for _ in range(count):
    client = socket.create_connection((host, port))
    client.sendall(request.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += client.recv(4096)
    assert b" 101 " in answer, answer
    client.setsockopt(socket.IPPROTO_TCP, 19, 1)
    held.append(client)
"#;

#[tokio::test]
async fn dead_peers_that_are_never_dropped_are_no_drift() {
    if Command::new("python3").arg("--version").output().is_err() {
        tests::skip("needs python3, whose clients vanish");
        return;
    }
    let Some(scene) = Scene::start("liar_half_open").await else {
        return;
    };
    let _crowd = scene.crowd(5).await;
    let (host, port) = (
        scene.public.ip().to_string(),
        scene.public.port().to_string(),
    );
    let mut python =
        Process::start(Command::new("python3").args(["-c", VANISH, &host, &port, GATEWAY, "3"]))
            .expect("start python3");
    let status = python.wait_for_exit(BOUND).await.expect("it ends");
    assert!(status.success(), "{}", python.log());
    // The kernel and the service both hold on to the three that are gone.
    scene.agrees(8).await;
    scene.only_agrees_for(6).await;
}
