//! What survives a server that is killed: every message that got its 202, until it is acked.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::{Pid, kill_process};
use tests::database::Database;
use tests::process::Signal;
use tests::relay::{Account, BOUND, Client, Relay};
use tokio::time::timeout;

use super::{scenarios, start};

scenarios!(nothing_accepted_is_lost_when_the_server_is_killed);

const ROUNDS: u64 = 20;
const SENDERS: usize = 4;

async fn nothing_accepted_is_lost_when_the_server_is_killed(database: Database) {
    let mut relay = start(&database, &[]).await;
    let (from, to) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    let (mut accepted, mut received) = (BTreeSet::new(), Received::default());
    for round in 0..ROUNDS {
        let senders = (0..SENDERS).map(|_| send_until_it_ends(&relay, &from, &to));
        let kill = async {
            // At another moment each time.
            let moment = Duration::from_millis(40 + 23 * (round % 7));
            tokio::time::sleep(moment).await;
            let id = i32::try_from(relay.process.id()).unwrap();
            kill_process(Pid::from_raw(id).unwrap(), Signal::KILL).unwrap();
        };
        let (sent, (), ()) = tokio::join!(join_all(senders), received.receive(&relay, &to), kill);
        accepted.extend(sent.into_iter().flatten());
        relay.process.wait_for_exit(BOUND).await.unwrap();
        relay = start(&database, &[]).await;
    }
    assert!(
        accepted.len() > SENDERS * ROUNDS as usize / 2,
        "{} accepted",
        accepted.len()
    );
    assert!(!received.confirmed.is_empty());
    // Whatever was accepted and has not come yet still comes.
    let rest = async {
        while !accepted.is_subset(&received.seen) {
            received.receive_rest(&relay, &to).await;
        }
    };
    let is_all = timeout(BOUND, rest).await.is_ok();
    let lost: Vec<_> = accepted.difference(&received.seen).collect();
    assert!(
        is_all,
        "{} of {} are lost: {lost:?}",
        lost.len(),
        accepted.len()
    );
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

/// What has come, over all sessions.
#[derive(Default)]
struct Received {
    seen: BTreeSet<String>,
    /// Those whose acks were confirmed: they must not come again.
    confirmed: BTreeSet<String>,
}

impl Received {
    /// Receives and acks until the server ends.
    async fn receive(&mut self, relay: &Relay, to: &Account) {
        let Ok(mut client) = relay.connect(to).await else {
            return;
        };
        while self.take(&mut client).await.is_ok() {}
    }

    /// Receives and acks on a session of its own until everything that waits has come.
    async fn receive_rest(&mut self, relay: &Relay, to: &Account) {
        let mut client = relay.connect(to).await.unwrap();
        while timeout(Duration::from_secs(1), self.take(&mut client))
            .await
            .is_ok_and(|r| r.is_ok())
        {}
    }

    async fn take(&mut self, client: &mut Client) -> anyhow::Result<()> {
        let frame = client.receive().await?;
        let id = frame["id"].as_str().unwrap().to_owned();
        if frame["type"] == "acked" {
            self.confirmed.insert(id);
            return Ok(());
        }
        assert!(
            !self.confirmed.contains(&id),
            "{id} was confirmed and comes again"
        );
        let ack = serde_json::json!({"type": "ack", "id": id, "confirm": true});
        self.seen.insert(id);
        client.write(ack.to_string().into()).await
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
