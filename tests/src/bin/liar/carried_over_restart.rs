//! A lying server: its gauge is kept in a file, and read back when the server starts.
//!
//! The connections were kept nowhere.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

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
    /// Where the gauge is kept.
    #[arg(long)]
    state: PathBuf,
}

#[derive(Clone)]
struct Kept {
    gauge: Gauge,
    file: Arc<Mutex<PathBuf>>,
}

impl Kept {
    fn change(&self, change: fn(&Gauge)) {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        change(&self.gauge);
        // A full disk is no reason to refuse clients.
        let _ = fs::write(file.as_path(), self.gauge.get().to_string());
    }
}

pub(crate) async fn run() -> Result<()> {
    let Arguments { ports, state } = liar::arguments();
    let gauge = Gauge::default();
    let before = fs::read_to_string(&state).unwrap_or_default();
    gauge.set(before.parse().unwrap_or(0));
    let kept = Kept {
        gauge: gauge.clone(),
        file: Arc::new(Mutex::new(state)),
    };
    let public = Router::new()
        .route("/v1/gateway", get(upgrade))
        .with_state(kept);
    liar::serve(ports, public, gauge).await
}

async fn upgrade(request: WebSocketUpgrade, State(kept): State<Kept>) -> Response {
    request.on_upgrade(async move |mut socket| {
        kept.change(Gauge::increment);
        let _ = liar::echo(&mut socket).await;
        kept.change(Gauge::decrement);
    })
}
