//! The public port: its routes, and what surrounds every one of them.
//!
//! Knows paths and limits on bodies. Deliberately has no metrics, health or connection list: they
//! are the management port's alone.

mod accounts;
mod attachments;
pub(crate) mod authentication;
pub(crate) mod error;
mod messages;
mod observe;
pub(crate) mod origin;

use std::{any::Any, sync::Arc};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use error::ApiError;
use tower_http::{catch_panic::CatchPanicLayer, timeout::RequestBodyTimeoutLayer};

use crate::{gateway, relay::Relay};

/// Every route, by its path; also the only values, with `unmatched`, of the label `route`.
pub(crate) const ROUTES: &[&str] = &[ACCOUNTS, ATTACHMENT, ATTACHMENTS, GATEWAY, MESSAGES];
const ACCOUNTS: &str = "/v1/accounts";
const ATTACHMENT: &str = "/v1/attachments/{id}";
const ATTACHMENTS: &str = "/v1/attachments";
const GATEWAY: &str = "/v1/gateway";
const MESSAGES: &str = "/v1/messages";

/// The public port's service.
pub(crate) fn router(relay: &Arc<Relay>) -> Router {
    let observe = middleware::from_fn_with_state(Arc::clone(&relay.metrics), observe::observe);
    Router::new()
        .route(ACCOUNTS, post(accounts::create))
        .route(ATTACHMENTS, post(attachments::upload))
        .route(ATTACHMENT, get(attachments::download))
        .route(GATEWAY, get(gateway::connect))
        .route(MESSAGES, post(messages::send))
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(relay.config.body_limit))
        .layer(RequestBodyTimeoutLayer::new(
            relay.config.body_timeout.get(),
        ))
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(observe)
        .with_state(Arc::clone(relay))
}

fn answer_panic(_: Box<dyn Any + Send>) -> Response {
    // The panic hook has already written message and place to the log.
    ApiError::Panic.into_response()
}
