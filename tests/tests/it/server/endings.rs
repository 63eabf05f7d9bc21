//! Every way in which a session or a handshake ends: the gauges return to exactly what they were.

use std::time::Duration;

use futures_util::future::join_all;
use tests::database::Database;
use tests::relay::{Account, BOUND, Relay, read_head, reset};
use tests::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::{scenarios, start};

scenarios!(
    every_ending_is_counted_once_and_leaves_nothing,
    a_rejected_handshake_never_moves_the_gauge,
    a_handshake_without_an_end_never_moves_the_gauge,
    one_session_too_many_of_an_account_ends_its_oldest,
    a_client_that_sends_too_many_frames_is_ended,
    a_silent_client_is_ended_by_its_ping,
    a_client_that_does_not_read_is_ended,
    a_drain_closes_every_session_and_ends_with_success,
    ten_thousand_mixed_endings_leave_nothing,
);

/// One session stays open throughout: the former value is not only 0.
async fn start_with_one_session(
    database: &Database,
    flags: &[&str],
) -> (Relay, Account, TcpStream) {
    let relay = start(database, flags).await;
    let account = relay.account().await.unwrap();
    let bystander = relay.account().await.unwrap();
    let stream = relay.connect_rudely(&bystander).await.unwrap();
    relay.expect("active_connections", &[], 1.0).await.unwrap();
    (relay, account, stream)
}

async fn expect_nothing_left(relay: &Relay) {
    relay.expect("active_connections", &[], 1.0).await.unwrap();
    relay
        .expect("channel_queue_depth", &[("type", "outbound")], 0.0)
        .await
        .unwrap();
    relay
        .expect("channel_queue_depth", &[("type", "ack")], 0.0)
        .await
        .unwrap();
    relay
        .expect("http_open_connections", &[("port", "public")], 1.0)
        .await
        .unwrap();
    let sessions = relay.inspect("/connections").await.unwrap().body;
    assert_eq!(
        sessions.iter().filter(|&&byte| byte == b'\n').count(),
        1,
        "{sessions:?}"
    );
}

async fn expect_closed(relay: &Relay, reason: &str, count: f64) {
    relay
        .expect("ws_sessions_closed_total", &[("reason", reason)], count)
        .await
        .unwrap();
}

/// A masked frame with the mask 0, as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(length @ 0..126) => frame.push(0x80 | length as u8),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// Sends bytes on a new session and returns the close code that the server answers.
async fn provoke(relay: &Relay, account: &Account, bytes: &[u8]) -> u16 {
    let mut stream = relay.connect_rudely(account).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut header = [0; 4];
    tokio::time::timeout(BOUND, stream.read_exact(&mut header))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(header[0], 0x88, "a close frame");
    u16::from_be_bytes([header[2], header[3]])
}

async fn every_ending_is_counted_once_and_leaves_nothing(database: Database) {
    let (relay, account, _bystander) =
        start_with_one_session(&database, &["--frame-limit=1000"]).await;

    relay
        .connect(&account)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    expect_closed(&relay, "closed_by_peer", 1.0).await;
    expect_nothing_left(&relay).await;

    drop(relay.connect_rudely(&account).await.unwrap());
    expect_closed(&relay, "peer_gone", 1.0).await;
    expect_nothing_left(&relay).await;

    reset(relay.connect_rudely(&account).await.unwrap()).unwrap();
    expect_closed(&relay, "peer_gone", 2.0).await;
    expect_nothing_left(&relay).await;

    // It ends in the middle of a frame.
    let mut stream = relay.connect_rudely(&account).await.unwrap();
    stream.write_all(&frame(0x81, b"{}")[..4]).await.unwrap();
    drop(stream);
    expect_closed(&relay, "peer_gone", 3.0).await;
    expect_nothing_left(&relay).await;

    let check = async |name, bytes: &[u8], code, reason| {
        assert_eq!(provoke(&relay, &account, bytes).await, code, "{name}");
        expect_closed(&relay, reason, 1.0).await;
        expect_nothing_left(&relay).await;
    };
    check("too big", &frame(0x81, &[b' '; 1001]), 1009, "too_big").await;
    check("unmasked", &[0x81, 2, b'{', b'}'], 1002, "protocol").await;
    check("not UTF-8", &frame(0x81, &[0xff]), 1007, "not_text").await;
    check("binary", &frame(0x82, b"{}"), 1003, "binary").await;
    check("not JSON", &frame(0x81, b"{"), 1008, "not_understood").await;
    let page = relay.scrape().await.unwrap();
    let opened = page.value("ws_sessions_opened_total", &[]).unwrap();
    assert_eq!(opened - page.sum("ws_sessions_closed_total"), 1.0);
}

