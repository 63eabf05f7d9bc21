//! The management endpoint: status, metrics, health, API. On one address, loopback by default.
//!
//! It reads what `watch` last found and changes nothing.

mod assets;
mod connections;
mod headers;
mod page;
mod stream;

use std::{fmt::Write as _, sync::Arc};

use axum::{
    Json, Router,
    extract::{FromRef, Path, Query, State, rejection::QueryRejection},
    http::{StatusCode, Uri, header},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use tokio::{net::TcpListener, sync::Semaphore};
use web_config::Guard;

use page::Pages;
use stream::{Announcer, Streams};

use crate::{
    api::{HistoryReport, TargetList, TargetReport},
    blocking::Places,
    instruments, sockets,
    watch::Watch,
};

/// What is here, for people: path and what it says. `/assets/` is the page's own.
const ENDPOINTS: [(&str, &str); 8] = [
    ("/", "this status, for people"),
    ("/metrics", "Prometheus metrics"),
    ("/api/v1/targets", "every target, as JSON"),
    ("/api/v1/targets/{name}", "one target"),
    ("/api/v1/targets/{name}/history", "its last checks"),
    ("/api/v1/targets/{name}/sockets", "its open sockets"),
    ("/api/v1/stream", "the targets, as server-sent events"),
    ("/-/ready", "whether every target is seeded; /-/healthy"),
];

/// Pages of metrics that are rendered at once.
static PAGES: Places = Places::new(4);

/// Lists of sockets that are made at once: each takes a walk of all sockets in the kernel.
const LISTS: usize = 2;

/// What the handlers share.
#[derive(Clone)]
struct Served {
    watch: Arc<Watch>,
    streams: Streams,
    pages: Arc<Pages>,
    lists: Arc<Semaphore>,
}

impl FromRef<Served> for Arc<Watch> {
    fn from_ref(served: &Served) -> Self {
        Self::clone(&served.watch)
    }
}

impl FromRef<Served> for Streams {
    fn from_ref(served: &Served) -> Self {
        served.streams.clone()
    }
}

impl FromRef<Served> for Arc<Pages> {
    fn from_ref(served: &Served) -> Self {
        Self::clone(&served.pages)
    }
}

impl FromRef<Served> for Arc<Semaphore> {
    fn from_ref(served: &Served) -> Self {
        Self::clone(&served.lists)
    }
}

/// Serves until `stop` resolves, to those whom `guard` lets in.
pub async fn serve(
    listener: TcpListener,
    guard: Option<Guard>,
    watch: Arc<Watch>,
    stop: impl Future<Output = ()>,
) {
    let announcer = Announcer::new(Arc::clone(&watch));
    let streams = announcer.streams();
    // Whoever is still listening when the observer is stopped is listening to nobody.
    let announcing = announcer.run();
    let stop = async {
        tokio::select! {
            () = stop => {}
            () = announcing => {}
        }
    };
    let served = Served {
        watch,
        streams,
        pages: Arc::default(),
        lists: Arc::new(Semaphore::new(LISTS)),
    };
    let router = router(served);
    let router = match &guard {
        Some(guard) => guard.protect(router),
        None => router,
    };
    connections::serve(listener, guard, router, stop).await;
}

fn router(served: Served) -> Router {
    Router::new()
        .route("/", get(page::status))
        .route("/assets/{name}", get(assets::asset))
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(healthy))
        .route("/livez", get(healthy))
        .route("/-/ready", get(ready))
        .route("/readyz", get(ready))
        .route("/api/v1/targets", get(targets))
        .route("/api/v1/targets/{name}", get(target))
        .route("/api/v1/targets/{name}/history", get(history))
        .route("/api/v1/targets/{name}/sockets", get(target_sockets))
        .route("/api/v1/stream", get(stream::stream))
        .fallback(not_found)
        .layer(middleware::map_response(headers::add))
        .with_state(served)
}

/// Says what there is instead.
async fn not_found(uri: Uri) -> (StatusCode, String) {
    let mut text = format!("there is nothing at {}; there is:\n", uri.path());
    for (path, what) in ENDPOINTS {
        let _ = writeln!(text, "  {path:<32} {what}");
    }
    (StatusCode::NOT_FOUND, text)
}

async fn metrics(State(watch): State<Arc<Watch>>) -> Response {
    // Reading maps and rendering block: they do not belong on the runtime's own threads.
    let page = PAGES.run(move || instruments::render(&watch)).await;
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], page).into_response()
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
    Json(target_list(&watch))
}

async fn target(State(watch): State<Arc<Watch>>, Path(name): Path<String>) -> Response {
    match watch.target(&name) {
        Some(target) => Json(TargetReport::of(&target)).into_response(),
        None => no_such_target(),
    }
}

/// What is asked of a history.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Past {
    /// Only checks whose claim was read after this, RFC 3339.
    after: Option<String>,
}

async fn history(
    State(watch): State<Arc<Watch>>,
    Path(name): Path<String>,
    query: Result<Query<Past>, QueryRejection>,
) -> Response {
    let after = match query {
        Ok(Query(Past { after })) => after.as_deref().map(humantime::parse_rfc3339).transpose(),
        Err(rejection) => return (StatusCode::BAD_REQUEST, rejection.body_text()).into_response(),
    };
    let Ok(after) = after else {
        let hint = "after: not a time such as 2026-01-31T12:00:00.000Z\n";
        return (StatusCode::BAD_REQUEST, hint).into_response();
    };
    match watch.target(&name) {
        Some(target) => Json(HistoryReport::since(&target, after)).into_response(),
        None => no_such_target(),
    }
}

async fn target_sockets(
    State(watch): State<Arc<Watch>>,
    State(lists): State<Arc<Semaphore>>,
    Path(name): Path<String>,
    query: Result<Query<sockets::Query>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return (StatusCode::BAD_REQUEST, rejection.body_text()).into_response(),
    };
    let Some(target) = watch.target(&name) else {
        return no_such_target();
    };
    let Ok(place) = lists.try_acquire_owned() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, "1")],
            format!("{LISTS} lists of sockets are being made, and that is the most; try again\n"),
        )
            .into_response();
    };
    // A dump blocks for as long as there are sockets, whether anybody still waits for it or not.
    let listed = tokio::task::spawn_blocking(move || {
        let _place = place;
        sockets::list(target.endpoints.iter(), query)
    });
    let listed = listed.await;
    match listed {
        Ok(Ok(list)) => Json(list).into_response(),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn no_such_target() -> Response {
    (StatusCode::NOT_FOUND, "no such target\n").into_response()
}

fn target_list(watch: &Watch) -> TargetList {
    let targets = watch.targets();
    TargetList {
        targets: targets
            .iter()
            .map(|target| TargetReport::of(target))
            .collect(),
    }
}
