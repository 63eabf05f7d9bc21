//! A lying server: a reload of its configuration registers its sessions anew.
//!
//! The connections live on and are in the list that is gone, whose length was the gauge.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use axum::routing::{get, post};
use tests::liar::{self, Ports, Sessions};

#[derive(Clone, Default)]
struct Registry(Arc<Mutex<Sessions>>);

impl Registry {
    fn sessions(&self) -> Sessions {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn reload(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Sessions::default();
    }
}

pub(crate) async fn run() -> Result<()> {
    let ports = liar::arguments::<Ports>();
    let registry = Registry::default();
    let public = Router::new()
        .route("/v1/gateway", get(upgrade))
        .with_state(registry.clone());
    let (read, reloaded) = (registry.clone(), registry);
    let management = liar::management_of(move || read.sessions())
        .route("/reload", post(async move || reloaded.reload()));
    liar::serve_to_peers(ports, public, management).await
}

async fn upgrade(
    request: WebSocketUpgrade,
    State(registry): State<Registry>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
) -> Response {
    request.on_upgrade(async move |mut socket| {
        let sessions = registry.sessions();
        let number = sessions.enter(peer);
        let _ = liar::echo(&mut socket).await;
        sessions.strike(number);
    })
}
