//! A lying server: it counts up when a handshake is done, and down whenever a connection is closed.
//!
//! Health checks connect and leave, and clients speak TLS to a port that has none: those are closed
//! without ever having been counted.

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;
use axum::routing::get;
use tests::liar::{self, Gauge, Ports, Tagging};

/// Told of a connection's end, whatever it was.
struct OnClose(Gauge);

impl Drop for OnClose {
    fn drop(&mut self) {
        self.0.decrement();
    }
}

pub(crate) async fn run() -> Result<()> {
    let ports = liar::arguments::<Ports>();
    let gauge = Gauge::default();
    let (closed, read) = (gauge.clone(), gauge.clone());
    let listener = Tagging {
        listener: liar::listen(ports.public_address).await?,
        tag: move || OnClose(closed.clone()),
    };
    let public = Router::new()
        .route("/v1/gateway", get(upgrade))
        .with_state(gauge);
    let management = liar::management(move || liar::page(&[("", read.get())]));
    liar::serve_on(listener, public, ports.management_address, management).await
}

async fn upgrade(request: WebSocketUpgrade, State(gauge): State<Gauge>) -> Response {
    request.on_upgrade(async move |mut socket| {
        gauge.increment();
        let _ = liar::echo(&mut socket).await;
    })
}
