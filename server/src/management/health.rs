//! Liveness and readiness.
//!
//! Alive means that requests are answered; it asks nothing else, because a restart does not mend a
//! database, and one that does not answer at the start is no reason either. Ready means that new work
//! is welcome.

use std::sync::Arc;

use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
};

use super::{Management, STARTING};

/// `GET /livez`: that this answers is the answer.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: 503 while new work is not welcome; `?verbose` lists what was looked at.
///
/// Without S3 messages still flow, so S3 is listed but does not decide.
pub(super) async fn ready(
    State(management): State<Arc<Management>>,
    RawQuery(query): RawQuery,
) -> (StatusCode, String) {
    let Some(relay) = management.relay.get() else {
        return (StatusCode::SERVICE_UNAVAILABLE, STARTING.to_owned());
    };
    let is_serving = !relay.hub.is_draining();
    let has_database = relay.store.check().is_ok();
    let is_ready = is_serving && has_database;
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let verdict = |is_good| if is_good { "ok" } else { "failed" };
    if query.is_none_or(|query| query != "verbose") {
        return (status, format!("{}\n", verdict(is_ready)));
    }
    let checks = [
        ("serving", is_serving),
        ("database", has_database),
        ("s3", relay.attachments.is_available()),
        ("ready", is_ready),
    ];
    let lines = checks.map(|(name, is_good)| format!("{name} {}\n", verdict(is_good)));
    (status, lines.concat())
}
