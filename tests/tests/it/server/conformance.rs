//! The WebSocket conformance suite of a third party: the Autobahn cases, run by `kosoku`.
//!
//! The suite expects a server that echoes. The gateway does not: it refuses what is no ack, as it
//! should, so each case that waits for an echo fails. Whether that is the only reason is checked: the
//! same library with the same settings, told to echo, must pass every case that the gateway fails.
//! `tests/expected/` has what the suite says of each case; `UPDATE_EXPECTED=1` writes it anew.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::routing::any;
use serde_json::Value;
use tests::relay::{Relay, read_head};
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// Cases left out: 9 is about speed, 12 and 13 are about compression, which is not offered.
const EXCLUDED: [&str; 3] = ["9.*", "12.*", "13.*"];

type Behaviours = BTreeMap<String, String>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_conforms_but_for_the_echo() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let echo = listener.local_addr().unwrap();
    let router = Router::new().fallback(any(async |upgrade: WebSocketUpgrade| {
        // The gateway's own buffers; its limit on messages is below what some cases send.
        upgrade
            .read_buffer_size(1024)
            .write_buffer_size(1024)
            .on_upgrade(echo_all)
    }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let Some(echo) = run_suite(echo).await else {
        return tests::skip("no kosoku: `cargo xtask setup` installs it, KOSOKU names it");
    };

    let relay = Relay::start(&[]).await.unwrap();
    let token = relay.account().await.unwrap().token;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let public = relay.public;
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let token = token.clone();
            tokio::spawn(async move { join(client, public, &token).await });
        }
    });
    let gateway = run_suite(address).await.unwrap();

    compare("autobahn-echo.json", &echo);
    compare("autobahn-gateway.json", &gateway);
    for (case, behaviour) in &gateway {
        assert!(
            behaviour != "FAILED" || echo[case] != "FAILED",
            "{case} fails with an echo too"
        );
    }
    relay.expect("active_connections", &[], 0.0).await.unwrap();
}

/// Runs the suite and returns what it says of each case; `None` if it is not installed.
async fn run_suite(address: SocketAddr) -> Option<Behaviours> {
    let report = tempfile::tempdir().unwrap();
    let kosoku = std::env::var_os("KOSOKU").unwrap_or_else(|| "kosoku".into());
    let mut command = Command::new(kosoku);
    command
        .arg(address.to_string())
        .arg("-o")
        .arg(report.path());
    command.args(EXCLUDED.iter().flat_map(|case| ["-x", case]));
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .ok()?;
    let index = std::fs::read_to_string(report.path().join("index.json"));
    let index = index.unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let index: Value = serde_json::from_str(&index).unwrap();
    let agents = index.as_object().unwrap().values();
    let cases = agents.flat_map(|cases| cases.as_object().unwrap());
    let behaviour = |result: &Value| result["behavior"].as_str().unwrap().to_owned();
    Some(
        cases
            .map(|(case, result)| (case.clone(), behaviour(result)))
            .collect(),
    )
}

fn compare(file: &str, behaviours: &Behaviours) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("expected")
        .join(file);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        let text = serde_json::to_string_pretty(behaviours).unwrap();
        std::fs::write(&path, text + "\n").unwrap();
    }
    let expected: Behaviours =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    // Whether a case is passed strictly may depend on how bytes fall into segments.
    let is_failed = |behaviour: &String| behaviour == "FAILED";
    let changed: Vec<_> = behaviours
        .iter()
        .filter(|(case, behaviour)| {
            expected.get(*case).map(is_failed) != Some(is_failed(behaviour))
        })
        .collect();
    assert!(changed.is_empty(), "{file}: {changed:#?}");
    assert_eq!(
        behaviours.len(),
        expected.len(),
        "{file}: cases are missing"
    );
}

async fn echo_all(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let is_data = matches!(message, Message::Text(_) | Message::Binary(_));
        if is_data && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Passes the suite's bytes on, after a handshake that it does not know how to make.
async fn join(mut client: TcpStream, public: SocketAddr, token: &str) {
    let Ok(head) = read_head(&mut client).await else {
        return;
    };
    let (_, lines) = head.split_once("\r\n").unwrap();
    let head = format!("GET /v1/gateway HTTP/1.1\r\nAuthorization: Bearer {token}\r\n{lines}");
    let mut server = TcpStream::connect(public).await.unwrap();
    server.write_all(head.as_bytes()).await.unwrap();
    // However one side ends, the other is ended too.
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
