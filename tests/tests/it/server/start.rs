//! What the server says when it cannot start, and how it ends.

use std::process::Command;
use std::time::Duration;

use tests::process::{self, Process, Signal};
use tests::relay::{BOUND, Relay};
use tokio::net::{TcpListener, TcpStream};

/// Starts a server that cannot start, and returns its last words.
async fn fail(arguments: &[&str]) -> String {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let fixed = ["--data-dir", data, "--management-address=127.0.0.1:0"];
    let mut process = Process::spawn("server", fixed.iter().chain(arguments)).unwrap();
    let status = process.wait_for_exit(BOUND).await.unwrap();
    assert!(!status.success());
    process.log()
}

#[tokio::test]
async fn a_taken_port_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = fail(&["--public-address", &address]).await;
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains(&format!("cannot listen on {address} (another process")),
        "{said}"
    );
}

#[tokio::test]
async fn an_address_of_another_host_is_one_clear_line() {
    let said = fail(&["--public-address=192.0.2.1:0"]).await;
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("this host has no such address"), "{said}");
}

#[tokio::test]
async fn a_mistake_in_the_settings_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let check = async |arguments: &[&str], expected: &str| {
        let said = fail(arguments).await;
        assert!(said.contains(expected), "{said}");
    };
    std::fs::write(path, "ping-interval = '1s'\nping-intervall = '2s'\n").unwrap();
    check(&["--config", path], "ping-intervall").await;
    check(&["--config", path], "line 2").await;
    std::fs::write(path, "ping-interval = 'soon'\n").unwrap();
    check(&["--config", path], "line 1").await;
    check(&["--config", "/nonexistent"], "/nonexistent").await;
    check(&["--ping-interval=soon"], "--ping-interval").await;
    check(&["--buckets=nothing_seconds=1,2"], "nothing_seconds").await;
    check(
        &["--buckets=http_request_duration_seconds=2,1"],
        "ascending",
    )
    .await;
    check(&["--database-url=mysql://x"], "sqlite:").await;
}

/// The server on a host that trusts no certificate authority.
fn without_authorities(data: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(process::binary("server").unwrap());
    command
        .args(["--data-dir", data, "--public-address=127.0.0.1:0"])
        .arg("--management-address=127.0.0.1:0")
        .args(arguments)
        .env("SSL_CERT_FILE", "/nonexistent")
        .env("SSL_CERT_DIR", "/nonexistent")
        // A cloud's own metadata service is not asked.
        .env("AWS_EC2_METADATA_DISABLED", "true");
    Process::start(&mut command).unwrap()
}

#[tokio::test]
async fn without_certificate_authorities_only_an_s3_by_https_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let mut embedded = without_authorities(data, &[]);
    embedded.wait_for_log("listening", BOUND).await.unwrap();
    drop(embedded);

    let mut remote = without_authorities(data, &["--attachments-bucket=b"]);
    let status = remote.wait_for_exit(BOUND).await.unwrap();
    assert_eq!(status.code(), Some(1));
    let said = remote.log();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("install ca-certificates"), "{said}");
}

/// The address of a database that takes connections, by the kernel's hand, and nothing else.
async fn mute_database() -> (TcpListener, String) {
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://relay@{}/relay", mute.local_addr().unwrap());
    (mute, url)
}

#[tokio::test]
async fn a_database_that_does_not_answer_at_the_start_is_given_up() {
    let (_mute, url) = mute_database().await;
    let said = fail(&[
        "--public-address=127.0.0.1:0",
        "--database-url",
        &url,
        "--database-timeout=300ms",
    ])
    .await;
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("no answer within 300ms"), "{said}");
}

#[tokio::test]
async fn while_the_database_is_awaited_the_server_is_alive_and_can_be_stopped() {
    let (_mute, url) = mute_database().await;
    let port = tests::port::free().unwrap();
    let data = tempfile::tempdir().unwrap();
    let management = format!("127.0.0.1:{port}");
    let mut process = Process::spawn(
        "server",
        [
            "--public-address=127.0.0.1:0",
            "--management-address",
            &management,
            "--data-dir",
            data.path().to_str().unwrap(),
            "--database-url",
            &url,
            "--database-timeout=1h",
        ],
    )
    .unwrap();
    let alive = format!("http://{management}/livez");
    process.wait_for_url(&alive, BOUND).await.unwrap();
    let answer = async |path: &str| {
        let answer = tests::http::get(&format!("http://{management}{path}")).await;
        answer.unwrap()
    };
    let ready = answer("/readyz?verbose").await;
    assert_eq!(
        (ready.status.as_u16(), ready.body.as_str()),
        (503, "starting\n")
    );
    assert_eq!(answer("/connections").await.status, 503);
    let page = answer("/metrics").await.body;
    assert!(page.contains("\nactive_connections 0\n"), "{page}");
    let status = process.terminate(BOUND).await.unwrap();
    assert!(status.success(), "{}", process.log());
}

#[tokio::test]
async fn buckets_are_configurable() {
    let relay = Relay::start(&["--buckets=http_request_duration_seconds=0.5,7"])
        .await
        .unwrap();
    relay.account().await.unwrap();
    let text = relay.scrape().await.unwrap().text;
    let bounds: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("http_request_duration_seconds_bucket"))
        .filter(|line| line.contains("route=\"/v1/accounts\""))
        .filter_map(|line| line.split_once("le=\"")?.1.split_once('"'))
        .map(|(bound, _)| bound)
        .collect();
    assert_eq!(bounds, ["0.5", "7", "+Inf"]);
}

