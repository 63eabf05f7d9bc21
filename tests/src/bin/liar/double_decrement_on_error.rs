//! A lying server: a session that fails is counted down by the error's handler and by its close.
//!
//! "Error, then close" is the order of events of many WebSocket libraries.

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
        gauge.increment();
        if liar::echo(&mut socket).await.is_err() {
            on_error(&gauge);
        }
        on_close(&gauge);
    })
}

fn on_error(gauge: &Gauge) {
    gauge.decrement();
}

fn on_close(gauge: &Gauge) {
    gauge.decrement();
}
