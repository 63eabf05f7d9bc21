//! What the server says of itself: of its process, its build, its pool and the requests at work.

use std::fs;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use tests::database::Database;
use tests::relay::{BOUND, Relay};
use tests::wait;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{scenarios, start};

scenarios!(
    the_pool_shows_what_is_in_use,
    a_request_is_in_flight_until_it_is_answered
);

#[tokio::test]
async fn the_process_is_as_the_kernel_has_it() {
    let started = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let relay = Relay::start(&[]).await.unwrap();
    let page = relay.scrape().await.unwrap();
    let value = |name: &str| page.value(name, &[]).unwrap();
    let start = value("process_start_time_seconds");
    let age = start - started.as_secs_f64();
    assert!((-1.0..60.0).contains(&age), "{age}");
    let status = fs::read_to_string(format!("/proc/{}/status", relay.process.id())).unwrap();
    let kernel = |field: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .unwrap();
        let number = line.trim().trim_end_matches(" kB");
        number.parse::<f64>().unwrap()
    };
    let resident = value("process_resident_memory_bytes") / (kernel("VmRSS:") * 1024.0);
    assert!((0.5..2.0).contains(&resident), "{resident}");
    assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
    let threads = value("process_threads");
    assert!(
        threads >= 2.0 && (threads - kernel("Threads:")).abs() <= 4.0,
        "{threads}"
    );
    assert!(value("process_max_fds") >= value("process_open_fds"));
    for line in [
        "# TYPE process_cpu_seconds_total counter",
        "# TYPE process_open_fds gauge",
    ] {
        assert!(page.text.contains(line), "no {line}");
    }
    let build = page
        .text
        .lines()
        .find(|line| line.starts_with("server_build_info{"));
    let build = build.unwrap();
    assert!(
        build.contains("version=\"0.") && build.ends_with(" 1"),
        "{build}"
    );
    assert!(
        build.contains("revision=\"") && build.contains("rustc=\"1."),
        "{build}"
    );

    // What is opened and what is spent is seen; when it started stays.
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(TcpStream::connect(relay.public).await.unwrap());
    }
    let before = (
        value("process_open_fds"),
        value("process_cpu_seconds_total"),
    );
    let seen = wait::until("descriptors and CPU time", BOUND, async || {
        relay.account().await?;
        let page = relay.scrape().await?;
        let now = |name: &str| page.value(name, &[]);
        assert_eq!(now("process_start_time_seconds")?, start);
        let opened = now("process_open_fds")? - before.0;
        let spent = now("process_cpu_seconds_total")? - before.1;
        anyhow::ensure!(opened >= 20.0 && spent > 0.0, "{opened} and {spent}");
        Ok(())
    });
    seen.await.unwrap();
}

async fn the_pool_shows_what_is_in_use(database: Database) {
    let size = if database.is_sqlite() { 1.0 } else { 2.0 };
    let flags = [format!("--database-connections={size}")];
    let relay = start(&database, &[&flags[0]]).await;
    relay
        .expect("db_pool_max_connections", &[], size)
        .await
        .unwrap();
    let state = async |state: &str, connections: f64| {
        let labels = [("state", state)];
        let shown = relay.expect("db_pool_connections", &labels, connections);
        shown.await.unwrap();
    };
    relay.account().await.unwrap();
    state("in_use", 0.0).await;
    let lock = database.lock().unwrap();
    let waiting = async {
        // Whether it is answered is not the matter here.
        let _ = relay.account().await;
    };
    let look = async {
        state("in_use", 1.0).await;
        drop(lock);
    };
    tokio::join!(waiting, look);
    state("in_use", 0.0).await;
    let page = relay.scrape().await.unwrap();
    let idle = page
        .value("db_pool_connections", &[("state", "idle")])
        .unwrap();
    assert!((1.0..=size).contains(&idle), "{idle}");
}

async fn a_request_is_in_flight_until_it_is_answered(database: Database) {
    let relay = start(&database, &[]).await;
    let account = relay.account().await.unwrap();
    let in_flight = async |requests: f64| {
        let shown = relay.expect("http_requests_in_flight", &[], requests);
        shown.await.unwrap();
    };
    in_flight(0.0).await;
    let half = async || {
        let begun = relay.start_upload(&account, "Content-Length: 2\r\n", b"1");
        begun.await.unwrap()
    };
    let mut answered = half().await;
    in_flight(1.0).await;
    let left = half().await;
    in_flight(2.0).await;
    drop(left);
    in_flight(1.0).await;
    answered.write_all(b"2").await.unwrap();
    in_flight(0.0).await;
    let accounts = tokio::time::timeout(
        Duration::from_secs(20),
        relay.request(Method::POST, "/v1/accounts", None, ""),
    );
    assert_eq!(accounts.await.unwrap().unwrap().status, StatusCode::CREATED);
    in_flight(0.0).await;
}
