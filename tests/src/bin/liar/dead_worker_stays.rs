//! A lying server: each worker has its own series, and that of a killed worker stays in the sum.
//!
//! Workers write their numbers to files, and nobody removes the file of one that is gone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;
use axum::routing::{get, post};
use tests::liar::{self, Gauge, Ports};
use tokio::sync::watch;

/// What a worker has written, and what ends it.
#[derive(Clone, Default)]
struct Worker {
    file: Gauge,
    killed: watch::Sender<bool>,
}

/// All there ever were; the last takes the clients.
#[derive(Clone)]
struct Workers(Arc<Mutex<Vec<Worker>>>);

impl Workers {
    fn all(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last is killed, and another one started.
    fn kill(&self) {
        let mut workers = self.all();
        if let Some(last) = workers.last() {
            last.killed.send_replace(true);
        }
        workers.push(Worker::default());
    }

    fn page(&self) -> String {
        let workers = self.all();
        let label = |(number, worker): (usize, &Worker)| {
            (format!("{{worker=\"{number}\"}}"), worker.file.get())
        };
        let series: Vec<_> = workers.iter().enumerate().map(label).collect();
        let series = series.iter().map(|(label, value)| (label.as_str(), *value));
        liar::page(&series.collect::<Vec<_>>())
    }
}

pub(crate) async fn run() -> Result<()> {
    let ports = liar::arguments::<Ports>();
    let workers = Workers(Arc::new(Mutex::new(vec![Worker::default()])));
    let (read, killed) = (workers.clone(), workers.clone());
    let public = Router::new()
        .route("/v1/gateway", get(upgrade))
        .with_state(workers);
    let management =
        liar::management(move || read.page()).route("/kill", post(async move || killed.kill()));
    let listener = liar::listen(ports.public_address).await?;
    liar::serve_on(listener, public, ports.management_address, management).await
}

async fn upgrade(request: WebSocketUpgrade, State(workers): State<Workers>) -> Response {
    let worker = workers.all().last().cloned().unwrap_or_default();
    request.on_upgrade(async move |mut socket| {
        worker.file.increment();
        let mut killed = worker.killed.subscribe();
        tokio::select! {
            _ = liar::echo(&mut socket) => worker.file.decrement(),
            // Whoever is killed writes nothing any more.
            _ = killed.wait_for(|killed| *killed) => {}
        }
    })
}
