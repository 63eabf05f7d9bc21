//! Messages that are made durable together: each has its own answer, whatever the others are, and
//! whether or not its sender stays for it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::{StatusCode, header};
use serde_json::{Value, json};
use tests::database::{Database, Lock};
use tests::relay::{Account, Relay};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{scenarios, start};

scenarios!(
    a_bad_message_takes_no_other_with_it,
    a_group_takes_every_place_that_is_left_and_no_more,
    a_group_of_many_keeps_its_order,
    a_sender_that_leaves_takes_no_message_with_it,
    a_full_queue_is_answered_and_seen,
);

const STORE: &[(&str, &str)] = &[("type", "store")];
const QUERIES: &str = "db_query_duration_seconds_count";

/// A relay that has one message in its hands and waits for a locked database with it.
struct Held {
    relay: Arc<Relay>,
    from: Account,
    to: Account,
    lock: Lock,
    first: JoinHandle<anyhow::Result<String>>,
    /// Transactions that had stored messages before.
    stored: f64,
}

impl Held {
    async fn start(database: &Database, flags: &[&str]) -> Held {
        let relay = Arc::new(start(database, flags).await);
        let (from, to) = (
            relay.account().await.unwrap(),
            relay.account().await.unwrap(),
        );
        // From here on the sender is known, and nobody asks the locked database for it.
        let before = relay.send(&from, &to, "before").await.unwrap();
        let mut client = relay.connect(&to).await.unwrap();
        client.ack(&before).await.unwrap();
        client.close().await.unwrap();

        let acquired = [("outcome", "acquired")];
        let acquisitions = "db_pool_wait_duration_seconds_count";
        let page = relay.scrape().await.unwrap();
        let taken = page.value(acquisitions, &acquired).unwrap() + 1.0;
        let stored = page.value(QUERIES, &outcome("ok")).unwrap();
        let lock = database.lock().unwrap();
        let first = tokio::spawn({
            let (relay, from, to) = (Arc::clone(&relay), from.clone(), to.clone());
            async move { relay.send(&from, &to, "first").await }
        });
        relay.expect(acquisitions, &acquired, taken).await.unwrap();
        Held {
            relay,
            from,
            to,
            lock,
            first,
            stored,
        }
    }

    /// The statuses of messages that wait behind the first, in this order, and are stored with one
    /// another.
    async fn post_together(self, from: &Account, messages: &[Value]) -> Vec<u16> {
        let mut posted = Vec::new();
        for (waiting, message) in (1..).zip(messages) {
            let (relay, from, message) = (Arc::clone(&self.relay), from.clone(), message.clone());
            posted.push(tokio::spawn(async move {
                relay.post(&from, &message).await.unwrap().status.as_u16()
            }));
            let queued = self
                .relay
                .expect("channel_queue_depth", STORE, f64::from(waiting));
            queued.await.unwrap();
        }
        drop(self.lock);
        self.first.await.unwrap().unwrap();
        let statuses = join_all(posted).await.into_iter();
        statuses.map(|status| status.unwrap()).collect()
    }
}

fn outcome(outcome: &str) -> [(&str, &str); 2] {
    [("statement", "store_messages"), ("outcome", outcome)]
}

/// The bodies that come to the recipient, and whatever comes beyond so many within a moment.
async fn receive(relay: &Relay, to: &Account, count: usize) -> Vec<String> {
    let mut client = relay.connect(to).await.unwrap();
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let message = client.receive().await.unwrap();
        bodies.push(message["body"].as_str().unwrap().to_owned());
    }
    let more = timeout(Duration::from_millis(300), client.receive()).await;
    assert!(more.is_err(), "{more:?} after {bodies:?}");
    bodies.sort();
    bodies
}

async fn a_bad_message_takes_no_other_with_it(database: Database) {
    let held = Held::start(&database, &[]).await;
    let (relay, from, to) = (Arc::clone(&held.relay), held.from.clone(), held.to.clone());
    let stored = held.stored;
    let stranger = "00000000-0000-4000-8000-000000000000";
    let messages = [
        json!({"to": to.id, "body": "good"}),
        // PostgreSQL holds no such text, and ends the transaction that tries.
        json!({"to": to.id, "body": "a\u{0}b"}),
        json!({"to": stranger, "body": "to nobody"}),
        json!({"to": to.id, "body": "with nothing", "attachment": stranger}),
        json!({"to": to.id, "body": "good too"}),
    ];
    let statuses = held.post_together(&from, &messages).await;
    let page = relay.scrape().await.unwrap();
    let is_counted = |name: &str, count: f64| {
        assert_eq!(
            page.value(QUERIES, &outcome(name)).unwrap(),
            count,
            "{name}"
        );
    };
    if database.is_sqlite() {
        assert_eq!(statuses, [202, 202, 422, 422, 202]);
        // One transaction for the first, one for all others.
        is_counted("ok", stored + 2.0);
        let bodies = receive(&relay, &to, 4).await;
        assert_eq!(bodies, ["a\u{0}b", "first", "good", "good too"]);
    } else {
        assert_eq!(statuses, [202, 422, 422, 422, 202]);
        // The five together are refused, and of the five by themselves the one.
        is_counted("refused", 2.0);
        is_counted("ok", stored + 5.0);
        let bodies = receive(&relay, &to, 3).await;
        assert_eq!(bodies, ["first", "good", "good too"]);
    }
}

