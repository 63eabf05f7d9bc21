//! What the observer says, held against what was really done to the kernel's sockets.

mod bad_input;
mod capacity;
mod classes;
mod cleanup;
mod commanded;
mod endings;
mod frames;
mod half_open;
mod handshakes;
mod ignored;
mod lagging;
mod lists;
mod moving;
mod namespace;
mod openings;
mod orphans;
mod outgoing;
mod overlapping;
mod pages;
mod passing;
mod places;
mod privileges;
mod queried;
mod reloading;
mod same_port;
mod seeding;
pub(crate) mod stage;
mod subflows;
mod surveys;
mod unheard;
mod unix;
mod unseen;
mod upgrades;
pub(crate) mod withheld;
mod workloads;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tests::honest::Honest;
use tests::load::{Crowd, Ending, Kind, Target};
use tests::observer::{BOUND, Observer, Watched};
use tests::port;
use tests::process::Process;

/// The relay's two gauges, watched on one port: its WebSockets and its connections.
pub(crate) fn both_gauges(relay: &Honest) -> [Watched; 2] {
    let target = |name| Watched::new(name, &relay.listen(), &relay.gauge_url());
    [
        target("websockets"),
        target("connections")
            .with("gauge", r#"http_open_connections{port="public"}"#)
            .with("counts", "established"),
    ]
}

/// A loopback address that nobody listens on.
fn address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port::free().expect("port")).into()
}

/// An honest service that shares its port with others of its kind.
async fn worker(public: SocketAddr, management: SocketAddr) -> Process {
    let mut worker = Process::spawn(
        "honest_worker",
        [
            format!("--public-address={public}"),
            format!("--management-address={management}"),
        ],
    )
    .expect("start the worker");
    let page = format!("http://{management}/metrics");
    worker.wait_for_url(&page, BOUND).await.expect("it listens");
    worker
}

/// Clients in a process of their own.
fn clients(kind: &str, port: u16, path: &str, count: usize) -> Process {
    Process::spawn(
        "crowd",
        [
            format!("--address=127.0.0.1:{port}"),
            format!("--kind={kind}"),
            format!("--path={path}"),
            format!("--count={count}"),
        ],
    )
    .expect("start the clients")
}

/// No verdict since the observer was started was over or under.
pub(crate) fn nobody_was_blamed(observer: &Observer) {
    let log = observer.process.log();
    for verdict in ["verdict=over", "verdict=under"] {
        assert!(!log.contains(verdict), "{log}");
    }
}

/// Short connections of both kinds, as fast as they go, until it is told to stop; returns how many.
pub(crate) async fn churn(gateway: Target, stop: Arc<AtomicBool>) -> u64 {
    let crowd = Crowd::new(gateway);
    while !stop.load(Ordering::SeqCst) {
        for (kind, ending) in [
            (Kind::Http, Ending::Reset),
            (Kind::WebSocket, Ending::Reset),
            (Kind::WebSocket, Ending::Clean),
            (Kind::Http, Ending::Fin),
        ] {
            crowd.churn(kind, ending, 50, 16).await.expect("churn");
        }
    }
    crowd.books().ended()
}
