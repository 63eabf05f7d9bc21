//! A connection that one process accepted and another one serves: it is the port's all the while.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tests::kernel_or_skip;
use tests::observer::{BOUND, Classes};
use tests::process::{Process, Signal};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixListener;
use tokio::time::timeout;

use super::stage::{Stage, unclassified, websockets};

#[tokio::test]
async fn a_connection_that_is_handed_to_another_process_is_one_connection() {
    if !kernel_or_skip() {
        return;
    }
    let stage = Stage::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("handover");
    let handover = UnixListener::bind(&path).expect("listen");
    let from = format!("--from={}", path.display());
    let mut heir = Process::spawn("heir", [&from]).expect("start the heir");
    let came = timeout(BOUND, handover.accept()).await;
    let (to, _) = came.expect("the heir comes").expect("accept");

    let mut pair = stage.pair(&[]).await;
    stage.shows(unclassified(1), (0, 0)).await;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let server = [pair.server.as_fd()];
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&server)));
    let sent = sendmsg(
        &to,
        &[IoSlice::new(b"1")],
        &mut ancillary,
        SendFlags::empty(),
    );
    sent.expect("hand it over");
    // This process' end is closed; the connection is not.
    drop(pair.server);
    heir.wait_for_log("taken", BOUND).await.expect("taken");
    let first = pair.client.read_u8().await.expect("the upgrade");
    assert_eq!(first, b'H');
    stage.shows_exactly(websockets(1)).await;
    stage.counted(1, 0).await;

    heir.signal(Signal::KILL).expect("kill");
    stage.counted(1, 1).await;
    drop(pair.client);
    stage.shows_exactly(Classes::default()).await;
}
