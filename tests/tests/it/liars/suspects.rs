//! Which connections a drift is about: named to the socket, and nobody else ever.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use tests::load::{Ending, Kind};
use tests::observer::{Observer, Watched};
use tests::process::Process;
use tests::{kernel_or_skip, scripted, wait};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::others::order;
use super::scene::{BOUND, GATEWAY, Scene, suspected};

/// Sessions and their own addresses.
async fn sessions(
    scene: &Scene,
    count: usize,
) -> (Vec<WebSocketStream<TcpStream>>, Vec<SocketAddr>) {
    let mut sessions = Vec::new();
    let mut addresses = Vec::new();
    for _ in 0..count {
        let session = scene.websocket(GATEWAY).await.expect("a session");
        addresses.push(session.get_ref().local_addr().expect("an address"));
        sessions.push(session);
    }
    (sessions, addresses)
}

#[tokio::test]
async fn phantoms_are_named_and_churn_adds_none() {
    let liar = "no_decrement_on_abort";
    let Some(scene) = Scene::start_suspecting(liar, true).await else {
        return;
    };
    let (mut held, addresses) = sessions(&scene, 12).await;
    scene.agrees(12).await;
    for session in held.drain(..5) {
        scripted::reset(session.into_inner()).expect("reset");
    }
    scene.is_caught("over", 5, "staircase_up").await;
    let phantoms = &addresses[..5];
    let report = scene.suspects("connections", "phantom", phantoms).await;
    let sentence = report["sentence"].as_str().expect("a sentence");
    let named = "5 of them listed by the service and not open: 127.0.0.1:";
    assert!(sentence.contains(named), "{sentence}");

    // Hundreds come and go while the lists are taken, and in each look the five are all.
    let crowd = scene.crowd(1).await;
    let churn = crowd.churn(Kind::WebSocket, Ending::Clean, 4_000, 16);
    let looks = async {
        let mut looked = 0;
        for _ in 0..40 {
            let report = scene.report().await.expect("a report");
            let verdict = report["verdict"].as_str().unwrap_or_default();
            if verdict == "over" && !report["suspects"].is_null() {
                assert_eq!(suspected(&report).1, 5, "{report:#}");
                looked += 1;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        looked
    };
    let (churned, looked) = tokio::join!(churn, looks);
    churned.expect("churn");
    assert!(looked > 0, "no look found the drift under churn");
    scene.suspects("connections", "phantom", phantoms).await;

    let (status, said) = scene.check(&["--verbose"]).await;
    assert_eq!(status, Some(2), "{said}");
    assert!(
        said.contains("  suspects  5 by connections, 5 listed\n"),
        "{said}"
    );
    for phantom in phantoms {
        assert!(
            said.contains(&format!("            phantom    {phantom}")),
            "{said}"
        );
    }
}

#[tokio::test]
async fn connections_that_the_service_does_not_list_are_named() {
    let Some(scene) = Scene::start_suspecting("reset_while_open", true).await else {
        return;
    };
    let (_forgotten, addresses) = sessions(&scene, 4).await;
    scene.agrees(4).await;
    order(&scene, "reload").await;
    scene.is_caught("under", -4, "reset").await;
    let (_known, _) = sessions(&scene, 3).await;
    let report = scene.suspects("connections", "uncounted", &addresses).await;
    let suspect = &report["suspects"]["list"][0];
    assert_eq!(
        (&suspect["class"], &suspect["state"]),
        (&"websocket".into(), &"ESTAB".into())
    );
    assert!(suspect["age_seconds"].as_f64() > Some(0.0), "{suspect}");
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
    print("%s:%d" % client.getsockname())
    client.setsockopt(socket.IPPROTO_TCP, 19, 1)
    held.append(client)
"#;

#[tokio::test]
async fn dead_peers_that_are_never_dropped_are_no_drift_and_are_suspected() {
    if Command::new("python3").arg("--version").output().is_err() {
        tests::skip("needs python3, whose clients vanish");
        return;
    }
    let Some(scene) = Scene::start_suspecting("half_open", false).await else {
        return;
    };
    let (alive, _) = sessions(&scene, 5).await;
    let mut talk = JoinSet::new();
    for mut session in alive {
        talk.spawn(async move {
            loop {
                session.send(Message::text("here")).await.expect("send");
                session.next().await.expect("an echo").expect("an echo");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
    }
    let (host, port) = (
        scene.public.ip().to_string(),
        scene.public.port().to_string(),
    );
    let mut python =
        Process::start(Command::new("python3").args(["-c", VANISH, &host, &port, GATEWAY, "3"]))
            .expect("start python3");
    let status = python.wait_for_exit(BOUND).await.expect("it ends");
    assert!(status.success(), "{}", python.log());
    let gone: Vec<SocketAddr> = python
        .stdout()
        .lines()
        .map(|line| line.parse().expect("an address"))
        .collect();
    assert_eq!(gone.len(), 3);
    // The kernel and the service both hold on to the three that are gone.
    scene.agrees(8).await;
    scene.only_agrees_for(6).await;
    let report = scene.suspects("kernel", "silent", &gone).await;
    assert_eq!(report["verdict"], "agree", "{report:#}");
    let silence = &report["suspects"]["list"][0]["silence_seconds"];
    assert!(silence.as_f64() > Some(2.0), "{silence}");
}

/// A service that lists its connections in every way that is of no use.
fn hostile() -> Router {
    let line = |n: u64| format!("{{\"id\":{n},\"peer\":\"10.0.0.1:4242\"}}\n");
    let endless = async || {
        let chunk = Bytes::from("{\"id\":1,\"peer\":\"10.0.0.1:4242\"}\n".repeat(1_000));
        Body::from_stream(stream::repeat_with(move || {
            Ok::<_, Infallible>(chunk.clone())
        }))
    };
    let slow = async || {
        let first = stream::once(async { Ok::<_, Infallible>(Bytes::from("{\"id\":1")) });
        Body::from_stream(first.chain(stream::pending()))
    };
    Router::new()
        .route(
            "/metrics",
            get(async || "# TYPE active_connections gauge\nactive_connections 3\n"),
        )
        .route("/endless", get(endless))
        .route("/slow", get(slow))
        .route("/garbage", get(async || "\0\0 nonsense\n".repeat(1_000)))
        .route("/invalid", get(async || vec![0xff; 4_096]))
        .route("/html", get(async || axum::response::Html("<p>no</p>")))
        .route(
            "/million",
            get(async || "{\"peer\":\"1.2.3.4:5\"}\n".repeat(1_000_000)),
        )
        .route(
            "/many",
            get(async || "{\"peer\":\"1.2.3.4:5\"}\n".repeat(300_000)),
        )
        .route("/twice", get(async move || line(7).repeat(5_000)))
        .route(
            "/others",
            get(async move || (0..5_000).map(line).collect::<String>()),
        )
}

#[tokio::test]
async fn a_hostile_list_is_a_failure_and_the_kernel_is_asked_instead() {
    if !kernel_or_skip() {
        return;
    }
    let any = (Ipv4Addr::LOCALHOST, 0);
    let service = TcpListener::bind(any).await.expect("listen");
    let page = TcpListener::bind(any).await.expect("listen");
    let (service_at, page_at) = (
        service.local_addr().expect("an address"),
        page.local_addr().expect("an address"),
    );
    let mut pages = JoinSet::new();
    pages.spawn(axum::serve(page, hostile()).into_future());
    let failures = [
        // By whichever bound it meets first.
        ("endless", &["more than 262144", "it was still reading"][..]),
        ("slow", &["it was still reading the body"]),
        ("garbage", &["line 1 is no connection"]),
        ("invalid", &["line 1 is no connection"]),
        ("html", &["is this the right URL?"]),
        (
            "million",
            &[
                "the body is larger than 16777216 bytes",
                "it was still reading",
            ],
        ),
        ("many", &["more than 262144 connections are listed"]),
        ("missing", &["status 404"]),
    ];
    let target = |name: &'static str| {
        let gauge = format!("http://{page_at}/metrics");
        Watched::new(name, &format!(":{}", service_at.port()), &gauge)
            .with("counts", "established")
            .with("interval", "3s")
            .with("scrape-timeout", "3s")
            .with("connections-url", &format!("http://{page_at}/{name}"))
    };
    let names = failures.iter().map(|(name, _)| *name);
    let targets: Vec<_> = names.chain(["twice", "others"]).map(target).collect();
    let observer = Observer::start(&targets).await.expect("observer");
    // One has come and gone: of a service that nobody was ever seen to reach, nothing is said.
    let client = TcpStream::connect(service_at).await.expect("connect");
    drop((service.accept().await.expect("accept"), client));
    let report = async |name: &str| {
        wait::until("suspects", BOUND, async || {
            let report = observer.report(name).await?;
            anyhow::ensure!(!report["suspects"].is_null(), "{report:#}");
            Ok(report)
        })
        .await
        .expect("suspects")
    };
    for (name, why) in failures {
        let report = report(name).await;
        let (from, total, _) = suspected(&report);
        assert_eq!((from.as_str(), total), ("kernel", 0), "{report:#}");
        let failure = report["suspects"]["failure"].as_str().expect("a failure");
        let is_said = why.iter().any(|words| failure.contains(words));
        assert!(is_said, "{name}: {failure}");
        assert!(failure.len() < 400, "{name}: {failure}");
    }
    let phantom = ("phantom".to_owned(), "10.0.0.1:4242".to_owned());
    let twice = suspected(&report("twice").await);
    assert_eq!(twice, ("connections".to_owned(), 1, vec![phantom.clone()]));
    let others = suspected(&report("others").await);
    assert_eq!(
        others,
        ("connections".to_owned(), 5_000, vec![phantom; 100])
    );
    drop(service);
}
