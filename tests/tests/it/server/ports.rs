//! What each port answers, and what a scanner can do to the metrics: nothing.

use futures_util::future::join_all;
use http::Method;
use tests::relay::{BOUND, Relay, read_head};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_never_on_the_public_port() {
    let relay = Relay::start(&[]).await.unwrap();
    let host = relay.public;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let absolute = format!("http://{host}/metrics");
    let management = format!("http://{}/metrics", relay.management);
    let spellings = [
        "/metrics",
        "/metrics/",
        "//metrics",
        "/./metrics",
        "/v1/../metrics",
        "/%6detrics",
        "/METRICS",
        "/metrics?x",
        "/metrics%00",
        "/connections",
        "/livez",
        "/readyz",
        "/healthz",
        "/v1/gateway/../../metrics",
        "/v1/metrics",
        &absolute,
        &management,
    ];
    for spelling in spellings {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            for lines in ["", upgrade, "X-Forwarded-For: 127.0.0.1\r\n"] {
                let mut stream = TcpStream::connect(host).await.unwrap();
                let request =
                    format!("{method} {spelling} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
                stream.write_all(request.as_bytes()).await.unwrap();
                let head = read_head(&mut stream).await.unwrap();
                assert!(
                    head.starts_with("HTTP/1.1 404 "),
                    "{method} {spelling}: {head}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_management_port_answers_its_own_routes_and_no_others() {
    let relay = Relay::start(&[]).await.unwrap();
    let metrics = relay.inspect("/metrics").await.unwrap();
    assert_eq!(
        metrics.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    for path in ["/livez", "/readyz", "/healthz", "/connections"] {
        assert_eq!(relay.inspect(path).await.unwrap().status, 200, "{path}");
    }
    for path in ["/", "/v1/accounts", "/v1/gateway", "/v1/messages", "/debug"] {
        assert_eq!(relay.inspect(path).await.unwrap().status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_of_connections_is_what_is_connected() {
    let relay = Relay::start(&[]).await.unwrap();
    let account = relay.account().await.unwrap();
    let stream = relay.connect_rudely(&account).await.unwrap();
    relay.expect("active_connections", &[], 1.0).await.unwrap();
    let list = relay.inspect("/connections").await.unwrap();
    let line: serde_json::Value = serde_json::from_slice(&list.body).unwrap();
    assert_eq!(line["peer"], stream.local_addr().unwrap().to_string());
    assert!(
        line["id"].is_u64() && line["opened_at"].as_str().unwrap().ends_with('Z'),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scanner_adds_no_series() {
    const CONNECTIONS: usize = 50;
    const REQUESTS: usize = 1000;
    let relay = Relay::start(&[]).await.unwrap();
    let series = async || relay.scrape().await.unwrap().text.lines().count();
    // Every label value that a scanner can bring about, once.
    let methods = [
        "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "PROPFIND",
    ];
    for method in methods {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        relay.request(method, "/x", None, "").await.unwrap();
    }
    let before = series().await;
    // The answer to HEAD says a length and has no body: left out, so that answers can be told apart.
    let scanned_methods = methods.map(|method| if method == "HEAD" { "GET" } else { method });
    let scan = async |connection: usize| {
        let mut stream = TcpStream::connect(relay.public).await.unwrap();
        for request in 0..REQUESTS {
            let method = match request % 20 {
                0 => format!("M{connection}X{request}"),
                n => scanned_methods[n % scanned_methods.len()].to_owned(),
            };
            let head = format!(
                "{method} /{connection}/{request}/.env?{request} HTTP/1.1\r\nHost: h{request}\r\n\
                 User-Agent: a{request}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            skip_response(&mut stream).await;
        }
    };
    join_all((0..CONNECTIONS).map(scan)).await;
    let scanned = async || Ok(relay.scrape().await?.sum("http_requests_total"));
    let expected = (CONNECTIONS * REQUESTS + methods.len()) as f64;
    tests::wait::until_equal("all to be counted", BOUND, expected, scanned)
        .await
        .unwrap();
    assert_eq!(series().await, before);
}

/// Reads a whole response without looking at it.
async fn skip_response(stream: &mut TcpStream) {
    use tokio::io::AsyncReadExt as _;
    let head = read_head(stream).await.unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    if let Some(length) = length {
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_finds_nothing_but_the_name_that_the_mission_fixes() {
    let relay = Relay::start(&[]).await.unwrap();
    let account = relay.account().await.unwrap();
    relay.send(&account, &account, "x").await.unwrap();
    let mut client = relay.connect(&account).await.unwrap();
    let message = client.receive().await.unwrap();
    client.ack(message["id"].as_str().unwrap()).await.unwrap();
    let text = relay.scrape().await.unwrap().text;
    let child = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        return tests::skip("no promtool: it is in Debian's package prometheus");
    };
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, text.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let complaints: Vec<&str> = said
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("channel_dropped_messages "))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    let mut samples: Vec<&str> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap().0)
        .collect();
    let count = samples.len();
    samples.sort_unstable();
    samples.dedup();
    assert_eq!(
        samples.len(),
        count,
        "no series twice, which promtool does not see"
    );
}
