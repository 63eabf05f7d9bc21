//! WebSockets that send a message, wait for its echo and send the next, for a while.
//!
//! It says one line of JSON: how many echoes came, and in how long.
#![expect(clippy::print_stdout, reason = "the bench reads what it says")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use futures_util::future::try_join_all;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// No echo takes longer on a machine that works.
const BOUND: Duration = Duration::from_secs(10);

/// Sends and waits for the echo.
#[derive(Parser)]
struct Arguments {
    /// The echoing server.
    #[arg(long)]
    address: SocketAddr,
    /// WebSockets.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Bytes of a message.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// For how long. Unit: seconds.
    #[arg(long)]
    seconds: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let opening = (0..arguments.connections).map(|_| open(arguments.address));
    let sockets = try_join_all(opening).await?;
    let started = Instant::now();
    let ends = started + Duration::from_secs(arguments.seconds);
    let echoing = sockets
        .into_iter()
        .map(|socket| echo(socket, arguments.size, ends));
    let echoes: u64 = try_join_all(echoing).await?.into_iter().sum();
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{}",
        serde_json::json!({ "messages": echoes, "seconds": seconds })
    );
    Ok(())
}

async fn open(address: SocketAddr) -> Result<WebSocketStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.context("connect")?;
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    let small = WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0);
    let upgraded = client_async_with_config(format!("ws://{address}/"), stream, Some(small)).await;
    Ok(upgraded.context("upgrade")?.0)
}

async fn echo(mut socket: WebSocketStream<TcpStream>, size: usize, ends: Instant) -> Result<u64> {
    let message = Message::binary(vec![b'x'; size]);
    let mut echoes = 0;
    while Instant::now() < ends {
        socket.send(message.clone()).await.context("send")?;
        let answer = tokio::time::timeout(BOUND, socket.next()).await;
        let answer = answer.context("no echo")?.context("no more messages")?;
        ensure!(answer.context("receive")? == message, "the echo differs");
        echoes += 1;
    }
    Ok(echoes)
}
