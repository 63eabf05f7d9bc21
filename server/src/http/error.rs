//! What a client may see of a failure: `application/problem+json` (RFC 9457).
//!
//! Knows the status of each error, once. Deliberately shows nothing of a source: that is logged.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::store::StoreError;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// No token, or one that proves nothing.
    #[error("a valid bearer token is needed")]
    Unauthorized,
    /// No such thing, or not for this account: the two look alike.
    #[error("there is nothing here")]
    NotFound,
    /// The route exists for other methods.
    #[error("this route does not take that method")]
    MethodNotAllowed,
    /// The request is no WebSocket handshake; the text says why.
    #[error("not a WebSocket handshake: {1}")]
    Handshake(StatusCode, String),
    /// More sessions than allowed, here or for this account.
    #[error("too many open sessions")]
    TooManySessions,
    /// The server is about to stop.
    #[error("the server is about to stop")]
    Draining,
    /// The database failed.
    #[error("the database does not answer")]
    Store(#[from] StoreError),
    /// The kernel gave no randomness.
    #[error("no randomness")]
    Randomness(#[from] getrandom::Error),
    /// The handler panicked.
    #[error("internal error")]
    Panic,
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Handshake(status, _) => *status,
            Self::TooManySessions | Self::Draining | Self::Store(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Randomness(_) | Self::Panic => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

#[derive(Serialize)]
struct Problem {
    title: &'static str,
    status: u16,
    detail: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            log(&self);
        }
        let problem = Problem {
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: self.to_string(),
        };
        let mut response = (status, axum::Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        match self {
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::TooManySessions | Self::Draining | Self::Store(_) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

/// Logs a failure with its whole chain, here and nowhere else.
fn log(error: &ApiError) {
    let mut chain = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        chain = format!("{chain}: {cause}");
        source = cause.source();
    }
    tracing::warn!(error = chain, "request failed");
}
