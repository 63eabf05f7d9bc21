//! A lying server: a connection is counted while it is worked for, and not while it is kept alive.
//!
//! What it calls active connections are requests in flight.

use anyhow::Result;
use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use tests::liar::{self, Gauge, Ports};

pub(crate) async fn run() -> Result<()> {
    let ports = liar::arguments::<Ports>();
    let gauge = Gauge::default();
    let read = gauge.clone();
    let public = Router::new()
        .route("/v1/gateway", get(upgrade))
        .route_layer(middleware::from_fn_with_state(gauge.clone(), count))
        .with_state(gauge);
    let management = liar::management(move || liar::page(&[("", read.get())]));
    let listener = liar::listen(ports.public_address).await?;
    liar::serve_on(listener, public, ports.management_address, management).await
}

async fn count(State(gauge): State<Gauge>, request: Request, next: Next) -> Response {
    let _entered = gauge.enter();
    next.run(request).await
}

async fn upgrade(request: WebSocketUpgrade, State(gauge): State<Gauge>) -> Response {
    request.on_upgrade(async move |mut socket| {
        let _entered = gauge.enter();
        let _ = liar::echo(&mut socket).await;
    })
}
