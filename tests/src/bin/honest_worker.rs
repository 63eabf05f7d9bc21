//! An honest WebSocket server of which many may listen on one port (`SO_REUSEPORT`).
//!
//! Its gauge is the length of its list of sessions, by the crate `exporter`.

use std::net::SocketAddr;

use ::tests::liar::{self, Ports};
use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::{ConnectInfo, State, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use clap::Parser as _;
use exporter::Registry;
use exporter::management::Management;
use exporter::sessions::{self, Sessions};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let ports = Ports::parse();
    let registry = Registry::new(&[sessions::CATALOGUE]).context("declare the metrics")?;
    let sessions = Sessions::new(&registry);
    let management = Management::new(&registry).sessions(&sessions).router();
    let public = Router::new()
        .route("/", get(async || "hello\n"))
        .route("/v1/gateway", get(upgrade))
        .with_state(sessions)
        .into_make_service_with_connect_info::<SocketAddr>();
    let shared = listen_shared(ports.public_address).context("share the port")?;
    let own = liar::listen(ports.management_address).await?;
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

async fn upgrade(
    request: WebSocketUpgrade,
    State(sessions): State<Sessions>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
) -> Response {
    request.on_upgrade(async move |mut socket| {
        let _session = sessions.enter(peer);
        while let Some(Ok(_)) = socket.recv().await {}
    })
}
