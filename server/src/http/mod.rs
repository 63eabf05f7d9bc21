//! The public port: its routes, and what surrounds every one of them.
//!
//! Knows who answers which path, and limits on bodies. Deliberately has no metrics, health or connection list: they
//! are the management port's alone.

mod accounts;
mod attachments;
mod error;
mod gateway;
mod messages;
mod origin;

use std::{any::Any, sync::Arc};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use error::ApiError;
use exporter::http::Measured;
use tower_http::{catch_panic::CatchPanicLayer, timeout::RequestBodyTimeoutLayer};

use crate::{
    metrics_service::MetricsService,
    relay::Relay,
    routes::{ACCOUNTS, ATTACHMENT, ATTACHMENTS, GATEWAY, MESSAGES},
};

/// The public port's service.
pub(crate) fn router(relay: &Arc<Relay>) -> Measured<Router> {
    let routes = Router::new()
        .route(ACCOUNTS, post(accounts::create).options(origin::ask))
        .route(ATTACHMENTS, post(attachments::upload).options(origin::ask))
        .route(ATTACHMENT, get(attachments::download).options(origin::ask))
        .route(GATEWAY, get(gateway::connect))
        .route(MESSAGES, post(messages::send).options(origin::ask))
        // Around routes alone: what is not there is not there for a browser either.
        .route_layer(origin::allow(&relay.config.allowed_origins.0))
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(relay.config.body_limit))
        .layer(RequestBodyTimeoutLayer::new(
            relay.config.body_timeout.get(),
        ))
        .with_state(Arc::clone(relay));
    surround(routes, &relay.metrics)
}

/// What is around every route: a panic is answered, and whatever happens is measured.
fn surround(routes: Router, metrics: &MetricsService) -> Measured<Router> {
    let routes = routes.layer(CatchPanicLayer::custom(answer_panic));
    metrics.http().measure(routes)
}

fn answer_panic(_: Box<dyn Any + Send>) -> Response {
    // The panic hook has already written message and place to the log.
    ApiError::Panic.into_response()
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{Request, StatusCode},
    };
    use tower::ServiceExt as _;

    use super::*;
    use crate::config::Buckets;

    fn panic() -> StatusCode {
        panic!("as a bug would")
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_and_counted() {
        let metrics = MetricsService::new(&Buckets::default()).unwrap();
        let routes = Router::new().route(MESSAGES, post(async || panic()));
        let request = Request::post(MESSAGES).body(Body::empty()).unwrap();
        let response = surround(routes, &metrics).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let counted =
            "http_requests_total{method=\"POST\",route=\"/v1/messages\",status=\"500\"} 1";
        assert!(
            metrics.registry().render().contains(counted),
            "{}",
            metrics.registry().render()
        );
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_is_counted_as_499() {
        let metrics = MetricsService::new(&Buckets::default()).unwrap();
        let routes = Router::new().route(MESSAGES, post(std::future::pending::<StatusCode>));
        let request = Request::post(MESSAGES).body(Body::empty()).unwrap();
        let answer = surround(routes, &metrics).oneshot(request);
        let ended = tokio::time::timeout(std::time::Duration::from_millis(10), answer).await;
        assert!(ended.is_err());
        let counted =
            "http_requests_total{method=\"POST\",route=\"/v1/messages\",status=\"499\"} 1";
        assert!(
            metrics.registry().render().contains(counted),
            "{}",
            metrics.registry().render()
        );
    }
}
