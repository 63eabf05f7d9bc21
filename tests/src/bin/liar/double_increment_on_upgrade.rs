//! A lying server: two layers count the same connection up, one of them counts it down.
//!
//! The handler counts what it upgrades, the session counts itself, and only the session knows when
//! it is over.

use anyhow::Result;
use axum::extract::State;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use tests::liar::{self, Gauge};

pub(crate) async fn run() -> Result<()> {
    liar::serve_gateway(get(upgrade)).await
}

async fn upgrade(request: WebSocketUpgrade, State(gauge): State<Gauge>) -> Response {
    gauge.increment();
    request.on_upgrade(async move |socket| session(socket, gauge).await)
}

async fn session(mut socket: WebSocket, gauge: Gauge) {
    let _entered = gauge.enter();
    let _ = liar::echo(&mut socket).await;
}
