//! A lying server: its sessions are struck where they end cleanly, and nowhere else.
//!
//! That stands after the receive loop, and the loop's `?` leaves the function when a connection is
//! aborted: the list, whose length is the gauge, never hears of it.

use std::net::SocketAddr;

use anyhow::Result;
use axum::Router;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use axum::routing::get;
use tests::liar::{self, Ports, Sessions};

pub(crate) async fn run() -> Result<()> {
    let sessions = Sessions::default();
    let public = Router::new()
        .route("/v1/gateway", get(upgrade))
        .with_state(sessions.clone());
    let management = liar::management_of(move || sessions.clone());
    liar::serve_to_peers(liar::arguments::<Ports>(), public, management).await
}

async fn upgrade(
    request: WebSocketUpgrade,
    State(sessions): State<Sessions>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
) -> Response {
    request.on_upgrade(async move |socket| {
        // An aborted session is an error that nobody looks at.
        let _ = session(socket, peer, sessions).await;
    })
}

async fn session(mut socket: WebSocket, peer: SocketAddr, sessions: Sessions) -> Result<()> {
    let number = sessions.enter(peer);
    liar::echo(&mut socket).await?;
    sessions.strike(number);
    Ok(())
}
