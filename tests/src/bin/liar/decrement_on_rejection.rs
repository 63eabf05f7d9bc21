//! A lying server: an upgrade that is rejected is told to the gauge as a disconnect.
//!
//! Every way out of the handler reports a disconnect; the rejected never reported a connect.

use anyhow::Result;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tests::liar::{self, Gauge};

pub(crate) async fn run() -> Result<()> {
    liar::serve_gateway(get(upgrade)).await
}

async fn upgrade(uri: Uri, request: WebSocketUpgrade, State(gauge): State<Gauge>) -> Response {
    if uri.query() == Some("origin=elsewhere") {
        gauge.decrement();
        return StatusCode::FORBIDDEN.into_response();
    }
    request.on_upgrade(async move |mut socket| {
        gauge.increment();
        let _ = liar::echo(&mut socket).await;
        gauge.decrement();
    })
}