async fn a_group_takes_every_place_that_is_left_and_no_more(database: Database) {
    // Two places are left beside the first message's.
    let flags = ["--pending-limit=3", "--sender-pending-limit=3"];
    let held = Held::start(&database, &flags).await;
    let (relay, from, to) = (Arc::clone(&held.relay), held.from.clone(), held.to.clone());
    let stranger = "00000000-0000-4000-8000-000000000000";
    let messages = [
        json!({"to": to.id, "body": "with nothing", "attachment": stranger}),
        json!({"to": to.id, "body": "second"}),
        json!({"to": from.id, "body": "to another"}),
        json!({"to": to.id, "body": "third"}),
        json!({"to": to.id, "body": "fourth"}),
    ];
    assert_eq!(
        held.post_together(&from, &messages).await,
        [422, 202, 202, 202, 429]
    );
    assert_eq!(receive(&relay, &to, 3).await, ["first", "second", "third"]);
    assert_eq!(receive(&relay, &from, 1).await, ["to another"]);
}

async fn a_group_of_many_keeps_its_order(database: Database) {
    // More than one statement takes.
    const MANY: usize = 40;
    let held = Held::start(&database, &["--message-rate=1000"]).await;
    let (relay, from, to) = (Arc::clone(&held.relay), held.from.clone(), held.to.clone());
    let bodies: Vec<String> = (0..MANY).map(|body| body.to_string()).collect();
    let messages: Vec<_> = bodies
        .iter()
        .map(|body| json!({"to": to.id, "body": body}))
        .collect();
    assert_eq!(held.post_together(&from, &messages).await, [202; MANY]);
    let mut client = relay.connect(&to).await.unwrap();
    let mut received = Vec::new();
    while received.len() <= MANY {
        let message = client.receive().await.unwrap();
        received.push(message["body"].as_str().unwrap().to_owned());
    }
    assert_eq!(received.remove(0), "first");
    assert_eq!(received, bodies);
}

async fn a_sender_that_leaves_takes_no_message_with_it(database: Database) {
    let Held {
        relay,
        from,
        to,
        lock,
        first,
        ..
    } = Held::start(&database, &[]).await;
    let body = json!({"to": to.id, "body": "farewell"}).to_string();
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        from.token,
        body.len()
    );
    let mut leaver = TcpStream::connect(relay.public).await.unwrap();
    leaver.write_all(request.as_bytes()).await.unwrap();
    let queued = relay.expect("channel_queue_depth", STORE, 1.0);
    queued.await.unwrap();
    drop(leaver);
    let left = [
        ("method", "POST"),
        ("route", "/v1/messages"),
        ("status", "499"),
    ];
    relay
        .expect("http_requests_total", &left, 1.0)
        .await
        .unwrap();
    // Its message stays in the queue, and others go their way with it.
    let (third, ()) = tokio::join!(relay.send(&from, &to, "third"), async {
        let queued = relay.expect("channel_queue_depth", STORE, 2.0);
        queued.await.unwrap();
        drop(lock);
    });
    third.unwrap();
    first.await.unwrap().unwrap();
    let bodies = receive(&relay, &to, 3).await;
    assert_eq!(bodies, ["farewell", "first", "third"]);
}

async fn a_full_queue_is_answered_and_seen(database: Database) {
    let Held {
        relay,
        from,
        to,
        lock,
        first,
        ..
    } = Held::start(&database, &["--store-capacity=2"]).await;
    let (second, third, ()) = tokio::join!(
        relay.send(&from, &to, "second"),
        relay.send(&from, &to, "third"),
        async {
            let full = relay.expect("channel_queue_depth", STORE, 2.0);
            full.await.unwrap();
            let message = json!({"to": to.id, "body": "one too many"});
            let refused = relay.post(&from, &message).await.unwrap();
            assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(refused.headers.contains_key(header::RETRY_AFTER));
            let dropped = relay.expect("channel_dropped_messages", STORE, 1.0);
            dropped.await.unwrap();
            drop(lock);
        }
    );
    for sent in [first.await.unwrap(), second, third] {
        sent.unwrap();
    }
    let bodies = receive(&relay, &to, 3).await;
    assert_eq!(bodies, ["first", "second", "third"]);
    let empty = relay.expect("channel_queue_depth", STORE, 0.0);
    empty.await.unwrap();
}
