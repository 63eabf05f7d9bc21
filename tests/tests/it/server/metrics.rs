//! Act, scrape, assert: every metric of the mission says what was done.

use std::collections::BTreeSet;
use std::time::Duration;

use http::{Method, StatusCode};
use tests::database::Database;
use tests::relay::{Account, Relay, read_head, reset};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{scenarios, start};

scenarios!(
    what_happens_first_adds_no_series,
    requests_are_counted_by_route_and_status,
    a_request_whose_client_left_is_counted_as_499,
    sessions_and_their_messages_are_counted,
    a_full_outbound_queue_is_seen_and_nothing_is_lost,
    a_full_ack_queue_is_seen_and_nothing_is_lost,
    waits_and_statements_are_timed_by_outcome,
    transfers_are_timed_to_their_last_byte_or_their_end,
);

/// The series of a page, without their values.
async fn series(relay: &Relay) -> BTreeSet<String> {
    let text = relay.scrape().await.unwrap().text;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
        .collect()
}

async fn what_happens_first_adds_no_series(database: Database) {
    let relay = start(&database, &[]).await;
    let before = series(&relay).await;

    let account = relay.account().await.unwrap();
    let stranger = Account {
        id: "00000000-0000-4000-8000-000000000000".into(),
        token: "0".repeat(64),
    };
    let mut client = relay.connect(&account).await.unwrap();
    let id = relay.send(&account, &account, "x").await.unwrap();
    assert_eq!(client.receive().await.unwrap()["id"], *id);
    client.ack(&id).await.unwrap();
    client.close().await.unwrap();
    let request = async |method, path: &str, account, body: &str, status: u16| {
        let answer = relay.request(method, path, account, body.to_owned());
        let answer = answer.await.unwrap();
        assert_eq!(answer.status, status, "{path}");
        answer
    };
    let (get, post) = (Method::GET, Method::POST);
    let known = Some(&account);
    let uploaded = request(post.clone(), "/v1/attachments", known, "x", 201).await;
    let path = format!(
        "/v1/attachments/{}",
        uploaded.json().unwrap()["id"].as_str().unwrap()
    );
    request(get.clone(), &path, known, "", 200).await;
    request(get.clone(), &path, Some(&stranger), "", 401).await;
    request(get.clone(), "/v1/attachments/x", known, "", 404).await;
    request(post.clone(), "/v1/messages", known, "{", 400).await;
    request(post.clone(), "/v1/messages", Some(&stranger), "{}", 401).await;
    let nobody = serde_json::json!({"to": stranger.id, "body": ""}).to_string();
    request(post.clone(), "/v1/messages", known, &nobody, 422).await;
    request(get, "/v1/gateway", known, "", 400).await;
    let large = "x".repeat(200_000);
    request(post, "/v1/messages", known, &large, 413).await;

    let after = series(&relay).await;
    let added: Vec<_> = after.difference(&before).collect();
    assert!(added.is_empty(), "{added:#?}");
}

async fn requests_are_counted_by_route_and_status(database: Database) {
    let relay = start(&database, &[]).await;
    let account = relay.account().await.unwrap();
    for _ in 0..3 {
        relay
            .request(Method::GET, "/nothing", None, "")
            .await
            .unwrap();
    }
    relay
        .request(Method::PUT, "/v1/accounts", None, "")
        .await
        .unwrap();
    relay
        .request(Method::GET, "/v1/gateway", Some(&account), "")
        .await
        .unwrap();
    let page = relay.scrape().await.unwrap();
    let check = |method, route, status, expected: f64| {
        let labels = [("method", method), ("route", route), ("status", status)];
        assert_eq!(
            page.value("http_requests_total", &labels).unwrap(),
            expected,
            "{labels:?}"
        );
        let timed = page.value("http_request_duration_seconds_count", &labels[..2]);
        assert_eq!(timed.unwrap(), expected, "{labels:?}");
    };
    check("POST", "/v1/accounts", "201", 1.0);
    check("GET", "unmatched", "404", 3.0);
    check("PUT", "/v1/accounts", "405", 1.0);
    check("GET", "/v1/gateway", "400", 1.0);
}

async fn a_request_whose_client_left_is_counted_as_499(database: Database) {
    let relay = start(&database, &["--uploads-limit=1"]).await;
    let account = relay.account().await.unwrap();
    let first = relay.start_upload(&account, "Content-Length: 10\r\n", b"12345");
    let _first = first.await.unwrap();
    relay
        .expect("http_open_connections", &[("port", "public")], 1.0)
        .await
        .unwrap();
    // The second upload waits for its turn.
    let second = relay.start_upload(&account, "Content-Length: 0\r\n", b"");
    let second = second.await.unwrap();
    relay
        .expect("http_open_connections", &[("port", "public")], 2.0)
        .await
        .unwrap();
    drop(second);
    let labels = [
        ("method", "POST"),
        ("route", "/v1/attachments"),
        ("status", "499"),
    ];
    relay
        .expect("http_requests_total", &labels, 1.0)
        .await
        .unwrap();
    relay
        .expect("http_open_connections", &[("port", "public")], 1.0)
        .await
        .unwrap();
}

