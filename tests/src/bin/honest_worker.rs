//! An honest WebSocket server of which many may listen on one port (`SO_REUSEPORT`).
//!
//! Its gauge is moved by a guard, so that no way in which a session ends is forgotten.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::State;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use clap::Parser;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// An honest WebSocket server on a port that it may share.
#[derive(Parser)]
struct Arguments {
    /// Where clients connect.
    #[arg(long)]
    public_address: SocketAddr,
    /// Where `/metrics` is.
    #[arg(long)]
    management_address: SocketAddr,
}

type Gauge = Arc<AtomicI64>;

/// Counts a session for as long as it lives.
struct Counted(Gauge);

impl Counted {
    fn new(gauge: Gauge) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let gauge = Gauge::default();
    let public = Router::new()
        .route("/", get(async || "hello\n"))
        .route("/v1/gateway", get(upgrade))
        .with_state(Arc::clone(&gauge));
    let management = Router::new()
        .route("/metrics", get(render))
        .with_state(gauge);
    let shared = listen_shared(arguments.public_address).context("share the port")?;
    let own = TcpListener::bind(arguments.management_address)
        .await
        .context("listen for scrapes")?;
    tokio::try_join!(
        axum::serve(shared, public).into_future(),
        axum::serve(own, management).into_future(),
    )
    .context("serve")?;
    Ok(())
}

fn listen_shared(address: SocketAddr) -> std::io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

async fn upgrade(request: WebSocketUpgrade, State(gauge): State<Gauge>) -> Response {
    request.on_upgrade(async move |socket| session(socket, Counted::new(gauge)).await)
}

async fn session(mut socket: WebSocket, _counted: Counted) {
    while let Some(Ok(_)) = socket.recv().await {}
}

async fn render(State(gauge): State<Gauge>) -> String {
    format!(
        "# TYPE active_connections gauge\nactive_connections {}\n",
        gauge.load(Ordering::Relaxed)
    )
}
