//! Connections whose handshake is not complete: a SYN flood is no crowd.

use std::net::SocketAddr;
use std::process::Command;

use socket2::{Domain, SockFilter, Socket, Type};
use tests::kernel_or_skip;
use tests::observer::BOUND;
use tests::scripted::UPGRADE;
use tests::wait;

use super::stage::{Stage, unclassified, websockets};

/// Handshakes that come to no end.
const FLOOD: usize = 200;

/// A client that has sent its SYN and hears no answer: its filter lets nothing in.
fn half_open(to: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    // BPF_RET | BPF_K, 0 bytes: the kernel drops every packet before TCP sees it.
    let drop_all = SockFilter::new(0x06, 0, 0, 0);
    socket.attach_filter(&[drop_all]).expect("attach a filter");
    socket.set_nonblocking(true).expect("do not wait");
    let error = socket.connect(&to.into()).expect_err("it takes a while");
    assert_eq!(error.raw_os_error(), Some(nix::Error::EINPROGRESS as i32));
    socket
}

/// Handshakes on the port, as `ss` lists them.
fn syn_received(port: u16) -> anyhow::Result<usize> {
    let mut ss = Command::new("ss");
    ss.args(["-Htan", "state", "syn-recv", &format!("sport = :{port}")]);
    let output = ss.output()?;
    anyhow::ensure!(output.status.success(), "ss: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).lines().count())
}

#[tokio::test]
async fn a_syn_flood_opens_nothing() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    let pair = stage.pair(&[UPGRADE]).await;
    let address = stage.service.scripted.address();
    let mut clients: Vec<Socket> = (0..FLOOD).map(|_| half_open(address)).collect();
    let flooded = wait::until_equal("SYN-RECV", BOUND, FLOOD, async || {
        syn_received(address.port())
    });
    flooded.await.expect("all are half open");
    stage.shows_exactly(websockets(1)).await;
    stage.counted(1, 0).await;
    let metric = "observer_kernel_unaccepted_connections";
    let waiting = stage.observer.count(metric, "accepted").await;
    assert_eq!(waiting.expect("unaccepted"), 0);

    // Ten hear the server after all, when it says it again.
    for client in &clients[..10] {
        client.detach_filter().expect("detach the filter");
    }
    clients.truncate(10);
    stage.counted(11, 0).await;
    let metric = "observer_kernel_unaccepted_connections";
    wait::until_equal(metric, BOUND, 10, async || {
        stage.observer.count(metric, "accepted").await
    })
    .await
    .expect("in the accept queue");
    let classes = tests::observer::Classes {
        websocket: 1,
        ..unclassified(10)
    };
    stage.shows(classes, (1, 1)).await;
    drop((pair, clients));
}