async fn a_rejected_handshake_never_moves_the_gauge(database: Database) {
    let flags = [
        "--sessions-limit=2",
        "--allowed-origins=https://app.example",
    ];
    let (relay, account, _bystander) = start_with_one_session(&database, &flags).await;
    let _own = relay.connect_rudely(&account).await.unwrap();
    relay.expect("active_connections", &[], 2.0).await.unwrap();
    let before = relay.scrape().await.unwrap();
    let bearer = format!("Authorization: Bearer {}\r\n", account.token);
    let protocol = |token: &str| format!("Sec-WebSocket-Protocol: bearer, {token}\r\n");
    let check = async |lines: String, status: &str| {
        let mut stream = relay.start_handshake(&lines).await.unwrap();
        let head = read_head(&mut stream).await.unwrap();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{lines}: {head}"
        );
    };
    check(String::new(), "401").await;
    check("Authorization: Bearer x\r\n".into(), "401").await;
    check(
        format!("Authorization: Bearer {}\r\n", "0".repeat(64)),
        "401",
    )
    .await;
    check(protocol("x"), "401").await;
    check(format!("{bearer}Origin: https://evil.example\r\n"), "403").await;
    check(format!("{bearer}Origin: null\r\n"), "403").await;
    check(bearer.clone(), "503").await;
    check(format!("{bearer}Origin: https://app.example\r\n"), "503").await;
    check(protocol(&account.token), "503").await;
    let after = relay.scrape().await.unwrap();
    for name in ["active_connections", "ws_sessions_opened_total"] {
        assert_eq!(
            after.value(name, &[]).unwrap(),
            before.value(name, &[]).unwrap(),
            "{name}"
        );
    }
    relay
        .expect("ws_sessions_refused_total", &[("reason", "too_many")], 3.0)
        .await
        .unwrap();
}

async fn a_handshake_without_an_end_never_moves_the_gauge(database: Database) {
    let (relay, account, _bystander) = start_with_one_session(&database, &[]).await;
    // Before the handler runs: half a head.
    let mut stream = TcpStream::connect(relay.public).await.unwrap();
    stream
        .write_all(b"GET /v1/gateway HTTP/1.1\r\nHost: x\r\n")
        .await
        .unwrap();
    drop(stream);
    expect_nothing_left(&relay).await;

    // While the handler waits for the database.
    let lock = database.lock().unwrap();
    let bearer = format!("Authorization: Bearer {}\r\n", account.token);
    let stream = relay.start_handshake(&bearer).await.unwrap();
    relay
        .expect("http_open_connections", &[("port", "public")], 2.0)
        .await
        .unwrap();
    drop(stream);
    if database.is_sqlite() {
        // One connection, and the lock has it: the statement waits in its thread.
        drop(lock);
    } else {
        let labels = [
            ("method", "GET"),
            ("route", "/v1/gateway"),
            ("status", "499"),
        ];
        relay
            .expect("http_requests_total", &labels, 1.0)
            .await
            .unwrap();
        drop(lock);
    }
    expect_nothing_left(&relay).await;

    // Between the 101 and the upgrade: gone before the answer can be read.
    for _ in 0..50 {
        reset(relay.start_handshake(&bearer).await.unwrap()).unwrap();
    }
    expect_nothing_left(&relay).await;
    wait::until("opened and closed to agree", BOUND, async || {
        let page = relay.scrape().await.map_err(|error| error.to_string())?;
        let opened = page.value("ws_sessions_opened_total", &[]).unwrap();
        let closed = page.sum("ws_sessions_closed_total");
        if opened - closed == 1.0 {
            Ok(())
        } else {
            Err(format!("{opened} {closed}"))
        }
    })
    .await
    .unwrap();
}

