//! What one account does, or one part that is slow, hurts nobody else.

use futures_util::future::join_all;
use http::{Method, StatusCode};
use tests::database::Database;
use tests::relay::{Account, BOUND, Relay};
use tests::wait;
use tokio::io::AsyncWriteExt as _;

use super::{scenarios, start};

scenarios!(
    an_ack_of_a_long_backlog_reads_what_it_makes_room_for,
    an_object_that_is_missing_is_no_failure_of_s3,
    a_breaker_closes_where_nobody_asks,
    sessions_wait_for_a_database_that_is_away,
    sessions_that_do_not_read_cost_little_and_hold_up_nobody,
    trickling_uploads_of_one_account_leave_room_for_others,
    one_senders_burst_leaves_room_for_others,
);

/// Sends so many messages of so many bytes, many at a time.
async fn send_many(relay: &Relay, from: &Account, to: &Account, count: usize, size: usize) {
    let body = "x".repeat(size);
    let places: Vec<usize> = (0..count).collect();
    for places in places.chunks(64) {
        let sent = places.iter().map(|_| relay.send(from, to, &body));
        for sent in join_all(sent).await {
            sent.unwrap();
        }
    }
}

async fn an_ack_of_a_long_backlog_reads_what_it_makes_room_for(database: Database) {
    const WINDOW: usize = 256;
    const ACKS: usize = 20;
    let relay = start(&database, &["--unacked-limit=256"]).await;
    let (from, to) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    send_many(&relay, &from, &to, WINDOW + 2 * ACKS, 1).await;
    let mut client = relay.connect(&to).await.unwrap();
    let mut received = Vec::new();
    while received.len() < WINDOW {
        let message = client.receive().await.unwrap();
        received.push(message["id"].as_str().unwrap().to_owned());
    }
    let read = [("statement", "pending_messages"), ("outcome", "ok")];
    let queries = async || {
        let page = relay.scrape().await.unwrap();
        page.value("db_query_duration_seconds_count", &read)
            .unwrap()
    };
    let before = queries().await;
    for place in 0..ACKS {
        // The place of the acked message is another one's.
        let others = client.ack(&received[place]).await.unwrap();
        for message in others {
            received.push(message["id"].as_str().unwrap().to_owned());
        }
        while received.len() <= WINDOW + place {
            let message = client.receive().await.unwrap();
            received.push(message["id"].as_str().unwrap().to_owned());
        }
    }
    let per_ack = (queries().await - before) / ACKS as f64;
    assert!(per_ack <= 1.0, "{per_ack} queries for each ack");
    // All of them, each once, whatever is read from where.
    for place in ACKS..WINDOW + 2 * ACKS {
        for message in client.ack(&received[place]).await.unwrap() {
            received.push(message["id"].as_str().unwrap().to_owned());
        }
        while received.len() < (WINDOW + place + 1).min(WINDOW + 2 * ACKS) {
            let message = client.receive().await.unwrap();
            received.push(message["id"].as_str().unwrap().to_owned());
        }
    }
    let count = received.len();
    received.sort_unstable();
    received.dedup();
    assert_eq!((count, received.len()), (WINDOW + 2 * ACKS, count));
}

async fn an_object_that_is_missing_is_no_failure_of_s3(database: Database) {
    let relay = start(&database, &["--breaker-failures=2"]).await;
    let (account, bystander) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    let upload = async |account: &Account| {
        let uploaded = relay.request(Method::POST, "/v1/attachments", Some(account), "bytes");
        let answer = uploaded.await.unwrap();
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.json().unwrap()["id"].as_str().unwrap().to_owned()
    };
    let id = upload(&account).await;
    // As a rule of the bucket does with what is old.
    let object = database.directory.path().join("s3/attachments").join(&id);
    std::fs::remove_file(object).unwrap();
    let path = format!("/v1/attachments/{id}");
    for _ in 0..6 {
        let answer = relay.request(Method::GET, &path, Some(&account), "").await;
        assert_eq!(answer.unwrap().status, StatusCode::NOT_FOUND);
    }
    upload(&bystander).await;
    let page = relay.scrape().await.unwrap();
    let state = page.value("circuit_breaker_state", &[("breaker", "s3")]);
    assert_eq!(state.unwrap(), 0.0);
    let missing = page.value(
        "s3_download_duration_seconds_count",
        &[("outcome", "missing")],
    );
    assert_eq!(missing.unwrap(), 6.0);
}

