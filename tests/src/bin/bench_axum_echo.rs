//! A plain axum server that echoes: what a WebSocket costs before anybody adds anything.
//!
//! The benches measure it beside the relay, and load it where a service is wanted that does next to
//! nothing. It knows no account and no message.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::IntoResponse as _;
use axum::routing::{any, get};
use clap::Parser;
use tests::process::raise_descriptor_limit;
use tokio::net::TcpListener;

/// Echoes on every path; a request that is no upgrade is answered `ok`.
#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long)]
    address: SocketAddr,
    /// Where the gauge of its WebSockets is; without, there is none.
    #[arg(long)]
    management_address: Option<SocketAddr>,
    /// Size of a WebSocket's read and write buffers in bytes; without, axum's defaults.
    #[arg(long)]
    buffers: Option<usize>,
}

type Gauge = Arc<AtomicI64>;

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments {
        address,
        management_address,
        buffers,
    } = Arguments::parse();
    raise_descriptor_limit()?;
    let gauge = Gauge::default();
    let counted = Arc::clone(&gauge);
    let answer = async move |upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>| {
        let Ok(upgrade) = upgrade else {
            return "ok".into_response();
        };
        let upgrade = match buffers {
            Some(size) => upgrade.read_buffer_size(size).write_buffer_size(size),
            None => upgrade,
        };
        upgrade.on_upgrade(|socket| echo(socket, counted))
    };
    if let Some(address) = management_address {
        let page = Router::new().route("/metrics", get(render));
        let listener = listen(address).await?;
        tokio::spawn(axum::serve(listener, page.with_state(gauge)).into_future());
    }
    let listener = listen(address).await?;
    let router = Router::new().fallback(any(answer));
    axum::serve(listener, router).await.context("serve")
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("listen on {address}"))
}

async fn render(State(gauge): State<Gauge>) -> String {
    format!("active_connections {}\n", gauge.load(Ordering::Relaxed))
}

async fn echo(mut socket: WebSocket, gauge: Gauge) {
    gauge.fetch_add(1, Ordering::Relaxed);
    while let Some(Ok(message)) = socket.recv().await {
        let is_data = matches!(message, Message::Text(_) | Message::Binary(_));
        if is_data && socket.send(message).await.is_err() {
            break;
        }
    }
    gauge.fetch_sub(1, Ordering::Relaxed);
}
