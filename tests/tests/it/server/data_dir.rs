//! The data directory: one server has it, and what is kept there survives a power failure.

use std::fs;
use std::path::Path;
use std::process::Command;

use http::{Method, StatusCode};
use tests::process::{Process, Signal, binary};
use tests::relay::{BOUND, Relay};

const PORTS: [&str; 2] = [
    "--public-address=127.0.0.1:0",
    "--management-address=127.0.0.1:0",
];

#[tokio::test]
async fn a_second_server_on_a_data_directory_is_refused_until_the_first_is_gone() {
    let data = tempfile::tempdir().unwrap();
    let mut first = Relay::start_in(data.path(), &[]).await.unwrap();
    let account = first.account().await.unwrap();
    let directory = data.path().to_str().unwrap();
    let named = ["--data-dir", directory];
    let arguments = PORTS.iter().chain(&named);
    let mut second = Process::spawn("server", arguments).unwrap();
    let status = second.wait_for_exit(BOUND).await.unwrap();
    let said = second.log();
    assert_eq!(status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let holder = format!("{directory} is in use by process {}", first.process.id());
    assert!(
        said.contains(&holder) && said.contains("--data-dir"),
        "{said}"
    );
    // It took nothing from the first.
    first.send(&account, &account, "still here").await.unwrap();

    first.process.signal(Signal::KILL).unwrap();
    first.process.wait_for_exit(BOUND).await.unwrap();
    let third = Relay::start_in(data.path(), &[]).await.unwrap();
    let mut client = third.connect(&account).await.unwrap();
    assert_eq!(client.receive().await.unwrap()["body"], "still here");
}

/// What of an object below `s3` was synced so far, by the kernel's account.
fn synced(trace: &Path) -> Vec<String> {
    let calls = fs::read_to_string(trace).unwrap();
    let paths = calls.lines().filter_map(|line| {
        let (path, result) = line
            .split_once("fsync(")?
            .1
            .split_once('<')?
            .1
            .split_once(">)")?;
        assert!(result.trim_start().starts_with("= 0"), "{line}");
        Some(path.split_once("/s3")?.1.to_owned())
    });
    paths.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attachment_is_on_the_disk_before_its_answer() {
    if Command::new("strace").arg("-V").output().is_err() {
        return tests::skip("no strace");
    }
    let data = tempfile::tempdir().unwrap();
    let trace = data.path().join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-e", "trace=fsync", "-e", "signal=none", "-o"]);
    command
        .arg(&trace)
        .arg(binary("server").unwrap())
        .args(PORTS);
    command.arg("--data-dir").arg(data.path());
    let relay = Relay::of(Process::start(&mut command).unwrap())
        .await
        .unwrap();
    let account = relay.account().await.unwrap();
    // In one piece, and in parts of 5 MiB.
    for size in [1, 6 << 20] {
        let before = synced(&trace).len();
        let upload = relay.request(
            Method::POST,
            "/v1/attachments",
            Some(&account),
            vec![0; size],
        );
        let answer = upload.await.unwrap();
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        let paths = synced(&trace).split_off(before);
        let answer = answer.json().unwrap();
        let object = format!("/attachments/{}", answer["id"].as_str().unwrap());
        let place = |of: &dyn Fn(&str) -> bool| {
            let place = paths.iter().position(|path| of(path));
            place.unwrap_or_else(|| panic!("{size} bytes: {paths:?}"))
        };
        let file = place(&|path| path == object);
        let checksums = place(&|path| path.starts_with("/.bucket-") && path.ends_with(".json"));
        // A directory that is synced first does not name the file yet.
        assert!(place(&|path| path == "/attachments") > file, "{paths:?}");
        assert!(place(&|path| path.is_empty()) > checksums, "{paths:?}");
    }
}

#[tokio::test]
async fn uploads_that_a_former_server_did_not_finish_are_removed_at_the_start() {
    let data = tempfile::tempdir().unwrap();
    let s3 = data.path().join("s3");
    drop(Relay::start_in(data.path(), &[]).await.unwrap());
    let unfinished = [
        ".upload-1.json",
        ".upload_id-1.part-1",
        ".bucket-YQ.object-Yg.upload-1.metadata.json",
    ];
    let unfinished = unfinished.map(|name| s3.join(name));
    for path in &unfinished {
        fs::write(path, "x").unwrap();
    }
    fs::write(s3.join("attachments/kept"), "x").unwrap();
    let _relay = Relay::start_in(data.path(), &[]).await.unwrap();
    assert!(unfinished.iter().all(|path| !path.exists()));
    assert!(s3.join("attachments/kept").exists());
}
