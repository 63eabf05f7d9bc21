//! Liveness and readiness.
//!
//! Alive means that requests are answered; it asks nothing else, because a restart does not mend a
//! database. Ready means that new work is welcome.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};

use super::Management;

/// `GET /livez`: that this answers is the answer.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: 503 once the server is about to stop.
pub(super) async fn ready(State(management): State<Arc<Management>>) -> (StatusCode, &'static str) {
    if management.relay.hub.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}
