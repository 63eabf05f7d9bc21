//! Services that count by the crate `exporter`: believed through every ending.

use futures_util::{SinkExt as _, StreamExt as _};
use tests::load::{Crowd, Ending, Kind, Target};
use tests::scripted::reset;
use tests::{scrape, wait};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::scene::{BOUND, GATEWAY, Scene};

/// What the observer is told of `connections`, beside where it is.
const CONNECTIONS: &[&str] = &["--gauge=connections", "--counts=established"];

/// What it is told of `active_connections`.
const SESSIONS: &[&str] = &["--gauge=active_connections", "--counts=websocket"];

/// An upgrade that is asked for by hand.
const UPGRADE: &[u8] = b"GET /v1/gateway HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Connections that send `bytes` and are reset before they are answered.
async fn left_at_once(scene: &Scene, bytes: &[u8], count: usize) {
    for _ in 0..count {
        let mut stream = TcpStream::connect(scene.public).await.expect("connect");
        stream.write_all(bytes).await.expect("send");
        reset(stream).expect("reset");
    }
}

/// The sum of the series of the page that have this name and these labels.
async fn number(scene: &Scene, name: &str, labels: &[(&str, &str)]) -> anyhow::Result<f64> {
    let url = format!("http://{}/metrics", scene.management);
    scrape::fetch(&url).await?.value(name, labels)
}

/// Nothing is under way, and so many requests are counted whose client left.
async fn nothing_leaks(scene: &Scene, route: &str, left: f64) {
    let settled = (0.0, left);
    wait::until_equal("requests", BOUND, settled, async || {
        let labels = [("method", "GET"), ("route", route), ("status", "499")];
        let in_flight = number(scene, "http_requests_in_flight", &[]).await?;
        let counted = number(scene, "http_requests_total", &labels).await;
        Ok((in_flight, counted.unwrap_or(0.0)))
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}"));
}

#[tokio::test]
async fn the_sessions_of_the_readme_are_believed_through_every_ending() {
    let Some(scene) = Scene::of_readme(SESSIONS).await else {
        return;
    };
    let mut crowd = scene.crowd(30).await;
    scene.agrees(30).await;
    crowd.end(6, Ending::Clean).await;
    scene.agrees(24).await;
    crowd.end(6, Ending::Fin).await;
    scene.agrees(18).await;
    crowd.end(6, Ending::Reset).await;
    scene.agrees(12).await;
    left_at_once(&scene, UPGRADE, 20).await;
    // Requests that are no upgrades are refused, and are no sessions.
    left_at_once(&scene, b"GET /v1/gateway HTTP/1.1\r\nHost: x\r\n\r\n", 20).await;
    scene.agrees(12).await;
    crowd.end_all(Ending::Reset).await;
    scene.agrees(0).await;
    scene.only_agrees_for(6).await;
    let (code, said) = scene.check(&[]).await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn the_connections_of_the_readme_are_believed_through_every_ending() {
    let Some(scene) = Scene::of_readme(CONNECTIONS).await else {
        return;
    };
    let mut websockets = scene.crowd(10).await;
    let mut kept_alive = Crowd::new(Target::new(scene.public, "/"));
    kept_alive.open(Kind::Http, 10, 4).await.expect("open");
    let mut silent = scene.crowd_at(scene.public, Kind::Tcp, 10).await;
    scene.agrees(30).await;
    for (crowd, left) in [
        (&mut websockets, 21),
        (&mut kept_alive, 12),
        (&mut silent, 3),
    ] {
        crowd.end(3, Ending::Clean).await;
        crowd.end(3, Ending::Fin).await;
        crowd.end(3, Ending::Reset).await;
        scene.agrees(left).await;
    }
    left_at_once(&scene, UPGRADE, 20).await;
    left_at_once(&scene, b"GET / HTTP/1.1\r\nHost", 20).await;
    scene.agrees(3).await;
    scene.only_agrees_for(6).await;
}

#[tokio::test]
async fn sessions_that_end_by_a_return_an_error_a_panic_or_an_abort_are_believed() {
    let Some(scene) = Scene::start("honest_endings").await else {
        return;
    };
    let mut open = Vec::new();
    for _ in 0..12 {
        open.push(scene.websocket(GATEWAY).await.expect("a session"));
    }
    scene.agrees(12).await;
    let mut left = 12;
    for said in ["return", "error", "panic", "abort"] {
        for mut socket in open.drain(..2) {
            socket.send(Message::text(said)).await.expect("send");
            // The service ends it, in whatever way.
            while let Some(Ok(_)) = socket.next().await {}
        }
        left -= 2;
        scene.agrees(left).await;
    }
    scene.refused("/refused", 5).await;
    scene.refused("/panic", 5).await;
    scene.agrees(4).await;
    scene.only_agrees_for(6).await;
}

#[tokio::test]
async fn requests_whose_clients_leave_are_counted_and_none_stays_in_flight() {
    let Some(scene) = Scene::start("honest_endings").await else {
        return;
    };
    let asked = b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let mut stream = TcpStream::connect(scene.public).await.expect("connect");
        stream.write_all(asked).await.expect("send");
        waiting.push(stream);
    }
    let all = wait::until_equal("requests", BOUND, 10.0, async || {
        number(&scene, "http_requests_in_flight", &[]).await
    });
    all.await.unwrap_or_else(|error| panic!("{error:#}"));
    for (index, stream) in waiting.into_iter().enumerate() {
        match index % 2 {
            0 => reset(stream).expect("reset"),
            _ => drop(stream),
        }
    }
    nothing_leaks(&scene, "/never", 10.0).await;
    let labels = [("method", "GET"), ("route", "/panic"), ("status", "500")];
    scene.refused("/panic", 3).await;
    // A client hears of the end of its connection before the panic has unwound.
    let panicked = wait::until_equal("panics", BOUND, 3.0, async || {
        number(&scene, "http_requests_total", &labels).await
    });
    panicked.await.unwrap_or_else(|error| panic!("{error:#}"));
}
