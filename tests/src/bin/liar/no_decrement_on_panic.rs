//! A lying server: a panic in a session passes by the decrement.
//!
//! The runtime catches the panic and drops the socket, so nothing but the gauge shows it.

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
    request.on_upgrade(async move |mut socket| {
        gauge.increment();
        session(&mut socket).await;
        gauge.decrement();
    })
}

async fn session(socket: &mut WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if let Message::Text(text) = message {
            let number: i64 = text.parse().expect("clients send numbers");
            let answer = Message::text((number + 1).to_string());
            if socket.send(answer).await.is_err() {
                return;
            }
        }
    }
}
