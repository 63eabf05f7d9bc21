//! What the relay promises: a message arrives, in order, until it is acked; an attachment arrives at
//! whom it was sent.

use http::{Method, StatusCode};
use serde_json::json;
use tests::database::Database;

use super::{scenarios, start};

scenarios!(
    a_message_waits_for_its_recipient_and_is_sent_until_acked,
    an_acked_message_is_never_sent_again,
    every_session_of_an_account_receives,
    messages_keep_their_order_through_a_slow_session,
    an_attachment_is_for_its_owner_and_its_recipients,
    limits_are_answered_with_their_status,
);

/// Of the attachment below.
const SVG_SHA256: &str = "5fd6b6cd55055a7731bf3f50b50f071521c6b68d97111044a75d19fe21cb251b";

async fn a_message_waits_for_its_recipient_and_is_sent_until_acked(database: Database) {
    let relay = start(&database, &[]).await;
    let (from, to) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    let id = relay.send(&from, &to, "hello \"you\"\n").await.unwrap();
    for _ in 0..2 {
        let mut client = relay.connect(&to).await.unwrap();
        let message = client.receive().await.unwrap();
        assert_eq!(message["type"], "message");
        assert_eq!(message["id"], id);
        assert_eq!(message["from"], from.id);
        assert_eq!(message["body"], "hello \"you\"\n");
        assert!(
            message["sent_at"].as_str().unwrap().ends_with('Z'),
            "{message}"
        );
        client.close().await.unwrap();
    }
}

async fn an_acked_message_is_never_sent_again(database: Database) {
    let relay = start(&database, &[]).await;
    let (from, to) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    let first = relay.send(&from, &to, "first").await.unwrap();
    let mut client = relay.connect(&to).await.unwrap();
    assert_eq!(client.receive().await.unwrap()["id"], first);
    client.ack(&first).await.unwrap();
    client.close().await.unwrap();
    let second = relay.send(&from, &to, "second").await.unwrap();
    let mut client = relay.connect(&to).await.unwrap();
    assert_eq!(client.receive().await.unwrap()["id"], second);
    // Nobody acks another's messages.
    let mut stranger = relay.connect(&from).await.unwrap();
    stranger.ack(&second).await.unwrap();
    client.close().await.unwrap();
    let mut client = relay.connect(&to).await.unwrap();
    assert_eq!(client.receive().await.unwrap()["id"], second);
}

async fn every_session_of_an_account_receives(database: Database) {
    let relay = start(&database, &[]).await;
    let (from, to) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    let mut phone = relay.connect(&to).await.unwrap();
    let mut desk = relay.connect(&to).await.unwrap();
    relay.expect("active_connections", &[], 2.0).await.unwrap();
    let id = relay.send(&from, &to, "both").await.unwrap();
    assert_eq!(phone.receive().await.unwrap()["id"], id);
    assert_eq!(desk.receive().await.unwrap()["id"], id);
}

async fn messages_keep_their_order_through_a_slow_session(database: Database) {
    let relay = start(&database, &["--unacked-limit=5", "--outbound-capacity=2"]).await;
    let (from, to) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    let mut client = relay.connect(&to).await.unwrap();
    let mut sent = Vec::new();
    for n in 0..40 {
        sent.push(relay.send(&from, &to, &n.to_string()).await.unwrap());
    }
    let mut waiting = std::collections::VecDeque::new();
    for id in &sent {
        if waiting.is_empty() {
            waiting.push_back(client.receive().await.unwrap());
        }
        assert_eq!(waiting.pop_front().unwrap()["id"], *id);
        waiting.extend(client.ack(id).await.unwrap());
    }
    assert!(waiting.is_empty(), "{waiting:?}");
}