async fn sessions_and_their_messages_are_counted(database: Database) {
    let relay = start(&database, &[]).await;
    let (from, to) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    let mut client = relay.connect(&to).await.unwrap();
    relay.expect("active_connections", &[], 1.0).await.unwrap();
    let mut sent = Vec::new();
    for n in 0..3 {
        sent.push(relay.send(&from, &to, &n.to_string()).await.unwrap());
    }
    for id in &sent {
        assert_eq!(client.receive().await.unwrap()["id"], *id);
    }
    // A frame is counted once it is written, and may be read a moment before.
    relay
        .expect("ws_messages_sent_total", &[], 3.0)
        .await
        .unwrap();
    let page = relay.scrape().await.unwrap();
    assert_eq!(page.value("ws_messages_received_total", &[]).unwrap(), 0.0);
    assert_eq!(
        page.value("message_bus_events_published_total", &[])
            .unwrap(),
        3.0
    );
    for id in &sent {
        client.ack(id).await.unwrap();
    }
    // Each ack was confirmed by a frame.
    let page = relay.scrape().await.unwrap();
    relay
        .expect("ws_messages_sent_total", &[], 6.0)
        .await
        .unwrap();
    assert_eq!(page.value("ws_messages_received_total", &[]).unwrap(), 3.0);
    client.close().await.unwrap();
    relay.expect("active_connections", &[], 0.0).await.unwrap();
    let closed = [("reason", "closed_by_peer")];
    relay
        .expect("ws_sessions_closed_total", &closed, 1.0)
        .await
        .unwrap();
}

async fn a_full_outbound_queue_is_seen_and_nothing_is_lost(database: Database) {
    let relay = start(&database, &["--unacked-limit=1", "--outbound-capacity=3"]).await;
    let (from, to) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    let outbound = [("type", "outbound")];
    let mut client = relay.connect(&to).await.unwrap();
    // Once it has read the database, messages come by the queue alone.
    let read = [("statement", "pending_messages"), ("outcome", "ok")];
    relay
        .expect("db_query_duration_seconds_count", &read, 1.0)
        .await
        .unwrap();
    let mut sent = vec![relay.send(&from, &to, "0").await.unwrap()];
    // The first is taken from the queue and not acked; the others stay there.
    relay
        .expect("ws_messages_sent_total", &[], 1.0)
        .await
        .unwrap();
    relay
        .expect("channel_queue_depth", &outbound, 0.0)
        .await
        .unwrap();
    for n in 1..4 {
        sent.push(relay.send(&from, &to, &n.to_string()).await.unwrap());
    }
    relay
        .expect("channel_queue_depth", &outbound, 3.0)
        .await
        .unwrap();
    relay
        .expect("channel_dropped_messages", &outbound, 0.0)
        .await
        .unwrap();
    for n in 4..6 {
        sent.push(relay.send(&from, &to, &n.to_string()).await.unwrap());
    }
    // After the first refusal the session reads the database instead.
    relay
        .expect("channel_dropped_messages", &outbound, 1.0)
        .await
        .unwrap();
    relay
        .expect("channel_queue_depth", &outbound, 3.0)
        .await
        .unwrap();
    for id in &sent {
        assert_eq!(client.receive().await.unwrap()["id"], *id);
        assert!(client.ack(id).await.unwrap().is_empty());
    }
    relay
        .expect("channel_queue_depth", &outbound, 0.0)
        .await
        .unwrap();
}

async fn a_full_ack_queue_is_seen_and_nothing_is_lost(database: Database) {
    let relay = start(&database, &["--ack-capacity=2"]).await;
    let (from, to) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    let mut client = relay.connect(&to).await.unwrap();
    let mut sent = Vec::new();
    for n in 0..4 {
        sent.push(relay.send(&from, &to, &n.to_string()).await.unwrap());
    }
    for id in &sent {
        assert_eq!(client.receive().await.unwrap()["id"], *id);
    }
    let lock = database.lock().unwrap();
    let ack = |id: &String| {
        serde_json::json!({"type": "ack", "id": id})
            .to_string()
            .into()
    };
    client.write(ack(&sent[0])).await.unwrap();
    // The first is on its way to the database, two wait, the last is refused.
    relay
        .expect("ws_messages_received_total", &[], 1.0)
        .await
        .unwrap();
    relay
        .expect("channel_queue_depth", &[("type", "ack")], 0.0)
        .await
        .unwrap();
    for id in &sent[1..] {
        client.write(ack(id)).await.unwrap();
    }
    relay
        .expect("channel_queue_depth", &[("type", "ack")], 2.0)
        .await
        .unwrap();
    relay
        .expect("channel_dropped_messages", &[("type", "ack")], 1.0)
        .await
        .unwrap();
    drop(lock);
    for id in &sent[3..] {
        assert_eq!(client.receive().await.unwrap()["id"], *id, "sent again");
        client.ack(id).await.unwrap();
    }
    relay
        .expect("channel_queue_depth", &[("type", "ack")], 0.0)
        .await
        .unwrap();
}

