//! Time: targets are not all asked in the same instant, and the last check of each has a time.

use std::time::{Duration, SystemTime};

use anyhow::ensure;
use tests::observer::{BOUND, Observer, Watched};
use tests::port::free_address;
use tests::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

const TARGETS: usize = 20;
const NAMES: [&str; TARGETS] = [
    "t00", "t01", "t02", "t03", "t04", "t05", "t06", "t07", "t08", "t09", "t10", "t11", "t12",
    "t13", "t14", "t15", "t16", "t17", "t18", "t19",
];

/// A page as simple services have it: a connection at a time, each takes 20 ms, and few may wait.
async fn slow_page() -> (String, JoinSet<()>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(free_address().expect("a port")).expect("bind");
    let listener = socket.listen(5).expect("listen");
    let address = listener.local_addr().expect("the address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4_096]).await;
            // What the service does before it answers.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let body = "active_connections 0\n";
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}");
            let answer = format!("{head}\r\n\r\n{body}");
            // A scraper that has given up meanwhile is of no interest.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (format!("http://{address}/metrics"), tasks)
}

#[tokio::test]
async fn targets_that_share_a_page_are_asked_one_after_the_other() {
    let (url, _page) = slow_page().await;
    let public = free_address().expect("a port");
    let _listener = tokio::net::TcpListener::bind(public).await.expect("listen");
    let target = |name| {
        Watched::new(name, &format!(":{}", public.port()), &url)
            .with("counts", "established")
            .with("interval", "2s")
            .with("scrape-timeout", "300ms")
    };
    let flags = ["--kernel.backend=sock-diag"];
    let observer = Observer::start_with(&NAMES.map(target), &flags).await;
    let observer = observer.expect("observer").seeded().await.expect("ready");
    let checked = wait::until("three checks of each", BOUND, async || {
        for name in NAMES {
            let checks = observer.count_of_checks(name).await?;
            ensure!(checks >= 3, "{name}: {checks}");
        }
        anyhow::Ok(())
    });
    checked.await.expect("they are checked");
    let log = observer.process.log();
    assert!(!log.contains("reason=target_down"), "{log}");

    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.expect("a time").as_secs_f64();
    let page = observer.page().await.expect("page");
    for name in NAMES {
        let value = |metric| page.value(metric, &[("target", name)]).expect(metric);
        let last = value("observer_last_check_timestamp_seconds");
        assert!(
            now - last < 10.0 && last <= now,
            "{name}: {last}, now {now}"
        );
        assert_eq!(value("observer_check_interval_seconds"), 2.0);
    }
}
