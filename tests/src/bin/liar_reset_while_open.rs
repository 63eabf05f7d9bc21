//! A lying server: a reload of its configuration registers its metrics anew.
//!
//! The connections live on and were counted in the gauge that is gone.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;
use axum::routing::{get, post};
use clap::Parser as _;
use tests::liar::{self, Gauge, Ports};

#[derive(Clone, Default)]
struct Registry(Arc<Mutex<Gauge>>);

impl Registry {
    fn gauge(&self) -> Gauge {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn reload(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Gauge::default();
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let ports = Ports::parse();
    let registry = Registry::default();
    let public = Router::new()
        .route("/v1/gateway", get(upgrade))
        .with_state(registry.clone());
    let (read, reloaded) = (registry.clone(), registry);
    let management = liar::management(move || liar::page(&[("", read.gauge().get())]))
        .route("/reload", post(async move || reloaded.reload()));
    let listener = liar::listen(ports.public_address).await?;
    liar::serve_on(listener, public, ports.management_address, management).await
}

async fn upgrade(request: WebSocketUpgrade, State(registry): State<Registry>) -> Response {
    request.on_upgrade(async move |mut socket| {
        let _entered = registry.gauge().enter();
        let _ = liar::echo(&mut socket).await;
    })
}