async fn a_breaker_closes_where_nobody_asks(database: Database) {
    let flags = [
        "--database-connections=1",
        "--database-timeout=300ms",
        "--breaker-failures=1",
        "--breaker-cool-down=300ms",
    ];
    let relay = start(&database, &flags).await;
    let account = relay.account().await.unwrap();
    let state = async |breaker: &str, state: f64| {
        relay
            .expect("circuit_breaker_state", &[("breaker", breaker)], state)
            .await
            .unwrap();
    };

    let bucket = database.directory.path().join("s3/attachments");
    let elsewhere = bucket.with_extension("elsewhere");
    // A file in the place of a directory, into which nothing can be put.
    std::fs::rename(&bucket, &elsewhere).unwrap();
    std::fs::write(&bucket, "").unwrap();
    let upload = relay.request(Method::POST, "/v1/attachments", Some(&account), "x");
    let status = upload.await.unwrap().status;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    state("s3", 2.0).await;
    std::fs::remove_file(&bucket).unwrap();
    std::fs::rename(&elsewhere, &bucket).unwrap();
    state("s3", 0.0).await;

    let lock = database.lock().unwrap();
    let refused = relay.request(Method::POST, "/v1/accounts", None, "").await;
    assert_eq!(refused.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    state("database", 2.0).await;
    assert_eq!(relay.inspect("/readyz").await.unwrap().status, 503);
    let handshake = relay.connect_rudely(&account).await.unwrap_err();
    assert!(handshake.to_string().contains("503"), "{handshake}");
    drop(lock);
    state("database", 0.0).await;
    assert_eq!(relay.inspect("/readyz").await.unwrap().status, 200);
}

async fn sessions_wait_for_a_database_that_is_away(database: Database) {
    let flags = [
        "--unacked-limit=1",
        "--breaker-failures=1",
        "--breaker-cool-down=300ms",
    ];
    let relay = start(&database, &flags).await;
    let (from, to) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    let mut sent = Vec::new();
    for body in ["0", "1"] {
        sent.push(relay.send(&from, &to, body).await.unwrap());
    }
    let mut client = relay.connect(&to).await.unwrap();
    assert_eq!(client.receive().await.unwrap()["id"], *sent[0]);
    let lock = database.lock().unwrap();
    let refused = relay.request(Method::POST, "/v1/accounts", None, "").await;
    assert_eq!(refused.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    // Its ack cannot become durable, and the message cannot be read again.
    let ack = serde_json::json!({"type": "ack", "id": sent[0]}).to_string();
    client.write(ack.into()).await.unwrap();
    let asked = relay.expect("ws_messages_received_total", &[], 1.0);
    asked.await.unwrap();
    let taken = relay.expect("channel_queue_depth", &[("type", "ack")], 0.0);
    taken.await.unwrap();
    drop(lock);
    client.ack(&sent[0]).await.unwrap();
    assert_eq!(client.receive().await.unwrap()["id"], *sent[1]);
    client.ack(&sent[1]).await.unwrap();
    relay.expect("active_connections", &[], 1.0).await.unwrap();
}

/// The most memory that a process has held. Unit: MiB.
fn peak_memory(relay: &Relay) -> u64 {
    let path = format!("/proc/{}/status", relay.process.id());
    let status = std::fs::read_to_string(path).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.unwrap().trim().trim_end_matches(" kB");
    peak.parse::<u64>().unwrap() / 1024
}

async fn sessions_that_do_not_read_cost_little_and_hold_up_nobody(database: Database) {
    const SESSIONS: usize = 50;
    const MESSAGES: usize = 64;
    let flags = ["--message-rate=10000"];
    let relay = start(&database, &flags).await;
    let (from, to, bystander) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    send_many(&relay, &from, &to, MESSAGES, 60_000).await;
    let before = peak_memory(&relay);
    let deaf = join_all((0..SESSIONS).map(|_| relay.connect_rudely(&to))).await;
    let deaf: Vec<_> = deaf.into_iter().map(Result::unwrap).collect();
    for _ in 0..40 {
        relay.send(&bystander, &from, "x").await.unwrap();
    }
    // Each has been sent all, as far as the kernel's buffers take it, or was given up.
    let served = wait::until("all to be served", BOUND * 3, async || {
        let page = relay.scrape().await?;
        let ended = page.sum("ws_sessions_closed_total");
        let sent = page.value("ws_messages_sent_total", &[])?;
        anyhow::ensure!(
            sent >= MESSAGES as f64 * (SESSIONS as f64 - ended),
            "{sent}"
        );
        Ok(())
    });
    served.await.unwrap();
    drop(deaf);
    // The kernel counts pages by CPU, and sums them up only roughly: the peak may be less than it was.
    let grown = peak_memory(&relay).saturating_sub(before);
    let each = grown * 1024 / SESSIONS as u64;
    // A page of texts, the frame that is being written, and the session itself.
    assert!(each < 512, "{each} KiB for each session that does not read");
    let state = relay.expect("circuit_breaker_state", &[("breaker", "database")], 0.0);
    state.await.unwrap();
}

async fn trickling_uploads_of_one_account_leave_room_for_others(database: Database) {
    let relay = start(
        &database,
        &["--uploads-limit=4", "--account-uploads-limit=3"],
    )
    .await;
    let (account, bystander) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    let mut trickles = Vec::new();
    for place in 1..=8 {
        let trickle = relay.start_upload(&account, "Content-Length: 10\r\n", b"1");
        trickles.push(trickle.await.unwrap());
        let open = relay.expect(
            "http_open_connections",
            &[("port", "public")],
            f64::from(place),
        );
        open.await.unwrap();
    }
    for _ in 0..3 {
        let upload = relay.request(Method::POST, "/v1/attachments", Some(&bystander), "x");
        assert_eq!(upload.await.unwrap().status, StatusCode::CREATED);
    }
    // The account's own turn comes when one of its uploads ends.
    for stream in &mut trickles {
        stream.write_all(b"234567890").await.unwrap();
    }
    let created = [
        ("method", "POST"),
        ("route", "/v1/attachments"),
        ("status", "201"),
    ];
    let created = relay.expect("http_requests_total", &created, 11.0);
    created.await.unwrap();
}

async fn one_senders_burst_leaves_room_for_others(database: Database) {
    const SHARE: usize = 20;
    let relay = start(&database, &["--pending-limit=40"]).await;
    let (burst, other, to) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    let message = serde_json::json!({"to": to.id, "body": "x"});
    let post_many = async |from: &Account, count: usize| {
        let answers = join_all((0..count).map(|_| relay.post(from, &message))).await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        let accepted = answers.iter().filter(|answer| answer.status == 202).count();
        for refused in answers.iter().filter(|answer| answer.status != 202) {
            assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
            assert!(refused.headers.contains_key("retry-after"));
        }
        let last = answers.into_iter().rfind(|answer| answer.status != 202);
        let detail = last.map(|answer| answer.json().unwrap()["detail"].to_string());
        (accepted, detail.unwrap_or_default())
    };
    // Many at a time are stored together.
    let (accepted, detail) = post_many(&burst, 3 * SHARE).await;
    assert_eq!(accepted, SHARE);
    assert!(detail.contains("too many of your messages"), "{detail}");
    // It has room elsewhere, and others have room there.
    relay.send(&burst, &other, "x").await.unwrap();
    assert_eq!(post_many(&other, SHARE).await.0, SHARE);
    let (accepted, detail) = post_many(&to, 1).await;
    assert_eq!(accepted, 0);
    assert!(detail.contains("the recipient has too many"), "{detail}");

    let mut client = relay.connect(&to).await.unwrap();
    let first = client.receive().await.unwrap();
    assert_eq!(first["from"], *burst.id);
    client.ack(first["id"].as_str().unwrap()).await.unwrap();
    // The place is the sender's own again.
    relay.send(&burst, &to, "x").await.unwrap();
}
