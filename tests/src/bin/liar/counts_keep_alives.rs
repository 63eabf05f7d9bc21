//! A lying server: what it calls active connections are sockets, whatever they are for.
//!
//! Browsers keep HTTP connections open beside their WebSocket.

use anyhow::Result;
use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;
use axum::routing::get;
use tests::liar::{self, Gauge, Ports, Tagging};

pub(crate) async fn run() -> Result<()> {
    let ports = liar::arguments::<Ports>();
    let gauge = Gauge::default();
    let read = gauge.clone();
    let listener = Tagging {
        listener: liar::listen(ports.public_address).await?,
        tag: move || gauge.enter(),
    };
    let public = Router::new().route("/v1/gateway", get(upgrade));
    let management = liar::management(move || liar::page(&[("", read.get())]));
    liar::serve_on(listener, public, ports.management_address, management).await
}

async fn upgrade(request: WebSocketUpgrade) -> Response {
    request.on_upgrade(async move |mut socket| {
        let _ = liar::echo(&mut socket).await;
    })
}
