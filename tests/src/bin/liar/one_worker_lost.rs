//! A lying server: each worker has its own series, and that of a recycled worker begins anew.
//!
//! A recycled worker keeps the connections that it has, as a graceful reload does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;
use axum::routing::{get, post};
use tests::liar::{self, Gauge, Ports};

/// Two workers, which take turns.
#[derive(Clone, Default)]
struct Workers {
    gauges: Arc<Mutex<[Gauge; 2]>>,
    turn: Arc<AtomicUsize>,
}

impl Workers {
    fn gauge(&self, worker: usize) -> Gauge {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner)[worker].clone()
    }

    /// The old gauge stays with the connections that it has counted.
    fn recycle(&self, worker: usize) {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner)[worker] = Gauge::default();
    }

    fn next(&self) -> usize {
        self.turn.fetch_add(1, Ordering::SeqCst) % 2
    }
}

pub(crate) async fn run() -> Result<()> {
    let ports = liar::arguments::<Ports>();
    let workers = Workers::default();
    let public = Router::new()
        .route("/v1/gateway", get(upgrade))
        .with_state(workers.clone());
    let (read, recycled) = (workers.clone(), workers);
    let management = liar::management(move || {
        let [first, second] = [0, 1].map(|worker| read.gauge(worker).get());
        liar::page(&[("{worker=\"0\"}", first), ("{worker=\"1\"}", second)])
    })
    .route("/recycle", post(async move || recycled.recycle(1)));
    let listener = liar::listen(ports.public_address).await?;
    liar::serve_on(listener, public, ports.management_address, management).await
}

async fn upgrade(request: WebSocketUpgrade, State(workers): State<Workers>) -> Response {
    let gauge = workers.gauge(workers.next());
    request.on_upgrade(async move |mut socket| {
        let _entered = gauge.enter();
        let _ = liar::echo(&mut socket).await;
    })
}
