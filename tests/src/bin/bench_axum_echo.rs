//! A plain axum server that echoes: what a WebSocket costs before anybody adds anything.
//!
//! `cargo xtask bench server` measures it beside the relay. It knows no account and no message.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::routing::any;
use clap::Parser;
use tests::process::raise_descriptor_limit;
use tokio::net::TcpListener;

/// Echoes on every path.
#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long)]
    address: SocketAddr,
    /// Size of a WebSocket's read and write buffers in bytes; without, axum's defaults.
    #[arg(long)]
    buffers: Option<usize>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { address, buffers } = Arguments::parse();
    raise_descriptor_limit()?;
    let router = Router::new().fallback(any(async move |upgrade: WebSocketUpgrade| {
        let upgrade = match buffers {
            Some(size) => upgrade.read_buffer_size(size).write_buffer_size(size),
            None => upgrade,
        };
        upgrade.on_upgrade(echo)
    }));
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address}"))?;
    axum::serve(listener, router).await.context("serve")
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let is_data = matches!(message, Message::Text(_) | Message::Binary(_));
        if is_data && socket.send(message).await.is_err() {
            return;
        }
    }
}
