//! A lying server: its gauge is decremented where a session ends cleanly, and nowhere else.
//!
//! The decrement stands after the receive loop, and the loop's `?` leaves the function when a
//! connection is aborted: the gauge never hears of it.

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use clap::Parser as _;
use tests::liar::{self, Gauge, Ports};

#[tokio::main]
async fn main() -> Result<()> {
    let gauge = Gauge::default();
    let public = Router::new()
        .route("/v1/gateway", get(upgrade))
        .with_state(gauge.clone());
    liar::serve(Ports::parse(), public, gauge).await
}

async fn upgrade(request: WebSocketUpgrade, State(gauge): State<Gauge>) -> Response {
    request.on_upgrade(async move |socket| {
        // An aborted session is an error that nobody looks at.
        let _ = session(socket, gauge).await;
    })
}

async fn session(mut socket: WebSocket, gauge: Gauge) -> Result<()> {
    gauge.increment();
    liar::echo(&mut socket).await?;
    gauge.decrement();
    Ok(())
}