async fn an_attachment_is_for_its_owner_and_its_recipients(database: Database) {
    let relay = start(&database, &[]).await;
    let (owner, friend) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    let page = "<svg onload=alert(1)>";
    let created = relay
        .request(Method::POST, "/v1/attachments", Some(&owner), page)
        .await
        .unwrap();
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    let created = created.json().unwrap();
    assert_eq!(created["size"], page.len());
    assert_eq!(created["sha256"], SVG_SHA256);
    let path = format!("/v1/attachments/{}", created["id"].as_str().unwrap());
    let fetch = |account| relay.request(Method::GET, &path, account, "");
    assert_eq!(fetch(None).await.unwrap().status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        fetch(Some(&friend)).await.unwrap().status,
        StatusCode::NOT_FOUND
    );

    // Only its owner can give it on.
    let message = json!({"to": owner.id, "body": "", "attachment": created["id"]});
    let answer = relay.post(&friend, &message).await.unwrap();
    assert_eq!(
        answer.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{answer:?}"
    );
    let message = json!({"to": friend.id, "body": "", "attachment": created["id"]});
    let answer = relay.post(&owner, &message).await.unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let mut client = relay.connect(&friend).await.unwrap();
    assert_eq!(client.receive().await.unwrap()["attachment"], created["id"]);

    for account in [&owner, &friend] {
        let answer = fetch(Some(account)).await.unwrap();
        assert_eq!(answer.body, page);
        // Whatever was uploaded, a browser is told to save it and never to show it.
        assert_eq!(answer.headers["content-type"], "application/octet-stream");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        let disposition = answer.headers["content-disposition"].to_str().unwrap();
        assert!(disposition.starts_with("attachment"), "{disposition}");
    }
    for trick in [
        "..%2f..%2frelay.db",
        "%2e%2e/relay.db",
        "a%00b",
        "%0d%0aX:%20y",
        "😀",
        "x",
    ] {
        let trick: String = trick
            .chars()
            .map(|c| {
                if c.is_ascii() {
                    c.to_string()
                } else {
                    "%F0%9F%98%80".into()
                }
            })
            .collect();
        let path = format!("/v1/attachments/{trick}");
        let answer = relay
            .request(Method::GET, &path, Some(&owner), "")
            .await
            .unwrap();
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
}

async fn limits_are_answered_with_their_status(database: Database) {
    let flags = [
        "--message-limit=10",
        "--body-limit=1000",
        "--attachment-limit=100",
        "--pending-limit=2",
        "--sender-pending-limit=2",
        "--message-rate=1",
    ];
    let relay = start(&database, &flags).await;
    let (from, to) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    let status =
        async |message: &serde_json::Value| relay.post(&from, message).await.unwrap().status;
    assert_eq!(
        status(&json!({"to": to.id, "body": "x".repeat(11)})).await,
        413
    );
    assert_eq!(
        status(&json!({"to": to.id, "body": "x".repeat(2000)})).await,
        413
    );
    assert_eq!(status(&json!({"to": "../x", "body": ""})).await, 422);
    assert_eq!(status(&json!({"to": to.id})).await, 422);
    assert_eq!(
        status(&json!({"to": to.id, "body": "", "more": 1})).await,
        422
    );
    assert_eq!(status(&json!({"to": to.id, "body": "1"})).await, 202);
    assert_eq!(status(&json!({"to": to.id, "body": "2"})).await, 202);
    assert_eq!(status(&json!({"to": to.id, "body": "3"})).await, 429);
    // The burst is ten; eight are gone.
    assert_eq!(status(&json!({"to": from.id, "body": "1"})).await, 202);
    assert_eq!(status(&json!({"to": from.id, "body": "2"})).await, 202);
    let limited = relay
        .post(&from, &json!({"to": from.id, "body": "3"}))
        .await
        .unwrap();
    assert_eq!(limited.status, 429);
    assert!(limited.headers.contains_key("retry-after"));
    let upload = relay.request(Method::POST, "/v1/attachments", Some(&to), vec![0; 101]);
    assert_eq!(upload.await.unwrap().status, 413);
}
