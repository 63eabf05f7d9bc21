//! A lying server: its gauge is decremented where a session ends cleanly, and nowhere else.
//!
//! This is a real bug as people write it. The decrement stands after the receive loop, and the
//! loop's `?` leaves the function when a connection is aborted: the gauge never hears of it. It is
//! a test program; the product has no switch that makes it lie.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use clap::Parser;
use tokio::net::TcpListener;

/// A WebSocket echo server whose gauge leaks.
#[derive(Parser)]
struct Arguments {
    /// Where clients connect.
    #[arg(long, default_value = "127.0.0.1:3000")]
    public_address: SocketAddr,
    /// Where `/metrics` is.
    #[arg(long, default_value = "127.0.0.1:9090")]
    management_address: SocketAddr,
}

#[derive(Clone, Default)]
struct Metrics {
    active_connections: Arc<AtomicI64>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let metrics = Metrics::default();
    let public = Router::new()
        .route("/", get(async || "hello\n"))
        .route("/v1/gateway", get(upgrade))
        .with_state(metrics.clone());
    let management = Router::new()
        .route("/metrics", get(render))
        .with_state(metrics);

    let listen = async |address| {
        let listener = TcpListener::bind(address).await;
        listener.with_context(|| format!("listen on {address}"))
    };
    let public_listener = listen(arguments.public_address).await?;
    let management_listener = listen(arguments.management_address).await?;
    tokio::try_join!(
        axum::serve(public_listener, public).into_future(),
        axum::serve(management_listener, management).into_future(),
    )
    .context("serve")?;
    Ok(())
}

async fn upgrade(request: WebSocketUpgrade, State(metrics): State<Metrics>) -> Response {
    request.on_upgrade(async move |socket| {
        // An aborted session is an error that nobody looks at.
        let _ = session(socket, metrics).await;
    })
}

async fn session(mut socket: WebSocket, metrics: Metrics) -> Result<()> {
    metrics.active_connections.fetch_add(1, Ordering::Relaxed);
    while let Some(message) = socket.recv().await {
        match message? {
            Message::Text(text) => socket.send(Message::Text(text)).await?,
            Message::Close(_) => break,
            _ => {}
        }
    }
    metrics.active_connections.fetch_sub(1, Ordering::Relaxed);
    Ok(())
}

async fn render(State(metrics): State<Metrics>) -> String {
    format!(
        "# HELP active_connections Open WebSocket sessions.\n\
         # TYPE active_connections gauge\n\
         active_connections {}\n",
        metrics.active_connections.load(Ordering::Relaxed)
    )
}
