//! A lying server: openings and closings are both reported when a connection ends.
//!
//! Its access log is written then, and the gauge is what the log says was opened less what was closed.

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;
use axum::routing::get;
use tests::liar::{self, Gauge, Ports};

#[derive(Clone, Default)]
struct Log {
    opened: Gauge,
    closed: Gauge,
}

pub(crate) async fn run() -> Result<()> {
    let ports = liar::arguments::<Ports>();
    let log = Log::default();
    let read = log.clone();
    let public = Router::new()
        .route("/v1/gateway", get(upgrade))
        .with_state(log);
    let open = move || read.opened.get() - read.closed.get();
    let management = liar::management(move || liar::page(&[("", open())]));
    let listener = liar::listen(ports.public_address).await?;
    liar::serve_on(listener, public, ports.management_address, management).await
}

async fn upgrade(request: WebSocketUpgrade, State(log): State<Log>) -> Response {
    request.on_upgrade(async move |mut socket| {
        let _ = liar::echo(&mut socket).await;
        log.opened.increment();
        log.closed.increment();
    })
}
