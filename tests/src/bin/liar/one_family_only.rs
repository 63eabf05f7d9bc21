//! A lying server: it listens for IPv4 and for IPv6, and counts IPv4.
//!
//! The second listener was added later, by a copy of the first that lacks the counting layer.

use std::net::{Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;
use axum::routing::get;
use tests::liar::{self, Gauge, Ports};

pub(crate) async fn run() -> Result<()> {
    let ports = liar::arguments::<Ports>();
    let second = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), ports.public_address.port());
    let second = liar::listen(second).await?;
    let uncounted = Router::new()
        .route("/v1/gateway", get(upgrade))
        .with_state(Gauge::default());

    let gauge = Gauge::default();
    let counted = Router::new()
        .route("/v1/gateway", get(upgrade))
        .with_state(gauge.clone());
    tokio::try_join!(liar::serve(ports, counted, gauge), async move {
        axum::serve(second, uncounted).await.context("serve IPv6")
    },)?;
    Ok(())
}

async fn upgrade(request: WebSocketUpgrade, State(gauge): State<Gauge>) -> Response {
    request.on_upgrade(async move |mut socket| {
        let _entered = gauge.enter();
        let _ = liar::echo(&mut socket).await;
    })
}