async fn one_session_too_many_of_an_account_ends_its_oldest(database: Database) {
    let flags = ["--account-sessions-limit=2"];
    let (relay, account, _bystander) = start_with_one_session(&database, &flags).await;
    let mut oldest = relay.connect(&account).await.unwrap();
    // The handshake's answer may come before the session is open.
    relay.expect("active_connections", &[], 2.0).await.unwrap();
    let _middle = relay.connect(&account).await.unwrap();
    relay.expect("active_connections", &[], 3.0).await.unwrap();
    let mut newest = relay.connect(&account).await.unwrap();
    let close = oldest.read_to_end().await.unwrap().expect("a close frame");
    assert_eq!(u16::from(close.code), 4409);
    expect_closed(&relay, "replaced", 1.0).await;
    relay.expect("active_connections", &[], 3.0).await.unwrap();
    let sender = relay.account().await.unwrap();
    let id = relay.send(&sender, &account, "x").await.unwrap();
    assert_eq!(newest.receive().await.unwrap()["id"], id);
    drop((newest, _middle));
    expect_nothing_left(&relay).await;
}

async fn a_client_that_sends_too_many_frames_is_ended(database: Database) {
    let flags = ["--frame-rate=2"];
    let (relay, account, _bystander) = start_with_one_session(&database, &flags).await;
    let ack = serde_json::json!({"type": "ack", "id": account.id}).to_string();
    let check = async |frame: Message, count: f64| {
        let mut client = relay.connect(&account).await.unwrap();
        // The burst is ten times the rate; what the server has closed may refuse the last ones.
        for _ in 0..25 {
            let _ = client.write(frame.clone()).await;
        }
        let close = client.read_to_end().await.unwrap().expect("a close frame");
        assert_eq!(u16::from(close.code), 1008);
        expect_closed(&relay, "too_many_frames", count).await;
        expect_nothing_left(&relay).await;
    };
    check(Message::text(ack), 1.0).await;
    check(Message::Ping(Default::default()), 2.0).await;
}

async fn a_silent_client_is_ended_by_its_ping(database: Database) {
    let flags = ["--ping-interval=100ms", "--pong-timeout=200ms"];
    let relay = start(&database, &flags).await;
    let account = relay.account().await.unwrap();
    // It reads nothing and answers nothing, but its kernel acknowledges.
    let _silent = relay.connect_rudely(&account).await.unwrap();
    expect_closed(&relay, "ping_timeout", 1.0).await;
    relay.expect("active_connections", &[], 0.0).await.unwrap();
    // A client that answers pings stays through many of them.
    let mut client = relay.connect(&account).await.unwrap();
    let reading = tokio::spawn(async move { client.read_to_end().await });
    relay.expect("active_connections", &[], 1.0).await.unwrap();
    let outlived = tokio::time::timeout(Duration::from_secs(1), reading).await;
    assert!(outlived.is_err(), "{outlived:?}");
    relay.expect("active_connections", &[], 1.0).await.unwrap();
}

async fn a_client_that_does_not_read_is_ended(database: Database) {
    let flags = ["--write-timeout=300ms", "--message-rate=10000"];
    let relay = start(&database, &flags).await;
    let (from, to) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    let _deaf = relay.connect_rudely(&to).await.unwrap();
    let mut other = relay.connect(&from).await.unwrap();
    let body = "x".repeat(60_000);
    let slow = [("reason", "slow_consumer")];
    // Until the kernel's buffers are full: some megabytes.
    wait::until("the slow consumer to be ended", BOUND * 3, async || {
        for _ in 0..10 {
            relay
                .send(&from, &to, &body)
                .await
                .map_err(|error| format!("{error:#}"))?;
        }
        let page = relay.scrape().await.map_err(|error| format!("{error:#}"))?;
        let ended = page.value("ws_sessions_closed_total", &slow);
        ended
            .is_ok_and(|ended| ended > 0.0)
            .then_some(())
            .ok_or("not yet".to_owned())
    })
    .await
    .unwrap();
    relay
        .expect("channel_queue_depth", &[("type", "outbound")], 0.0)
        .await
        .unwrap();
    // Others are served as before.
    let id = relay.send(&to, &from, "quick").await.unwrap();
    assert_eq!(other.receive().await.unwrap()["id"], id);
    relay.expect("active_connections", &[], 1.0).await.unwrap();
}

