//! A lying server: a connection that is taken over from the HTTP server has ended, as far as it knows.
//!
//! What is taken over is a WebSocket, and lives longer than the others.

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;
use axum::routing::get;
use tests::liar::{self, Gauge, Ports, Tagging};

pub(crate) async fn run() -> Result<()> {
    let ports = liar::arguments::<Ports>();
    let (accepted, hijacked) = (Gauge::default(), Gauge::default());
    let (tagged, taken) = (accepted.clone(), hijacked.clone());
    let listener = Tagging {
        listener: liar::listen(ports.public_address).await?,
        tag: move || tagged.enter(),
    };
    let public = Router::new()
        .route("/v1/gateway", get(upgrade))
        .with_state(taken);
    let management = liar::management(move || liar::page(&[("", accepted.get() - hijacked.get())]));
    liar::serve_on(listener, public, ports.management_address, management).await
}

async fn upgrade(request: WebSocketUpgrade, State(hijacked): State<Gauge>) -> Response {
    request.on_upgrade(async move |mut socket| {
        let _entered = hijacked.enter();
        let _ = liar::echo(&mut socket).await;
    })
}
