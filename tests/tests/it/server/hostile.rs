//! Clients that mean harm or know no better: bounded, answered, counted.

use std::process::Command;
use std::time::Duration;

use http::{Method, StatusCode};
use tests::process::{Process, binary};
use tests::relay::{BOUND, Relay, read_head};
use tests::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Reads to the end of the stream, however it ends.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    // A RST is an end as well.
    let _ = timeout(BOUND, read)
        .await
        .expect("the server ends the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let relay = Relay::start(&["--header-timeout=300ms"]).await.unwrap();
    let mut silent = TcpStream::connect(relay.public).await.unwrap();
    read_to_end(&mut silent).await;
    // The management port is no better to them.
    let mut silent = TcpStream::connect(relay.management).await.unwrap();
    read_to_end(&mut silent).await;
    // A connection that is kept alive is not kept for ever.
    let mut idle = TcpStream::connect(relay.public).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let said = read_to_end(&mut idle).await;
    assert!(said.starts_with("HTTP/1.1 404 "), "{said}");
    let timeouts = [("port", "public"), ("cause", "timeout")];
    relay
        .expect("http_connection_errors_total", &timeouts, 2.0)
        .await
        .unwrap();
    relay
        .expect("http_open_connections", &[("port", "public")], 0.0)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_cut_off() {
    let relay = Relay::start(&["--header-timeout=500ms"]).await.unwrap();
    let mut stream = TcpStream::connect(relay.public).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    wait::until("the connection to be cut off", BOUND, async || {
        // One byte each time the wait looks again.
        match stream.write_all(b"x").await {
            Ok(()) => Err("still open"),
            Err(_) => Ok(()),
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let relay = Relay::start(&[]).await.unwrap();
    let check = async |head: Vec<u8>| {
        let stream = TcpStream::connect(relay.public).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let writing = tokio::spawn(async move {
            // The server stops reading long before the end.
            let _ = writer.write_all(&head).await;
        });
        let mut answer = [0; 12];
        timeout(BOUND, reader.read_exact(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 431");
        writing.abort();
    };
    let mut long = b"GET / HTTP/1.1\r\nX: ".to_vec();
    long.resize(20 << 20, b'x');
    check(long).await;
    let many: String = (0..2000).map(|n| format!("X{n}: y\r\n")).collect();
    check(format!("GET / HTTP/1.1\r\n{many}\r\n").into_bytes()).await;
    let parse = [("port", "public"), ("cause", "parse")];
    relay
        .expect("http_connection_errors_total", &parse, 2.0)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_body_that_lies_or_stalls_is_refused_and_leaves_nothing() {
    let data = tempfile::tempdir().unwrap();
    let flags = ["--body-timeout=500ms", "--attachment-limit=1000"];
    let relay = Relay::start_in(data.path(), &flags).await.unwrap();
    let account = relay.account().await.unwrap();
    let upload =
        async |lines: &str, body: &[u8]| relay.start_upload(&account, lines, body).await.unwrap();
    let status = async |mut stream: TcpStream| {
        let head = read_head(&mut stream).await.unwrap();
        head.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(
        status(upload("Content-Length: 1001\r\n", b"").await).await,
        "413"
    );
    let chunk = [b"400\r\n".to_vec(), vec![b'x'; 0x400], b"\r\n".to_vec()].concat();
    let chunked = upload("Transfer-Encoding: chunked\r\n", &chunk).await;
    assert_eq!(status(chunked).await, "413");
    assert_eq!(
        status(upload("Content-Length: 10\r\n", b"12345").await).await,
        "408"
    );
    drop(upload("Content-Length: 10\r\n", b"12345").await);
    let labels = [
        ("method", "POST"),
        ("route", "/v1/attachments"),
        ("status", "400"),
    ];
    relay
        .expect("http_requests_total", &labels, 1.0)
        .await
        .unwrap();
    let left = std::fs::read_dir(data.path().join("s3/attachments"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "no object is left");
}

#[tokio::test]
async fn more_connections_than_allowed_wait_their_turn() {
    let relay = Relay::start(&["--connections-limit=2"]).await.unwrap();
    let first = TcpStream::connect(relay.public).await.unwrap();
    let _second = TcpStream::connect(relay.public).await.unwrap();
    relay
        .expect("http_open_connections", &[("port", "public")], 2.0)
        .await
        .unwrap();
    let mut third = TcpStream::connect(relay.public).await.unwrap();
    third
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    assert!(
        timeout(Duration::from_millis(300), third.readable())
            .await
            .is_err()
    );
    drop(first);
    let head = read_head(&mut third).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
}

#[tokio::test]
async fn a_server_without_descriptors_comes_back() {
    const DESCRIPTORS: usize = 64;
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -n $1; shift; exec \"$@\"",
        "sh",
        &DESCRIPTORS.to_string(),
    ]);
    command.arg(binary("server").unwrap()).args([
        "--public-address=127.0.0.1:0",
        "--management-address=127.0.0.1:0",
        "--data-dir",
        data.path().to_str().unwrap(),
    ]);
    let relay = Relay::of(Process::start(&mut command).unwrap())
        .await
        .unwrap();
    let mut crowd = Vec::new();
    for _ in 0..2 * DESCRIPTORS {
        crowd.push(TcpStream::connect(relay.public).await.unwrap());
    }
    let mut process = relay.process;
    process
        .wait_for_log("cannot accept connections", BOUND)
        .await
        .unwrap();
    drop(crowd);
    process
        .wait_for_log("accepting connections again", BOUND)
        .await
        .unwrap();
    let relay = Relay { process, ..relay };
    let answer = relay.request(Method::GET, "/", None, "").await.unwrap();
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let page = relay.scrape().await.unwrap();
    assert!(
        page.value("http_accept_errors_total", &[("port", "public")])
            .unwrap()
            > 0.0
    );
    relay
        .expect("http_open_connections", &[("port", "public")], 0.0)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_no_handshake_is_told_so() {
    let relay = Relay::start(&[]).await.unwrap();
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let check = async |request: String| {
        let mut stream = TcpStream::connect(relay.public).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await.unwrap();
        assert!(
            head.starts_with("HTTP/1.1 4") || head.starts_with("HTTP/1.0 4"),
            "{request}: {head}"
        );
    };
    let get = "GET /v1/gateway HTTP/1.1\r\nHost: x\r\n";
    check(format!("{get}{upgrade}{version}\r\n")).await;
    check(format!("{get}{upgrade}{key}\r\n")).await;
    check(format!(
        "{get}{upgrade}{key}Sec-WebSocket-Version: 12\r\n\r\n"
    ))
    .await;
    check(format!("{get}Connection: Upgrade\r\n{key}{version}\r\n")).await;
    check(format!("{get}Upgrade: websocket\r\n{key}{version}\r\n")).await;
    check(format!(
        "POST /v1/gateway HTTP/1.1\r\nHost: x\r\n{upgrade}{key}{version}\r\n"
    ))
    .await;
    check(format!(
        "GET /v1/gateway HTTP/1.0\r\nHost: x\r\n{upgrade}{key}{version}\r\n"
    ))
    .await;
    relay
        .expect("ws_sessions_opened_total", &[], 0.0)
        .await
        .unwrap();
}