async fn waits_and_statements_are_timed_by_outcome(database: Database) {
    let flags = [
        "--database-connections=1",
        "--database-timeout=1500ms",
        "--breaker-failures=100",
    ];
    let relay = start(&database, &flags).await;
    // The server looks for what is too old soon after its start, and then not for a minute.
    let swept = [("statement", "doom_objects"), ("outcome", "ok")];
    let swept = relay.expect("db_query_duration_seconds_count", &swept, 1.0);
    swept.await.unwrap();
    let account = relay.account().await.unwrap();
    let stranger = Account {
        id: "00000000-0000-4000-8000-000000000000".into(),
        ..account.clone()
    };
    let answer = relay
        .post(
            &account,
            &serde_json::json!({"to": stranger.id, "body": ""}),
        )
        .await;
    assert_eq!(answer.unwrap().status, StatusCode::UNPROCESSABLE_ENTITY);
    let statement = |statement, outcome| [("statement", statement), ("outcome", outcome)];
    const WAITS: &str = "db_pool_wait_duration_seconds_count";
    let page = relay.scrape().await.unwrap();
    let count = |labels: [(&str, &str); 2]| page.value("db_query_duration_seconds_count", &labels);
    assert_eq!(count(statement("create_account", "ok")).unwrap(), 1.0);
    assert_eq!(count(statement("find_account", "ok")).unwrap(), 1.0);
    assert_eq!(count(statement("store_messages", "ok")).unwrap(), 1.0);
    let waits = |outcome| [("outcome", outcome)];
    assert_eq!(page.value(WAITS, &waits("acquired")).unwrap(), 4.0);

    let lock = database.lock().unwrap();
    let holder = async {
        // Until the lock is gone; SQLite may lose patience before.
        let _ = tokio::time::timeout(Duration::from_secs(3), relay.account()).await;
        drop(lock);
    };
    let waiters = async {
        relay.expect(WAITS, &waits("acquired"), 5.0).await.unwrap();
        tokio::join!(relay.account(), async {
            // Leaves while it waits for the one connection.
            let request = b"POST /v1/accounts HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
            let mut stream = TcpStream::connect(relay.public).await.unwrap();
            stream.write_all(request).await.unwrap();
            relay
                .expect("http_open_connections", &[("port", "public")], 3.0)
                .await
                .unwrap();
            drop(stream);
        })
    };
    let ((), (refused, ())) = tokio::join!(holder, waiters);
    assert!(refused.is_err(), "{refused:?}");
    relay.expect(WAITS, &waits("failed"), 1.0).await.unwrap();
    relay.expect(WAITS, &waits("cancelled"), 1.0).await.unwrap();
}

async fn transfers_are_timed_to_their_last_byte_or_their_end(database: Database) {
    let relay = start(&database, &[]).await;
    let account = relay.account().await.unwrap();
    // More than one part of 5 MiB.
    let bytes: Vec<u8> = (0..8 << 20).map(|n: u32| (n >> 8) as u8).collect();
    let answer = relay.request(
        Method::POST,
        "/v1/attachments",
        Some(&account),
        bytes.clone(),
    );
    let answer = answer.await.unwrap();
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let id = answer.json().unwrap()["id"].as_str().unwrap().to_owned();
    relay
        .expect(
            "s3_upload_duration_seconds_count",
            &[("outcome", "ok")],
            1.0,
        )
        .await
        .unwrap();

    let path = format!("/v1/attachments/{id}");
    let answer = relay
        .request(Method::GET, &path, Some(&account), "")
        .await
        .unwrap();
    assert!(answer.body == bytes, "{} bytes", answer.body.len());
    relay
        .expect(
            "s3_download_duration_seconds_count",
            &[("outcome", "ok")],
            1.0,
        )
        .await
        .unwrap();

    // A client that goes away in the middle, up and down.
    let length = format!("Content-Length: {}\r\n", 10 << 20);
    let upload = relay.start_upload(&account, &length, &bytes[..6 << 20]);
    drop(upload.await.unwrap());
    let cancelled = [("outcome", "cancelled")];
    relay
        .expect("s3_upload_duration_seconds_count", &cancelled, 1.0)
        .await
        .unwrap();
    let mut stream = TcpStream::connect(relay.public).await.unwrap();
    let token = &account.token;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    read_head(&mut stream).await.unwrap();
    reset(stream).unwrap();
    relay
        .expect("s3_download_duration_seconds_count", &cancelled, 1.0)
        .await
        .unwrap();
}
