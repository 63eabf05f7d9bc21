//! The middleware that measures every request on the public port.
//!
//! Knows how to keep labels to a closed set whatever a client sends. Deliberately sees nothing of
//! bodies: a response counts when its headers are ready, a WebSocket when its 101 is.

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};

use super::ROUTES;
use crate::metrics_service::MetricsService;

/// Counts and times the request; if its future is dropped, the client has left.
pub(super) async fn observe(
    State(metrics): State<Arc<MetricsService>>,
    matched: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let route = route_label(matched.as_ref().map(MatchedPath::as_str));
    let observed = metrics.observe_request(method_label(request.method()), route);
    let response = next.run(request).await;
    observed.answered(response.status().as_u16());
    response
}

fn route_label(matched: Option<&str>) -> &'static str {
    let known = ROUTES.iter().find(|&&route| Some(route) == matched);
    known.copied().unwrap_or("unmatched")
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::PATCH => "PATCH",
        Method::TRACE => "TRACE",
        _ => "OTHER",
    }
}