#[tokio::test]
async fn a_second_signal_ends_it_on_the_spot() {
    let mut relay = Relay::start(&["--drain-timeout=1h", "--drain-spread=1h"])
        .await
        .unwrap();
    let account = relay.account().await.unwrap();
    let _first = relay.connect_rudely(&account).await.unwrap();
    let _second = relay.connect_rudely(&account).await.unwrap();
    relay.expect("active_connections", &[], 2.0).await.unwrap();
    relay.process.signal(Signal::INT).unwrap();
    relay.process.wait_for_log("draining", BOUND).await.unwrap();
    relay.process.signal(Signal::TERM).unwrap();
    let status = relay.process.wait_for_exit(BOUND).await.unwrap();
    assert_eq!(status.code(), Some(1), "{}", relay.process.log());
}

#[tokio::test]
async fn a_drain_has_an_end_even_with_a_deaf_client() {
    let mut relay = Relay::start(&["--drain-timeout=2s", "--drain-spread=0s"])
        .await
        .unwrap();
    let account = relay.account().await.unwrap();
    let _deaf = relay.connect_rudely(&account).await.unwrap();
    let _half = relay.start_handshake("X: ").await.unwrap();
    relay
        .expect("http_open_connections", &[("port", "public")], 2.0)
        .await
        .unwrap();
    let status = relay
        .process
        .terminate(Duration::from_secs(10))
        .await
        .unwrap();
    assert!(status.success(), "{}", relay.process.log());
}

#[tokio::test]
async fn an_unspecified_ipv6_address_serves_both_families() {
    if TcpListener::bind("[::1]:0").await.is_err() {
        return tests::skip("this host has no IPv6");
    }
    let data = tempfile::tempdir().unwrap();
    let flags = ["--data-dir", data.path().to_str().unwrap()];
    let mut process = Process::spawn(
        "server",
        flags
            .iter()
            .chain(&["--public-address=[::]:0", "--management-address=[::1]:0"]),
    )
    .unwrap();
    let line = process.wait_for_log("listening", BOUND).await.unwrap();
    let port = line.split_once("public_address=[::]:").unwrap().1;
    let port: u16 = port.split_whitespace().next().unwrap().parse().unwrap();
    for address in ["127.0.0.1", "::1"] {
        let address = (address, port);
        let _stream = TcpStream::connect(address).await.unwrap();
    }
}

#[tokio::test]
async fn who_is_about_to_stop_says_so_before_clients_are_refused() {
    let mut relay = Relay::start(&["--shutdown-delay=3s", "--drain-spread=0s"])
        .await
        .unwrap();
    let account = relay.account().await.unwrap();
    relay.process.signal(Signal::TERM).unwrap();
    relay.process.wait_for_log("leaving", BOUND).await.unwrap();
    let ready = relay.inspect("/readyz?verbose").await.unwrap();
    assert_eq!(ready.status, 503);
    assert!(ready.body.starts_with(b"serving failed\n"), "{ready:?}");
    // Balancers have not all looked yet.
    let mut client = relay.connect(&account).await.unwrap();
    relay.send(&account, &account, "late").await.unwrap();
    assert_eq!(client.receive().await.unwrap()["body"], "late");
    let close = client.read_to_end().await.unwrap().unwrap();
    assert_eq!(u16::from(close.code), 1012);
    let status = relay.process.wait_for_exit(BOUND).await.unwrap();
    assert!(status.success(), "{}", relay.process.log());
}

#[tokio::test]
async fn the_default_file_is_sound_and_a_bad_one_is_named() {
    let mut default = Process::spawn("server", ["config", "default"]).unwrap();
    assert!(default.wait_for_exit(BOUND).await.unwrap().success());
    let text = default.stdout();
    assert!(
        text.contains("\n# public-address = \"0.0.0.0:3000\"\n"),
        "{text}"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let check = async |text: &str| {
        std::fs::write(path, text).unwrap();
        let arguments = ["config", "check", "--config", path];
        let mut check = Process::spawn("server", arguments).unwrap();
        let status = check.wait_for_exit(BOUND).await.unwrap();
        (status.code(), check.stdout(), check.log())
    };
    assert_eq!(
        check(&text).await,
        (Some(0), "ok".to_owned(), String::new())
    );
    for (text, expected) in [
        ("pending-limits = 1", "pending-limits"),
        ("unacked-limit = 0", "`unacked-limit` must be at least 1"),
        (
            "ping-interval = '0s'",
            "`ping-interval` must be longer than 0s",
        ),
        ("database-url = 'mysql://x'", "sqlite:"),
        ("[buckets]\nnothing = [1.0]", "nothing"),
    ] {
        let (code, stdout, log) = check(text).await;
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{text}");
        assert!(log.contains(expected), "{log}");
    }
    // What the check refuses does not start either.
    let said = fail(&["--unacked-limit=0", "--public-address=127.0.0.1:0"]).await;
    assert!(said.contains("`unacked-limit`"), "{said}");
}
