//! A disk without room: what was accepted stays, the rest is refused, and room is enough to go on.
//!
//! The server runs on a small file system of its own, which nobody else sees and which ends with it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use http::{Method, StatusCode, header};
use tests::process::{Process, binary};
use tests::relay::{BOUND, Relay};
use tests::wait;
use tokio::time::timeout;

/// Mounts a file system on the directory, in a mount namespace of the server's own.
const SCRIPT: &str = "mount -t tmpfs -o size=16m tmpfs \"$1\"; shift; exec \"$@\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing_that_was_accepted() {
    if !rustix::process::geteuid().is_root() {
        return tests::skip("needs root, to mount a small file system");
    }
    let mount_point = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", SCRIPT, "sh"]);
    command
        .arg(mount_point.path())
        .arg(binary("server").unwrap());
    command.args([
        "--public-address=127.0.0.1:0",
        "--management-address=127.0.0.1:0",
    ]);
    command.args(["--breaker-cool-down=300ms", "--data-dir"]);
    command.arg(mount_point.path());
    let relay = Relay::of(Process::start(&mut command).unwrap())
        .await
        .unwrap();
    // The server's view of the directory.
    let view = format!(
        "/proc/{}/root{}",
        relay.process.id(),
        mount_point.path().display()
    );
    let ballast = PathBuf::from(view).join("ballast");
    let (from, to) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    let mut accepted = BTreeSet::new();
    for _ in 0..5 {
        accepted.insert(relay.send(&from, &to, "before").await.unwrap());
    }

    fill(&ballast);
    let body = "x".repeat(50_000);
    let mut refused = 0;
    // The write-ahead log has some room left, and gives some back at its checkpoints.
    for _ in 0..50 {
        let message = serde_json::json!({"to": to.id, "body": body});
        let answer = relay.post(&from, &message).await.unwrap();
        if answer.status == StatusCode::ACCEPTED {
            accepted.insert(answer.json().unwrap()["id"].as_str().unwrap().to_owned());
            fill(&ballast);
            continue;
        }
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
        assert!(answer.headers.contains_key(header::RETRY_AFTER));
        refused += 1;
    }
    assert!(
        refused >= 10,
        "{refused} refused, {} accepted",
        accepted.len()
    );
    // Another process sees what is durable.
    assert_eq!(committed(&relay, mount_point.path()), accepted.len());
    let failed = [("statement", "store_messages"), ("outcome", "failed")];
    let page = relay.scrape().await.unwrap();
    assert!(
        page.value("db_query_duration_seconds_count", &failed)
            .unwrap()
            >= 1.0
    );
    let upload = relay.request(Method::POST, "/v1/attachments", Some(&from), body.clone());
    assert_eq!(
        upload.await.unwrap().status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(
        relay.inspect("/livez").await.unwrap().status,
        StatusCode::OK
    );

    fs::remove_file(&ballast).unwrap();
    let sent = wait::until("a message to be accepted", BOUND, async || {
        relay.send(&from, &to, "after").await
    });
    accepted.insert(sent.await.unwrap());
    wait::until("an attachment to be accepted", BOUND, async || {
        let upload = relay.request(Method::POST, "/v1/attachments", Some(&from), body.clone());
        match upload.await.unwrap().status {
            StatusCode::CREATED => Ok(()),
            status => Err(status),
        }
    })
    .await
    .unwrap();
    let mut client = relay.connect(&to).await.unwrap();
    let mut received = BTreeSet::new();
    while received.len() < accepted.len() {
        let id = client.receive().await.unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        received.insert(id);
    }
    assert_eq!(received, accepted);
    // Nothing that was refused comes after all.
    let more = timeout(Duration::from_millis(300), client.receive()).await;
    assert!(more.is_err(), "{more:?}");
    for id in &accepted {
        client.ack(id).await.unwrap();
    }
}

/// How many messages another connection finds.
fn committed(relay: &Relay, directory: &Path) -> usize {
    let script = "import sqlite3, sys; \
                  print(sqlite3.connect(sys.argv[1]).execute('select count(*) from messages').fetchone()[0])";
    let mut command = Command::new("nsenter");
    command.arg(format!("--mount=/proc/{}/ns/mnt", relay.process.id()));
    command
        .args(["python3", "-c", script])
        .arg(directory.join("relay.db"));
    let output = command.output().unwrap();
    let count = String::from_utf8_lossy(&output.stdout);
    count
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("{output:?}"))
}

/// Takes all the room that is left.
fn fill(ballast: &PathBuf) {
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(ballast)
        .unwrap();
    let error = loop {
        if let Err(error) = file.write_all(&[0; 4096]) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
}
