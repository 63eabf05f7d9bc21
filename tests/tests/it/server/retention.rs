//! Nothing is kept for ever unless it is to be: what is too old goes, and takes nothing younger with it.

use std::path::Path;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use tests::database::Database;
use tests::process::Signal;
use tests::relay::{Account, BOUND, Relay};
use tests::wait;
use tokio::io::AsyncWriteExt as _;

use super::{scenarios, start};

scenarios!(
    messages_that_nobody_acks_expire_and_younger_ones_arrive,
    without_a_retention_everything_stays,
    an_attachment_expires_once_no_message_waits_for_it,
    an_object_whose_upload_was_cut_off_is_removed,
);

async fn two_accounts(relay: &Relay) -> (Account, Account) {
    let first = relay.account().await.unwrap();
    (first, relay.account().await.unwrap())
}

async fn messages_that_nobody_acks_expire_and_younger_ones_arrive(database: Database) {
    // More than one batch.
    const MESSAGES: usize = 300;
    let relay = start(&database, &["--message-retention=2s"]).await;
    let (from, to) = two_accounts(&relay).await;
    for _ in 0..MESSAGES / 50 {
        for sent in join_all((0..50).map(|_| relay.send(&from, &to, "old"))).await {
            sent.unwrap();
        }
    }
    let expired = relay.expect("messages_expired_total", &[], MESSAGES as f64);
    expired.await.unwrap();
    let young = relay.send(&from, &to, "young").await.unwrap();
    let mut client = relay.connect(&to).await.unwrap();
    assert_eq!(client.receive().await.unwrap()["id"], *young);
    client.ack(&young).await.unwrap();
    let left = database.execute("select count(*) from messages").unwrap();
    assert_eq!(left, "0");
}

async fn without_a_retention_everything_stays(database: Database) {
    let relay = start(&database, &["--attachment-retention=1h"]).await;
    let (from, to) = two_accounts(&relay).await;
    let id = relay.send(&from, &to, "kept").await.unwrap();
    // Ten years later by the database's account; there is no limit to a message's age.
    let older = "update messages set sent_at = 1, id = '00000000-0000-7000-8000-000000000000'";
    database.execute(older).unwrap();
    upload(&relay, &from).await;
    let swept = [("statement", "expire_attachments"), ("outcome", "ok")];
    let swept = relay.expect("db_query_duration_seconds_count", &swept, 1.0);
    swept.await.unwrap();
    let mut client = relay.connect(&to).await.unwrap();
    let message = client.receive().await.unwrap();
    assert_eq!(message["body"], "kept", "{id}");
    let page = relay.scrape().await.unwrap();
    assert_eq!(page.sum("messages_expired_total"), 0.0);
    assert_eq!(page.sum("attachments_expired_total"), 0.0);
    assert_eq!(objects(&database).len(), 1);
}

async fn upload(relay: &Relay, owner: &Account) -> String {
    let uploaded = relay.request(Method::POST, "/v1/attachments", Some(owner), "bytes");
    let answer = uploaded.await.unwrap();
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json().unwrap()["id"].as_str().unwrap().to_owned()
}

/// The files that the embedded S3 keeps: those of objects, and what it keeps beside them.
fn files(database: &Database) -> Vec<String> {
    let s3 = database.directory.path().join("s3");
    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    };
    let beside = names(&s3).into_iter().filter(|name| name != "attachments");
    [beside.collect(), names(&s3.join("attachments"))].concat()
}

fn objects(database: &Database) -> Vec<String> {
    let files = files(database).into_iter();
    files.filter(|name| !name.starts_with('.')).collect()
}

async fn an_attachment_expires_once_no_message_waits_for_it(database: Database) {
    let relay = start(&database, &["--attachment-retention=1s"]).await;
    let (from, to) = two_accounts(&relay).await;
    let (sent, unsent) = (upload(&relay, &from).await, upload(&relay, &from).await);
    let message = serde_json::json!({"to": to.id, "body": "see", "attachment": sent});
    let answer = relay.post(&from, &message).await.unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let message = answer.json().unwrap()["id"].as_str().unwrap().to_owned();
    let status = async |id: &str, account: &Account| {
        let path = format!("/v1/attachments/{id}");
        let answer = relay.request(Method::GET, &path, Some(account), "").await;
        answer.unwrap().status
    };
    let gone = async |attachments: f64| {
        let expired = relay.expect("attachments_expired_total", &[], attachments);
        expired.await.unwrap();
        let removed = relay.expect("s3_objects_removed_total", &[], attachments);
        removed.await.unwrap();
    };
    gone(1.0).await;
    assert_eq!(status(&unsent, &from).await, StatusCode::NOT_FOUND);
    assert_eq!(status(&sent, &to).await, StatusCode::OK);
    assert_eq!(objects(&database), [sent.as_str()]);

    let mut client = relay.connect(&to).await.unwrap();
    assert_eq!(client.receive().await.unwrap()["attachment"], *sent);
    client.ack(&message).await.unwrap();
    gone(2.0).await;
    assert_eq!(status(&sent, &to).await, StatusCode::NOT_FOUND);
    let left = files(&database);
    assert!(left.is_empty(), "{left:?}");
    // What is gone cannot be sent any more.
    let message = serde_json::json!({"to": to.id, "body": "see", "attachment": sent});
    let answer = relay.post(&from, &message).await.unwrap();
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
}

async fn an_object_whose_upload_was_cut_off_is_removed(database: Database) {
    let mut relay = start(&database, &[]).await;
    let account = relay.account().await.unwrap();
    let kept = upload(&relay, &account).await;
    let mut stream = relay
        .start_upload(&account, "Content-Length: 10\r\n", b"12345")
        .await
        .unwrap();
    let begun = [("statement", "begin_upload"), ("outcome", "ok")];
    let begun = relay.expect("db_query_duration_seconds_count", &begun, 2.0);
    begun.await.unwrap();
    // Its bytes arrive, and its row does not.
    let lock = database.lock().unwrap();
    stream.write_all(b"67890").await.unwrap();
    let stored = wait::until("an object", BOUND, async || {
        let count = objects(&database).len();
        if count == 2 { Ok(()) } else { Err(count) }
    });
    stored.await.unwrap();
    relay.process.signal(Signal::KILL).unwrap();
    relay.process.wait_for_exit(BOUND).await.unwrap();
    drop(lock);

    let relay = start(&database, &[]).await;
    let swept = [("statement", "doom_objects"), ("outcome", "ok")];
    let swept = relay.expect("db_query_duration_seconds_count", &swept, 1.0);
    swept.await.unwrap();
    assert_eq!(
        objects(&database).len(),
        2,
        "it is young: its upload may still end"
    );
    drop(relay);
    // An hour later, by the database's account.
    let older = "update unreferenced_objects set since = since - 3600000";
    database.execute(older).unwrap();
    let relay = start(&database, &[]).await;
    let removed = relay.expect("s3_objects_removed_total", &[], 1.0);
    removed.await.unwrap();
    assert_eq!(objects(&database), [kept.as_str()]);
    let left = database.execute("select count(*) from unreferenced_objects");
    assert_eq!(left.unwrap(), "0");
    let path = format!("/v1/attachments/{kept}");
    let answer = relay.request(Method::GET, &path, Some(&account), "").await;
    assert_eq!(answer.unwrap().status, StatusCode::OK);
}
