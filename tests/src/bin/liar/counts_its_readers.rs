//! A lying server: whoever reads its page is counted as a session, and never counted out.
//!
//! The page is served by the same machinery as the clients are, by a way that skips the clean-up.

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;
use axum::routing::get;
use tests::liar::{self, Gauge, Ports};

pub(crate) async fn run() -> Result<()> {
    let ports = liar::arguments::<Ports>();
    let gauge = Gauge::default();
    let read = gauge.clone();
    let public = Router::new()
        .route("/v1/gateway", get(upgrade))
        .with_state(gauge);
    let management = liar::management(move || {
        read.increment();
        liar::page(&[("", read.get())])
    });
    let listener = liar::listen(ports.public_address).await?;
    liar::serve_on(listener, public, ports.management_address, management).await
}

async fn upgrade(request: WebSocketUpgrade, State(gauge): State<Gauge>) -> Response {
    request.on_upgrade(async move |mut socket| {
        let _entered = gauge.enter();
        let _ = liar::echo(&mut socket).await;
    })
}
