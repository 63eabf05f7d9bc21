//! What survives a server that is killed: every message that got its 202, until it is acked.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use tests::database::Database;
use tests::process::Signal;
use tests::relay::{Account, BOUND, Relay};

use super::{scenarios, start};

scenarios!(nothing_accepted_is_lost_when_the_server_is_killed);

const ROUNDS: usize = 20;
const SENDERS: usize = 4;

async fn nothing_accepted_is_lost_when_the_server_is_killed(database: Database) {
    let mut relay = start(&database, &[]).await;
    let (from, to) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    // What got its 202, and what got the confirmation of its ack.
    let (mut accepted, mut confirmed) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..ROUNDS {
        let load =
            async { join_all((0..SENDERS).map(|_| send_until_it_ends(&relay, &from, &to))).await };
        let receive = receive_until_it_ends(&relay, &to, &confirmed);
        let kill = async {
            // At another moment each time.
            let moment = Duration::from_millis(40 + 23 * (round as u64 % 7));
            tokio::time::sleep(moment).await;
            rustix::process::kill_process(
                rustix::process::Pid::from_raw(relay.process.id() as i32).unwrap(),
                Signal::KILL,
            )
            .unwrap();
        };
        let (sent, acked, ()) = tokio::join!(load, receive, kill);
        accepted.extend(sent.into_iter().flatten());
        confirmed.extend(acked);
        relay.process.wait_for_exit(BOUND).await.unwrap();
        relay = start(&database, &[]).await;
    }
    assert!(accepted.len() > ROUNDS, "{} accepted", accepted.len());
    assert!(!confirmed.is_empty());
    // Whatever was accepted and not confirmed still comes.
    let mut client = relay.connect(&to).await.unwrap();
    let missing = |confirmed: &BTreeSet<String>| accepted.difference(confirmed).count();
    while missing(&confirmed) > 0 {
        let message = client.receive().await.unwrap_or_else(|error| {
            panic!(
                "{error:#}: {} of {} are lost",
                missing(&confirmed),
                accepted.len()
            )
        });
        let id = message["id"].as_str().unwrap().to_owned();
        assert!(
            !confirmed.contains(&id),
            "{id} was confirmed and comes again"
        );
        let ack = serde_json::json!({"type": "ack", "id": id});
        client.write(ack.to_string().into()).await.unwrap();
        confirmed.insert(id);
    }
    let status = relay.process.terminate(BOUND).await.unwrap();
    assert!(status.success(), "{}", relay.process.log());
    if database.is_sqlite() {
        check_integrity(&database);
    }
}

async fn send_until_it_ends(relay: &Relay, from: &Account, to: &Account) -> Vec<String> {
    let mut accepted = Vec::new();
    while let Ok(id) = relay.send(from, to, "x").await {
        accepted.push(id);
    }
    accepted
}

async fn receive_until_it_ends(
    relay: &Relay,
    to: &Account,
    confirmed: &BTreeSet<String>,
) -> BTreeSet<String> {
    let mut fresh = BTreeSet::new();
    let Ok(mut client) = relay.connect(to).await else {
        return fresh;
    };
    loop {
        let Ok(frame) = client.receive().await else {
            return fresh;
        };
        let id = frame["id"].as_str().unwrap().to_owned();
        if frame["type"] == "acked" {
            fresh.insert(id);
            continue;
        }
        let is_again = confirmed.contains(&id) || fresh.contains(&id);
        assert!(!is_again, "{id} was confirmed and comes again");
        let ack = serde_json::json!({"type": "ack", "id": id, "confirm": true});
        if client.write(ack.to_string().into()).await.is_err() {
            return fresh;
        }
    }
}

fn check_integrity(database: &Database) {
    let script = "import sqlite3, sys; \
                  print(sqlite3.connect(sys.argv[1]).execute('pragma integrity_check').fetchone()[0])";
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(database.file())
        .output();
    let Ok(output) = output else {
        return tests::skip("no python3 to check SQLite's integrity with");
    };
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "ok",
        "{output:?}"
    );
}
