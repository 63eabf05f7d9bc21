//! A lying server: one of the ways out of a session returns before the decrement.
//!
//! `return` was written when the gauge did not exist yet; the decrement was added at the end.

use anyhow::Result;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use tests::liar::{self, Gauge};

pub(crate) async fn run() -> Result<()> {
    liar::serve_gateway(get(upgrade)).await
}

async fn upgrade(request: WebSocketUpgrade, State(gauge): State<Gauge>) -> Response {
    request.on_upgrade(async move |socket| session(socket, gauge).await)
}

async fn session(mut socket: WebSocket, gauge: Gauge) {
    gauge.increment();
    while let Some(Ok(message)) = socket.recv().await {
        match message {
            Message::Text(text) if text == "quit" => return,
            Message::Close(_) => break,
            _ => {}
        }
    }
    gauge.decrement();
}
