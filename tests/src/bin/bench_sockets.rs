//! Plain TCP connections by the ten thousand, on a port that several processes share.
//!
//! A process may open only so many descriptors: so there are several of each side, and those that
//! connect do so from an address each, since an address has only so many ports.
#![expect(clippy::print_stderr, reason = "the bench waits for a line of its log")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use socket2::{Domain, Protocol, Socket, Type};
use tests::process::raise_descriptor_limit;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Pending connections of a listener.
const BACKLOG: i32 = 4096;

/// Between two batches of [`Side::Churn`].
const BEAT: Duration = Duration::from_millis(10);

#[derive(Parser)]
struct Arguments {
    /// Where the connections lead.
    #[arg(long)]
    address: SocketAddr,
    #[command(subcommand)]
    side: Side,
}

#[derive(Subcommand)]
enum Side {
    /// Accept, share the port with others, and close what the peer closes.
    Accept,
    /// Open connections and hold them.
    Hold {
        /// The address that they come from.
        #[arg(long)]
        source: IpAddr,
        /// How many.
        #[arg(long)]
        count: usize,
    },
    /// Open connections at a rate and close each at once.
    Churn {
        /// How many each second.
        #[arg(long)]
        rate: u64,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Arguments { address, side } = Arguments::parse();
    raise_descriptor_limit()?;
    match side {
        Side::Accept => accept(address).await,
        Side::Hold { source, count } => hold(address, source, count).await,
        Side::Churn { rate } => churn(address, rate).await,
    }
}

async fn accept(address: SocketAddr) -> Result<()> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into()).context("bind")?;
    socket.listen(BACKLOG).context("listen")?;
    let listener = TcpListener::from_std(socket.into())?;
    eprintln!("listening");
    loop {
        let (mut stream, _) = listener.accept().await.context("accept")?;
        // The end of a connection, however it comes, ends the read.
        tokio::spawn(async move { stream.read_u8().await });
    }
}

async fn hold(address: SocketAddr, source: IpAddr, count: usize) -> Result<()> {
    let mut held = Vec::with_capacity(count);
    while held.len() < count {
        held.push(connect(address, Some(source)).await?);
    }
    eprintln!("open");
    std::future::pending().await
}

async fn churn(address: SocketAddr, rate: u64) -> Result<()> {
    let mut beat = tokio::time::interval(BEAT);
    let mut owed = 0.0;
    eprintln!("open");
    loop {
        beat.tick().await;
        owed += rate as f64 * BEAT.as_secs_f64();
        while owed >= 1.0 {
            owed -= 1.0;
            drop(connect(address, None).await?);
        }
    }
}

async fn connect(address: SocketAddr, source: Option<IpAddr>) -> Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.context("make a socket")?;
    if let Some(source) = source {
        socket
            .bind(SocketAddr::new(source, 0))
            .context("bind to the source")?;
    }
    socket.connect(address).await.context("connect")
}
