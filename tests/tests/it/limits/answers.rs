//! What others answer: it costs little, and is printed without what a terminal would obey.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::http::header;
use axum::routing::get;
use flate2::{Compression, write::GzEncoder};
use tests::claim_page::ClaimPage;
use tests::observer::{BOUND, Observer, Prepared, Watched};
use tests::port::free_address;
use tests::wait;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::status;

/// Serves `router` until what is returned is dropped.
async fn serve(router: Router) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("listen");
    let address = listener.local_addr().expect("the address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _ = axum::serve(listener, router).await;
    });
    (address, tasks)
}

/// One line of a list, almost 16 MiB of it; packed it is a thousandth.
fn bomb() -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    let start = br#"{"peer":"1.2.3.4:5","id":[1"#;
    packed.write_all(start).expect("pack");
    packed.write_all(&b",1".repeat(8_000_000)).expect("pack");
    packed.write_all(b"]}\n").expect("pack");
    packed.finish().expect("pack")
}

#[tokio::test]
async fn a_list_that_unpacks_to_millions_of_numbers_costs_no_memory() {
    let body = bomb();
    assert!(body.len() < 32 << 10, "{} bytes", body.len());
    let list = move || {
        let headers = [(header::CONTENT_ENCODING, "gzip")];
        std::future::ready((headers, body.clone()))
    };
    let (address, _server) = serve(Router::new().route("/connections", get(list))).await;
    let page = ClaimPage::serve().await.expect("a page");
    let public = free_address().expect("a port");
    let _listener = TcpListener::bind(public).await.expect("listen");
    // Of a service that nobody was ever seen on, no number would be too high.
    let _visitor = TcpStream::connect(public).await.expect("connect");
    let target = Watched::new("it", &format!(":{}", public.port()), &page.url())
        .with("counts", "established")
        .with("connections-url", &format!("http://{address}/connections"));
    let flags = ["--kernel.backend=sock-diag"];
    let observer = Observer::start_with(&[target], &flags).await;
    let observer = observer.expect("observer").seeded().await.expect("ready");
    let before = status(&observer, "VmHWM");
    // More than whatever other ports have opened meanwhile: it is explained, so the list is asked for.
    page.claim(1_000_000);
    let read = wait::until("the list", BOUND, async || {
        let report = observer.report("it").await?;
        let failure = report["suspects"]["failure"].as_str();
        failure
            .map(str::to_owned)
            .ok_or(anyhow::anyhow!("{report}"))
    });
    let failure = read.await.expect("it was read");
    let grown = status(&observer, "VmHWM") - before;
    assert!(grown < 24 << 10, "{grown} kB more than before");
    assert!(
        failure.ends_with("line 1 is longer than 16384 bytes"),
        "{failure}"
    );
}

#[tokio::test]
async fn what_another_program_says_moves_no_cursor() {
    // What listens where the observer is looked for is some other program.
    let evil = r"\u001b]0;title\u0007\u009b2J\u202e\r\n";
    let list = format!(
        r#"{{"total":1,"matching":1,"sockets":[{{"peer":"{evil}","local":"{evil}",
        "state":"{evil}","class":"{evil}","is_tracked":true,"is_accepted":true,
        "age_seconds":null,"upgraded_seconds":null,"silence_seconds":null,"rtt_seconds":null,
        "bytes_received":null,"bytes_acked":null,"recv_queue":0,"send_queue":0,"cookie":1}}]}}"#
    );
    let answer = move || std::future::ready(list.clone());
    let router = Router::new().route("/api/v1/targets/it/sockets", get(answer));
    let (address, _server) = serve(router).await;
    let targets = [Watched::new("it", ":1", "http://127.0.0.1:1/")];
    let web = format!("--web.listen-address={address}");
    for flags in [&[web.as_str()][..], &[&web, "--output=json"]] {
        let prepared = Prepared::new(&targets, flags).expect("prepare");
        let program = Prepared::program().expect("program");
        let ended = prepared.run(program, "sockets").await.expect("it ends");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(
            ended.stdout.contains(r"\u001b]0;title\u0007\u009b2J\u202e"),
            "{ended:?}"
        );
        for text in [&ended.stdout, &ended.stderr] {
            let is_bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!text.contains(is_bad), "{text:?}");
        }
        // A line of the table is a socket, whatever its peer is called.
        let lines = ended.stdout.lines().filter(|line| line.contains("title"));
        let expected = if flags.len() == 1 { 1 } else { 4 };
        assert_eq!(lines.count(), expected, "{ended:?}");
    }

    // No list at all, and an error that quotes what came instead.
    let router = Router::new().fallback(|| async { "{\"\\u001b[2J\": \x1b[2J" });
    let (address, _server) = serve(router).await;
    let web = format!("--web.listen-address={address}");
    let prepared = Prepared::new(&targets, &[&web]).expect("prepare");
    let program = Prepared::program().expect("program");
    let ended = prepared.run(program, "sockets").await.expect("it ends");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(!ended.stderr.contains('\x1b'), "{ended:?}");
}
