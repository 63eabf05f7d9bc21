//! A lying server: a session is counted up under one label and down under another.
//!
//! The label is who the client is, and a client may say that it is somebody else. The sum is right.

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use tests::liar::{self, Gauge, Ports};

#[derive(Clone, Default)]
struct Users {
    nobody: Gauge,
    somebody: Gauge,
}

pub(crate) async fn run() -> Result<()> {
    let ports = liar::arguments::<Ports>();
    let users = Users::default();
    let read = users.clone();
    let public = Router::new()
        .route("/v1/gateway", get(upgrade))
        .with_state(users);
    let management = liar::management(move || {
        liar::page(&[
            ("{user=\"nobody\"}", read.nobody.get()),
            ("{user=\"somebody\"}", read.somebody.get()),
        ])
    });
    let listener = liar::listen(ports.public_address).await?;
    liar::serve_on(listener, public, ports.management_address, management).await
}

async fn upgrade(request: WebSocketUpgrade, State(users): State<Users>) -> Response {
    request.on_upgrade(async move |mut socket| {
        let mut user = &users.nobody;
        user.increment();
        while let Some(Ok(message)) = socket.recv().await {
            if matches!(message, Message::Text(_)) {
                user = &users.somebody;
            }
        }
        user.decrement();
    })
}
