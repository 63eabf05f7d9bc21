//! A lying server: every connection is counted up, and one for each client's name is counted down.
//!
//! A client that connects again takes the place of its old session in the table. When that ends there
//! is nothing left to remove.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use tests::liar::{self, Gauge, Ports};

#[derive(Clone, Default)]
struct Clients {
    gauge: Gauge,
    names: Arc<Mutex<BTreeSet<String>>>,
}

impl Clients {
    fn enter(&self, name: &str) {
        self.gauge.increment();
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_owned());
    }

    fn leave(&self, name: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.remove(name) {
            self.gauge.decrement();
        }
    }
}

pub(crate) async fn run() -> Result<()> {
    let clients = Clients::default();
    let gauge = clients.gauge.clone();
    let public = Router::new()
        .route("/v1/gateway", get(upgrade))
        .with_state(clients);
    liar::serve(liar::arguments::<Ports>(), public, gauge).await
}

/// Clients that give no name have the same one.
async fn upgrade(uri: Uri, request: WebSocketUpgrade, State(clients): State<Clients>) -> Response {
    let name = uri.query().unwrap_or_default().to_owned();
    request.on_upgrade(async move |mut socket| {
        clients.enter(&name);
        let _ = liar::echo(&mut socket).await;
        clients.leave(&name);
    })
}
