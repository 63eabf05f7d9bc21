//! A lying server: counting is thought to be expensive, so the gauge is set from a cache.
//!
//! What it says was true when the cache was filled.

use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;
use axum::routing::get;
use clap::Parser;
use tests::liar::{self, Gauge, Ports};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    ports: Ports,
    /// How old the cache gets. Unit: seconds.
    #[arg(long, default_value_t = 30)]
    refresh: u64,
}

pub(crate) async fn run() -> Result<()> {
    let Arguments { ports, refresh } = liar::arguments();
    let sessions = Gauge::default();
    let public = Router::new()
        .route("/v1/gateway", get(upgrade))
        .with_state(sessions.clone());
    let gauge = Gauge::default();
    tokio::spawn(fill(sessions, gauge.clone(), Duration::from_secs(refresh)));
    liar::serve(ports, public, gauge).await
}

async fn fill(sessions: Gauge, gauge: Gauge, refresh: Duration) {
    loop {
        tokio::time::sleep(refresh).await;
        gauge.set(sessions.get());
    }
}

async fn upgrade(request: WebSocketUpgrade, State(sessions): State<Gauge>) -> Response {
    request.on_upgrade(async move |mut socket| {
        let _entered = sessions.enter();
        let _ = liar::echo(&mut socket).await;
    })
}
