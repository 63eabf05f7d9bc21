//! Not quite a liar: a server that never drops a peer that has died, because it never asks.
//!
//! Without pings and timeouts both it and its kernel believe in clients that are long gone. Its
//! gauge is right about the sockets, and wrong about the world.

use anyhow::Result;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;
use axum::routing::get;
use tests::liar::{self, Gauge};

pub(crate) async fn run() -> Result<()> {
    liar::serve_gateway(get(upgrade)).await
}

async fn upgrade(request: WebSocketUpgrade, State(gauge): State<Gauge>) -> Response {
    request.on_upgrade(async move |mut socket| {
        let _entered = gauge.enter();
        let _ = liar::echo(&mut socket).await;
    })
}
