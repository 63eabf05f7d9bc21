//! The management endpoint: status, metrics, health, API. On one address, loopback by default.
//!
//! It reads what `watch` last found and changes nothing.

mod page;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use crate::{
    api::{TargetList, TargetReport},
    instruments,
    watch::Watch,
};

/// Serves until `stop` resolves.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    watch: Arc<Watch>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(watch))
        .with_graceful_shutdown(stop)
        .await
}

fn router(watch: Arc<Watch>) -> Router {
    Router::new()
        .route("/", get(status))
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(healthy))
        .route("/livez", get(healthy))
        .route("/-/ready", get(ready))
        .route("/readyz", get(ready))
        .route("/api/v1/targets", get(targets))
        .route("/api/v1/targets/{name}", get(target))
        .with_state(watch)
}

async fn status(State(watch): State<Arc<Watch>>) -> Html<String> {
    Html(page::render(&reports(&watch)))
}

async fn metrics(State(watch): State<Arc<Watch>>) -> Response {
    // Reading maps and rendering block: they do not belong on the runtime's own threads.
    let page = tokio::task::spawn_blocking(move || instruments::render(&watch)).await;
    match page {
        Ok(page) => (
            [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )],
            page,
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn healthy() -> &'static str {
    "ok\n"
}

async fn ready(State(watch): State<Arc<Watch>>) -> (StatusCode, &'static str) {
    if watch.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not seeded yet\n")
    }
}

async fn targets(State(watch): State<Arc<Watch>>) -> Json<TargetList> {
    Json(TargetList {
        targets: reports(&watch),
    })
}

async fn target(State(watch): State<Arc<Watch>>, Path(name): Path<String>) -> Response {
    match watch
        .targets
        .iter()
        .find(|target| target.config.name == name)
    {
        Some(target) => Json(TargetReport::of(target)).into_response(),
        None => (StatusCode::NOT_FOUND, "no such target\n").into_response(),
    }
}

fn reports(watch: &Watch) -> Vec<TargetReport> {
    watch
        .targets
        .iter()
        .map(|target| TargetReport::of(target))
        .collect()
}
