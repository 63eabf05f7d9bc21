//! A lying server: it counts a connection, and then refuses it for being one too many.
//!
//! The limit is enforced by the gauge itself, so with each refusal the server takes one client less.

use anyhow::Result;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tests::liar::{self, Gauge};

/// Most connections.
const LIMIT: i64 = 10;

pub(crate) async fn run() -> Result<()> {
    liar::serve_gateway(get(upgrade)).await
}

async fn upgrade(request: WebSocketUpgrade, State(gauge): State<Gauge>) -> Response {
    gauge.increment();
    if gauge.get() > LIMIT {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    request.on_upgrade(async move |mut socket| {
        let _ = liar::echo(&mut socket).await;
        gauge.decrement();
    })
}
