//! MPTCP: a connection over several paths is one connection, and a socket for each path.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tests::claim_page::ClaimPage;
use tests::observer::{BOUND, Observer, Watched};
use tests::{kernel_or_skip, skip, wait};

use super::namespace::{self, Namespace, ip};

/// Where a second path of a client begins.
const PATH: &str = "127.0.0.2";
const PORT: u16 = 3000;

/// Both ends of each connection.
type Connections = Vec<[Socket; 2]>;

fn mptcp() -> std::io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP))
}

/// Connections inside of the namespace, over which something was said: the client then adds paths.
fn connect(namespace: &str, count: usize) -> Connections {
    let file = File::open(format!("/run/netns/{namespace}")).expect("the namespace");
    // Only a thread that ends enters it.
    let thread = thread::spawn(move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("enter");
        let address = SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
        let listener = mptcp().expect("a socket");
        listener.bind(&address).expect("bind");
        listener.listen(16).expect("listen");
        let connect = |_| {
            let mut client = mptcp().expect("a socket");
            client.connect(&address).expect("connect");
            let (mut server, _) = listener.accept().expect("accept");
            for socket in [&client, &server] {
                let bound = Some(Duration::from_secs(10));
                socket.set_read_timeout(bound).expect("a limit");
            }
            client.write_all(b"question").expect("send");
            server.read_exact(&mut [0; 8]).expect("receive");
            server.write_all(b"answer").expect("send");
            client.read_exact(&mut [0; 6]).expect("receive");
            [client, server]
        };
        // The listener stays: without one nothing would be watched there.
        let mut connections: Connections = (0..count).map(connect).collect();
        let idle = mptcp().expect("a socket");
        connections.push([idle, listener]);
        connections
    });
    thread.join().expect("connections")
}

#[tokio::test]
async fn a_connection_over_several_paths_is_one_and_a_lost_one_is_missed() {
    if !kernel_or_skip() {
        return;
    }
    if let Some(reason) = namespace::obstacle() {
        return skip(reason);
    }
    if mptcp().is_err() {
        return skip("the kernel has no MPTCP");
    }
    let namespace = Namespace::add("subflows");
    let set_up = ["-n", namespace.name(), "mptcp"];
    let limits = ["limits", "set", "subflow", "2", "add_addr_accepted", "2"];
    let endpoint = ["endpoint", "add", PATH, "dev", "lo", "subflow"];
    for command in [&limits[..], &endpoint] {
        assert!(ip(&[&set_up[..], command].concat()), "ip mptcp {command:?}");
    }
    let connections = connect(namespace.name(), 3);
    let page = ClaimPage::serve().await.expect("page");
    page.claim(3);
    let target = Watched::new("it", &format!(":{PORT}"), &page.url())
        .with("counts", "established")
        .with("netns", &namespace.netns())
        .with("gauge-netns", "self")
        .with("too-wide", "1000000%");
    let observer = Observer::start(&[target]).await.expect("observer");
    let sockets = wait::until("the second paths", BOUND, async || {
        let report = observer.report("it").await?;
        ensure!(report["connections"]["unclassified"] == 6, "{report}");
        ensure!(report["verdict"] == "agree", "{report}");
        anyhow::Ok(())
    });
    sockets.await.expect("two sockets a connection");
    let made = wait::until("checks", BOUND, async || {
        let agree = observer.checks("it").await?.agree;
        ensure!(agree > 20, "{agree}");
        anyhow::Ok(())
    });
    made.await.expect("checks");
    let checks = observer.checks("it").await.expect("checks");
    assert_eq!((checks.under, checks.unsettled), (0, 0), "{checks:?}");

    page.claim(2);
    let under = [("verdict", json!("under")), ("drift", json!(-1))];
    observer.reports("it", &under).await.expect("it is found");
    drop(connections);
}