async fn a_drain_closes_every_session_and_ends_with_success(database: Database) {
    let mut relay = start(&database, &["--drain-spread=2s", "--drain-timeout=5s"]).await;
    let account = relay.account().await.unwrap();
    let clients: Vec<_> = join_all((0..50).map(|_| relay.connect(&account)))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    relay.expect("active_connections", &[], 50.0).await.unwrap();
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| tokio::spawn(async move { client.read_to_end().await }))
        .collect();
    relay.process.signal(tests::process::Signal::TERM).unwrap();
    wait::until("not to be ready", BOUND, async || {
        let status = relay
            .inspect("/readyz")
            .await
            .map_err(|error| error.to_string())?
            .status;
        if status == 503 {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await
    .unwrap();
    // The management port goes last: the drain can be watched on it.
    let page = relay.scrape().await.unwrap();
    assert!(page.value("active_connections", &[]).unwrap() <= 50.0);
    assert!(
        TcpStream::connect(relay.public).await.is_err(),
        "no new connections"
    );
    for reader in readers {
        let close = reader.await.unwrap().unwrap().expect("a close frame");
        assert_eq!(u16::from(close.code), 1012);
    }
    let status = relay.process.wait_for_exit(BOUND).await.unwrap();
    assert!(status.success(), "{status}: {}", relay.process.log());
}

async fn ten_thousand_mixed_endings_leave_nothing(database: Database) {
    const TASKS: usize = 40;
    const ROUNDS: usize = 250;
    // The bystander answers no ping, however long this takes.
    let flags = ["--ping-interval=1h"];
    let (relay, account, _bystander) = start_with_one_session(&database, &flags).await;
    let sender = relay.account().await.unwrap();
    // Some messages wait, so that sessions end while they send.
    for _ in 0..3 {
        relay
            .send(&sender, &account, &"x".repeat(1000))
            .await
            .unwrap();
    }
    let task = async |task: usize| {
        for round in 0..ROUNDS {
            match (task + round) % 8 {
                0 => relay
                    .connect(&account)
                    .await
                    .unwrap()
                    .close()
                    .await
                    .unwrap(),
                1 => drop(relay.connect_rudely(&account).await.unwrap()),
                2 => reset(relay.connect_rudely(&account).await.unwrap()).unwrap(),
                3 => {
                    let lines = format!("Authorization: Bearer {}\r\n", account.token);
                    reset(relay.start_handshake(&lines).await.unwrap()).unwrap();
                }
                4 => drop(relay.start_handshake("Origin: null\r\n").await.unwrap()),
                5 => {
                    let mut client = relay.connect(&account).await.unwrap();
                    client.write(Message::binary(vec![0])).await.unwrap();
                    client.read_to_end().await.unwrap();
                }
                6 => {
                    let mut stream = relay.connect_rudely(&account).await.unwrap();
                    stream.write_all(&[0x81, 2, b'{', b'}']).await.unwrap();
                    drop(stream);
                }
                _ => {
                    let mut stream = TcpStream::connect(relay.public).await.unwrap();
                    stream.write_all(b"GET /v1/gateway HTT").await.unwrap();
                    reset(stream).unwrap();
                }
            }
        }
    };
    join_all((0..TASKS).map(task)).await;
    expect_nothing_left(&relay).await;
    let page = relay.scrape().await.unwrap();
    let opened = page.value("ws_sessions_opened_total", &[]).unwrap();
    assert_eq!(opened - page.sum("ws_sessions_closed_total"), 1.0);
    // Five of eight are sessions for certain; of the fourth the kernel may eat some.
    assert!(opened >= (TASKS * ROUNDS) as f64 * 5.0 / 8.0, "{opened}");
}
