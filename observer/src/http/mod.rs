//! The management endpoint: status, metrics, health, API. On one address, loopback by default.
//!
//! It reads what `watch` last found and changes nothing.

mod connections;
mod page;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use crate::{
    api::{HistoryReport, TargetList, TargetReport},
    instruments, sockets,
    watch::Watch,
};

/// Serves until `stop` resolves.
pub async fn serve(listener: TcpListener, watch: Arc<Watch>, stop: impl Future<Output = ()>) {
    connections::serve(listener, router(watch), stop).await;
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
        .route("/api/v1/targets/{name}/history", get(history))
        .route("/api/v1/targets/{name}/sockets", get(target_sockets))
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
    match watch.target(&name) {
        Some(target) => Json(TargetReport::of(target)).into_response(),
        None => no_such_target(),
    }
}

async fn history(State(watch): State<Arc<Watch>>, Path(name): Path<String>) -> Response {
    match watch.target(&name) {
        Some(target) => Json(HistoryReport::of(target)).into_response(),
        None => no_such_target(),
    }
}

async fn target_sockets(
    State(watch): State<Arc<Watch>>,
    Path(name): Path<String>,
    query: Result<Query<sockets::Query>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return (StatusCode::BAD_REQUEST, rejection.body_text()).into_response(),
    };
    let Some(target) = watch.target(&name).cloned() else {
        return no_such_target();
    };
    // A dump blocks for as long as there are sockets.
    let listed =
        tokio::task::spawn_blocking(move || sockets::list(&target.watched.endpoint, query)).await;
    match listed {
        Ok(Ok(list)) => Json(list).into_response(),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn no_such_target() -> Response {
    (StatusCode::NOT_FOUND, "no such target\n").into_response()
}

fn reports(watch: &Watch) -> Vec<TargetReport> {
    watch
        .targets
        .iter()
        .map(|target| TargetReport::of(target))
        .collect()
}
