//! The public port: its routes, and what surrounds every one of them.
//!
//! Knows paths and limits on bodies. Deliberately has no metrics, health or connection list: they
//! are the management port's alone.

mod accounts;
pub(crate) mod authentication;
pub(crate) mod error;
mod observe;

use std::{any::Any, sync::Arc};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use error::ApiError;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{gateway, relay::Relay};

/// Every route, by its path; also the only values, with `unmatched`, of the label `route`.
pub(crate) const ROUTES: &[&str] = &[ACCOUNTS, GATEWAY];
const ACCOUNTS: &str = "/v1/accounts";
const GATEWAY: &str = "/v1/gateway";

/// The public port's service.
pub(crate) fn router(relay: &Arc<Relay>) -> Router {
    let observe = middleware::from_fn_with_state(Arc::clone(&relay.metrics), observe::observe);
    Router::new()
        .route(ACCOUNTS, post(accounts::create))
        .route(GATEWAY, get(gateway::connect))
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(relay.config.body_limit))
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(observe)
        .with_state(Arc::clone(relay))
}

fn answer_panic(_: Box<dyn Any + Send>) -> Response {
    // The panic hook has already written message and place to the log.
    ApiError::Panic.into_response()
}
