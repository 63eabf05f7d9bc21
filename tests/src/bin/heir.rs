//! Takes over one accepted connection from another process (`SCM_RIGHTS`), and holds it.
//!
//! It sends the head of a WebSocket's upgrade on it, says `taken` on stderr, and waits to be stopped.
#![expect(clippy::print_stderr, reason = "the test waits for a line of its log")]

use std::io::{IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tests::scripted::UPGRADE;

/// Takes over one accepted connection.
#[derive(Parser)]
struct Arguments {
    /// Where it is handed over: a Unix socket.
    #[arg(long)]
    from: PathBuf,
}

fn main() -> Result<()> {
    let from = UnixStream::connect(Arguments::parse().from).context("connect")?;
    let mut stream = receive(&from)?;
    stream.write_all(UPGRADE).context("upgrade")?;
    eprintln!("taken");
    loop {
        std::thread::park();
    }
}

fn receive(from: &UnixStream) -> Result<TcpStream> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(
        from,
        &mut [IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )
    .context("receive a descriptor")?;
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(descriptor.context("a descriptor came")?.into())
}
