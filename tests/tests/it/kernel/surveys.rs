//! The witnesses of many targets are compared together: what that costs does not grow with their number.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::ensure;
use tests::bpf::{self, lose_an_event};
use tests::claim_page::ClaimPage;
use tests::observer::{BOUND, Observer, Prepared};
use tests::{kernel_or_skip, skip, wait};

const TARGETS: usize = 64;

/// Listening sockets, each with a connection.
fn services() -> Vec<(TcpListener, [TcpStream; 2])> {
    let service = |_| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
        let address = listener.local_addr().expect("its address");
        let client = TcpStream::connect(address).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        (listener, [client, server])
    };
    (0..TARGETS).map(service).collect()
}

/// How many targets agree and allow nothing but the truth.
async fn exact(observer: &Observer) -> anyhow::Result<usize> {
    let page = observer.page().await?;
    let mut exact = 0;
    for number in 0..TARGETS {
        let name = format!("t{number}");
        let bound = |metric| page.value(metric, &[("target", &name)]);
        let bounds = [
            bound("observer_kernel_connections_low"),
            bound("observer_kernel_connections_high"),
        ];
        let agrees = [("target", name.as_str()), ("verdict", "agree")];
        let agrees = page.value("observer_verdict", &agrees)?;
        exact +=
            usize::from(agrees > 0.0 && bounds.iter().all(|is| is.as_ref().ok() == Some(&1.0)));
    }
    Ok(exact)
}

/// The fewest agreements of a target so far.
async fn agreements(observer: &Observer) -> anyhow::Result<u64> {
    let page = observer.page().await?;
    let mut fewest = u64::MAX;
    for number in 0..TARGETS {
        let name = format!("t{number}");
        let labels = [("target", name.as_str()), ("verdict", "agree")];
        fewest = fewest.min(page.value("observer_checks_total", &labels)? as u64);
    }
    Ok(fewest)
}

async fn all_are_exact(observer: &Observer) {
    let all = wait::until_equal("exact targets", BOUND, TARGETS, async || {
        exact(observer).await
    });
    all.await.expect("every target is exact");
}

#[tokio::test]
async fn one_loss_lets_all_targets_read_the_map_together() {
    if !kernel_or_skip() {
        return;
    }
    if !bpf::has_bpftool() {
        return skip("bpftool is not installed");
    }
    let services = services();
    let page = ClaimPage::serve().await.expect("a page");
    page.claim(1);
    let mut text = String::new();
    for (number, (listener, _)) in services.iter().enumerate() {
        let address = listener.local_addr().expect("its address");
        let _ = write!(
            text,
            "[[target]]\nname = 't{number}'\nlisten = '{address}'\ngauge-url = ['{}']\n\
             counts = 'established'\ninterval = '1s'\nsettle = '200ms'\ntoo-wide = '1000000%'\n",
            page.url()
        );
    }
    let prepared = Prepared::of_text(&text, &[]).expect("a configuration");
    let program = Prepared::program().expect("the observer");
    let observer = prepared.start(program).await.expect("observer");
    all_are_exact(&observer).await;
    let reads = async || -> anyhow::Result<u64> {
        let page = observer.page().await?;
        Ok(page.value("observer_map_reads_total", &[("map", "SOCKETS")])? as u64)
    };
    let before = reads().await.expect("reads");

    lose_an_event(observer.process.id()).expect("an event is lost");
    // Nobody knows whose it was: each target's interval is wider until its sockets were compared.
    let agreed = agreements(&observer).await.expect("checks");
    let compared = wait::until("a comparison, and checks after it", BOUND, async || {
        let (reads, now) = (reads().await?, agreements(&observer).await?);
        ensure!(
            reads > before && now > agreed + 2,
            "{reads} reads, {now} checks"
        );
        anyhow::Ok(())
    });
    compared.await.expect("they are compared");
    all_are_exact(&observer).await;
    let read = reads().await.expect("reads") - before;
    // A few looks of one comparison, or of two: not one for each target.
    assert!(
        read <= 12,
        "the map was read {read} times for {TARGETS} targets"
    );
    drop(services);
}
