//! The private port of a service: metrics, health and the list of sessions.
//!
//! Knows how the inside is shown to operators. Deliberately changes nothing, and is a router of its own:
//! what it says is not for the public port.

use std::{fmt, sync::Arc};

use axum::{
    Router,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, StatusCode, header};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{exposition::Format, registry::Registry, sessions::Sessions};

/// Most scrapes and lists that are rendered at once; further ones are answered 503.
const RENDERINGS: usize = 4;

/// What is said of a service that is not there yet.
const STARTING: &str = "starting\n";

/// What the service is asked for its sessions, and for its health: `None` while it starts.
type Ask<T> = Box<dyn Fn() -> Option<T> + Send + Sync>;

/// One thing that readiness looks at.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its name in `/readyz?verbose`.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub is_good: bool,
    /// Whether new work is unwelcome while it is not; else it is listed and no more.
    pub decides: bool,
}

/// The routes of a private port:
///
/// | route | answer |
/// |---|---|
/// | `GET /metrics` | the registry's page, in text or OpenMetrics |
/// | `GET /connections` | each open session as a line of JSON, where [`sessions`](Self::sessions) are shown |
/// | `GET /livez` | 200: requests are answered. A restart mends nothing else |
/// | `GET /readyz`, `GET /healthz` | 200, or 503 while new work is unwelcome; `?verbose` lists the checks |
pub struct Management {
    registry: Registry,
    sessions: Option<Ask<String>>,
    checks: Ask<Vec<Check>>,
    renderings: Arc<Semaphore>,
}

impl Management {
    /// Shows a registry; the service is ready at once, and always.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self {
            registry: registry.clone(),
            sessions: None,
            checks: Box::new(|| Some(Vec::new())),
            renderings: Arc::new(Semaphore::new(RENDERINGS)),
        }
    }

    /// Lists open sessions.
    #[must_use]
    pub fn sessions(self, sessions: &Sessions) -> Self {
        let sessions = sessions.clone();
        self.connections(move || Some(sessions.lines()))
    }

    /// Lists connections of any kind, a line of JSON for each; none while the service starts.
    #[must_use]
    pub fn connections(
        mut self,
        lines: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.sessions = Some(Box::new(lines));
        self
    }

    /// Is ready if every check is good that decides; not ready while there are none, as the service starts.
    #[must_use]
    pub fn ready(
        mut self,
        checks: impl Fn() -> Option<Vec<Check>> + Send + Sync + 'static,
    ) -> Self {
        self.checks = Box::new(checks);
        self
    }

    /// The routes, for a listener of their own.
    pub fn router(self) -> Router {
        let mut router = Router::new()
            .route("/metrics", get(metrics))
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/healthz", get(ready));
        if self.sessions.is_some() {
            router = router.route("/connections", get(connections));
        }
        router.with_state(Arc::new(self))
    }

    /// Renders off the async threads, because it takes milliseconds.
    async fn render(
        &self,
        content_type: &'static str,
        render: impl FnOnce() -> Option<String> + Send + 'static,
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
            Ok(Some(text)) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
            Ok(None) => (StatusCode::SERVICE_UNAVAILABLE, STARTING).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

impl fmt::Debug for Management {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Management")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

async fn metrics(State(management): State<Arc<Management>>, headers: HeaderMap) -> Response {
    let format = Format::asked_for(&headers);
    let registry = management.registry.clone();
    let render = move || Some(registry.render_as(format));
    management.render(format.content_type(), render).await
}

async fn connections(State(management): State<Arc<Management>>) -> Response {
    let asked = Arc::clone(&management);
    let render = move || asked.sessions.as_ref().and_then(|lines| lines());
    management.render("application/x-ndjson", render).await
}

async fn ready(
    State(management): State<Arc<Management>>,
    RawQuery(query): RawQuery,
) -> (StatusCode, String) {
    let Some(mut checks) = (management.checks)() else {
        return (StatusCode::SERVICE_UNAVAILABLE, STARTING.to_owned());
    };
    let is_ready = checks.iter().all(|check| check.is_good || !check.decides);
    let status = match is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let verdict = |is_good| if is_good { "ok" } else { "failed" };
    if query.is_none_or(|query| query != "verbose") {
        return (status, format!("{}\n", verdict(is_ready)));
    }
    checks.push(Check {
        name: "ready",
        is_good: is_ready,
        decides: true,
    });
    let lines = checks.iter();
    let lines = lines.map(|check| format!("{} {}\n", check.name, verdict(check.is_good)));
    (status, lines.collect())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    use axum::body::{Body, to_bytes};
    use http::Request;
    use tower::ServiceExt as _;

    use super::*;
    use crate::sessions;

    async fn ask(router: &Router, path: &str, accept: &str) -> (StatusCode, String, String) {
        let request = Request::get(path).header(header::ACCEPT, accept);
        let request = request.body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let kind = head.headers.get(header::CONTENT_TYPE);
        let kind = kind.map_or("", |kind| kind.to_str().unwrap()).to_owned();
        (head.status, kind, String::from_utf8(body.into()).unwrap())
    }

    #[tokio::test]
    async fn metrics_and_sessions_are_shown() {
        let registry = Registry::new(&[sessions::CATALOGUE]).unwrap();
        let sessions = Sessions::new(&registry);
        let router = Management::new(&registry).sessions(&sessions).router();
        let _session = sessions.enter(([192, 0, 2, 1], 7).into());
        let (status, kind, page) = ask(&router, "/metrics", "*/*").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(kind, Format::Text.content_type());
        assert!(page.contains("\nactive_connections 1\n"), "{page}");
        let (_, kind, page) = ask(&router, "/metrics", "application/openmetrics-text").await;
        assert_eq!(kind, Format::OpenMetrics.content_type());
        assert!(page.ends_with("# EOF\n"), "{page}");
        let (_, kind, lines) = ask(&router, "/connections", "*/*").await;
        assert_eq!(kind, "application/x-ndjson");
        assert!(lines.contains("\"peer\":\"192.0.2.1:7\""), "{lines}");
        let bare = Management::new(&registry).router();
        let (status, ..) = ask(&bare, "/connections", "*/*").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn readiness_is_what_the_checks_that_decide_say() {
        let is_there = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&is_there);
        let registry = Registry::new(&[]).unwrap();
        let management = Management::new(&registry).ready(move || {
            let check = |name, is_good, decides| Check {
                name,
                is_good,
                decides,
            };
            let is_there = asked.load(SeqCst);
            Some(vec![
                check("database", is_there, true),
                check("s3", false, false),
            ])
        });
        let router = management.router();
        let (status, _, said) = ask(&router, "/readyz?verbose", "*/*").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(said, "database failed\ns3 failed\nready failed\n");
        is_there.store(true, SeqCst);
        let (status, _, said) = ask(&router, "/readyz", "*/*").await;
        assert_eq!((status, &*said), (StatusCode::OK, "ok\n"));
        let starting = Management::new(&registry).ready(|| None).router();
        let (status, _, said) = ask(&starting, "/healthz", "*/*").await;
        assert_eq!(
            (status, &*said),
            (StatusCode::SERVICE_UNAVAILABLE, STARTING)
        );
        let (status, ..) = ask(&starting, "/livez", "*/*").await;
        assert_eq!(status, StatusCode::OK);
    }
}
