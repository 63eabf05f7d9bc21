//! An honest service on `exporter` whose sessions end in every way that code can: by a return, a `?`, a
//! panic and an abort, as their clients ask for.
//!
//! Its gauges are those of the crate, and nothing here takes care of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use axum::extract::ws::{Message, WebSocket};
use axum::extract::{ConnectInfo, State, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use exporter::listener::{self, CountedListener, Peer};
use exporter::sessions::{self, Session, Sessions};
use exporter::{Registry, http, management::Management};
use tests::liar::{self, Ports, listen};
use tokio::task::AbortHandle;

#[derive(Clone)]
struct Service {
    sessions: Sessions,
    tasks: Arc<Mutex<HashMap<u64, AbortHandle>>>,
}

pub(crate) async fn run() -> Result<()> {
    let ports = liar::arguments::<Ports>();
    let catalogues = [http::CATALOGUE, listener::CATALOGUE, sessions::CATALOGUE];
    let registry = Registry::new(&catalogues).context("declare the metrics")?;
    let sessions = Sessions::new(&registry);
    let management = Management::new(&registry).sessions(&sessions).router();
    let tasks = Arc::default();
    let service = http::Routes::new()
        .route("/v1/gateway", get(gateway))
        .route("/refused", get(async || StatusCode::FORBIDDEN))
        .route("/never", get(std::future::pending::<StatusCode>))
        .route("/panic", get(panic))
        .map(|router| router.with_state(Service { sessions, tasks }))
        .measure(&registry)
        .context("measure the routes")?;
    let clients = CountedListener::new(listen(ports.public_address).await?, &registry);
    let scrapes = listen(ports.management_address).await?;
    let service = service.into_make_service_with_connect_info::<Peer>();
    tokio::try_join!(
        axum::serve(clients, service).into_future(),
        axum::serve(scrapes, management).into_future(),
    )
    .context("serve")?;
    Ok(())
}

async fn panic() -> StatusCode {
    panic!("as a bug would")
}

async fn gateway(
    upgrade: WebSocketUpgrade,
    State(service): State<Service>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
) -> Response {
    upgrade.on_upgrade(async move |socket| {
        let session = service.sessions.enter(peer);
        let id = session.id();
        let task = tokio::spawn(converse(socket, session, service.clone()));
        let mut tasks = service.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.insert(id, task.abort_handle());
    })
}

async fn converse(mut socket: WebSocket, session: Session, service: Service) -> Result<()> {
    while let Some(message) = socket.recv().await {
        let Message::Text(text) = message? else {
            continue;
        };
        match text.as_str() {
            "return" => return Ok(()),
            "error" => {
                text.parse::<u64>()?;
            }
            "panic" => panic!("as a bug would"),
            "abort" => {
                let mut tasks = service.tasks.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(task) = tasks.remove(&session.id()) {
                    task.abort();
                }
            }
            _ => socket.send(Message::Text(text)).await?,
        }
    }
    Ok(())
}
