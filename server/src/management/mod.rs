//! The management port: metrics, health and the list of sessions. Nothing else answers there.
//!
//! Knows how the inside is shown to operators. Deliberately changes nothing.

mod health;

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{metrics_service::MetricsService, relay::Relay};

/// Most scrapes and lists that are rendered at once; further ones are answered 503.
const RENDERINGS: usize = 4;
/// The content type of Prometheus' text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is said of a relay that is not there yet.
const STARTING: &str = "starting\n";

/// What the routes share.
pub(crate) struct Management {
    metrics: Arc<MetricsService>,
    /// There once the database is.
    relay: OnceLock<Arc<Relay>>,
    renderings: Arc<Semaphore>,
}

impl Management {
    /// What can be shown before there is a relay.
    pub(crate) fn new(metrics: Arc<MetricsService>) -> Self {
        Self {
            metrics,
            relay: OnceLock::new(),
            renderings: Arc::new(Semaphore::new(RENDERINGS)),
        }
    }

    /// Shows a relay from now on, the first that comes.
    pub(crate) fn show(&self, relay: &Arc<Relay>) {
        let _ = self.relay.set(Arc::clone(relay));
    }
}

/// The management port's service.
pub(crate) fn router(management: &Arc<Management>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/connections", get(connections))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/healthz", get(health::ready))
        .with_state(Arc::clone(management))
}

/// `GET /metrics`: every metric of this process.
async fn metrics(State(management): State<Arc<Management>>) -> Response {
    let metrics = Arc::clone(&management.metrics);
    management
        .render(EXPOSITION, move || metrics.render())
        .await
}

/// One line of `GET /connections`.
#[derive(Serialize)]
struct Line {
    id: u64,
    peer: String,
    opened_at: String,
}

/// `GET /connections`: every open session as a line of JSON.
async fn connections(State(management): State<Arc<Management>>) -> Response {
    let Some(relay) = management.relay.get().map(Arc::clone) else {
        return (StatusCode::SERVICE_UNAVAILABLE, STARTING).into_response();
    };
    let render = move || render_sessions(&relay);
    management.render("application/x-ndjson", render).await
}

fn render_sessions(relay: &Relay) -> String {
    let mut text = String::new();
    for session in relay.hub.sessions() {
        let line = Line {
            id: session.id,
            peer: session.peer.to_string(),
            opened_at: humantime::format_rfc3339_millis(session.opened_at).to_string(),
        };
        // Numbers and strings always serialise.
        if let Ok(line) = serde_json::to_string(&line) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

impl Management {
    /// Renders off the async threads, because it takes milliseconds.
    async fn render(
        &self,
        content_type: &'static str,
        render: impl FnOnce() -> String + Send + 'static,
    ) -> Response {
        let Ok(rendering) = Arc::clone(&self.renderings).try_acquire_owned() else {
            return (
                StatusCode::SERVICE_UNAVAILABLE,
                "too many scrapes at once\n",
            )
                .into_response();
        };
        let work = move || {
            // Held until the work is done: a client that leaves does not end it.
            let _rendering = rendering;
            render()
        };
        match spawn_blocking(work).await {
            Ok(text) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}
