//! A lying server: its gauge is kept by an HTTP layer, which an upgraded connection leaves for good.
//!
//! The layer counts requests in flight and decrements at the end of a response; a `101` has none.

use anyhow::Result;
use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use tests::liar::{self, Gauge, Ports};

pub(crate) async fn run() -> Result<()> {
    let gauge = Gauge::default();
    let public = Router::new()
        .route("/v1/gateway", get(upgrade))
        .layer(middleware::from_fn_with_state(gauge.clone(), count));
    liar::serve(liar::arguments::<Ports>(), public, gauge).await
}

async fn count(State(gauge): State<Gauge>, request: Request, next: Next) -> Response {
    gauge.increment();
    let response = next.run(request).await;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        gauge.decrement();
    }
    response
}

async fn upgrade(request: WebSocketUpgrade) -> Response {
    request.on_upgrade(async move |mut socket| {
        let _ = liar::echo(&mut socket).await;
    })
}
