//! However the observer ends, nothing of it stays in the kernel, and the service does not notice.

use std::net::Ipv4Addr;

use tests::bpf::{self, Objects};
use tests::honest::Honest;
use tests::load::{Crowd, Ending, Kind};
use tests::observer::{BOUND, Observer};
use tests::process::Signal;
use tests::{kernel_or_skip, skip, wait};

use super::both_gauges;

async fn nothing_is_left_after(signal: Signal) {
    if !kernel_or_skip() {
        return;
    }
    if !bpf::has_bpftool() {
        return skip("bpftool is not installed");
    }
    let relay = Honest::start(Ipv4Addr::LOCALHOST.into())
        .await
        .expect("relay");
    let mut crowd = Crowd::new(relay.gateway(Ipv4Addr::LOCALHOST));
    crowd.open(Kind::WebSocket, 20, 8).await.expect("open");
    let mut observer = Observer::start(&both_gauges(&relay)).await.expect("start");

    let objects = Objects::of_process(observer.process.id()).expect("objects");
    let there = objects.left().expect("bpftool");
    assert_eq!((there.programs.len(), there.links.len()), (2, 2));
    assert!(there.maps.len() >= 6, "{there:?}");
    assert_eq!(there.in_cgroups.len(), 1, "one program is at the cgroup");

    observer.process.signal(signal).expect("signal");
    let status = observer.process.wait_for_exit(BOUND).await.expect("ends");
    assert_eq!(
        status.success(),
        signal != Signal::KILL,
        "{status}: {}",
        observer.process.log()
    );
    let none = Objects::default();
    let gone = wait::until_equal("objects in the kernel", BOUND, none, async || {
        objects.left()
    });
    gone.await.expect("nothing is left");

    // The service goes on: nobody was dropped, and new clients are served.
    crowd.open(Kind::WebSocket, 5, 5).await.expect("open more");
    assert_eq!(crowd.books().open(), 25);
    wait::until_equal("the gauge", BOUND, 25.0, async || {
        relay.gauge("active_connections").await
    })
    .await
    .expect("the service counts on");
    crowd.end_all(Ending::Clean).await;
    assert_eq!(crowd.books().clean, 25);
}

#[tokio::test]
async fn nothing_is_left_in_the_kernel_after_sigint() {
    nothing_is_left_after(Signal::INT).await;
}

#[tokio::test]
async fn nothing_is_left_in_the_kernel_after_sigterm() {
    nothing_is_left_after(Signal::TERM).await;
}

#[tokio::test]
async fn nothing_is_left_in_the_kernel_after_sigkill() {
    nothing_is_left_after(Signal::KILL).await;
}
