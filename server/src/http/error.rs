//! What a client may see of a failure: `application/problem+json` (RFC 9457).
//!
//! Knows the status of each error, once. Deliberately shows nothing of a source: that is logged.

use std::time::Duration;

use axum::{
    extract::rejection::JsonRejection,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    attachments::S3Error,
    authentication::AuthenticationError,
    sessions::Refusal,
    store::{NotStored, StoreError},
};

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
    /// The handshake comes from a web page that may not connect.
    #[error("pages of this origin may not connect")]
    Origin,
    /// The JSON body cannot be used; the text says why.
    #[error("{1}")]
    Body(StatusCode, String),
    /// A body or text is larger than allowed.
    #[error("larger than allowed")]
    TooLarge,
    /// The next part of the body did not come in time.
    #[error("the body comes too slowly")]
    SlowBody,
    /// The body ended before its end.
    #[error("the body is not complete")]
    BrokenBody,
    /// More requests than allowed; there is room again after this time.
    #[error("too many requests")]
    TooMany(Duration),
    /// The recipient of a message does not exist.
    #[error("there is no such recipient")]
    NoRecipient,
    /// The attachment of a message does not exist or is not the sender's.
    #[error("there is no such attachment")]
    NoAttachment,
    /// The recipient has too many messages waiting.
    #[error("the recipient has too many messages waiting")]
    RecipientFull,
    /// The recipient has too many messages of this sender waiting.
    #[error("too many of your messages wait for this recipient")]
    ShareFull,
    /// The database cannot hold the text of a message.
    #[error("this text cannot be stored")]
    Unfit,
    /// More messages wait to be stored than allowed.
    #[error("too many messages wait to be stored")]
    Busy,
    /// S3 failed.
    #[error("attachments are not available")]
    S3(#[source] S3Error),
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
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Body(status, _) => *status,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::BrokenBody => StatusCode::BAD_REQUEST,
            Self::TooMany(_) | Self::RecipientFull | Self::ShareFull => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::NoRecipient | Self::NoAttachment | Self::Unfit => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::TooManySessions | Self::Draining | Self::Busy | Self::Store(_) | Self::S3(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Randomness(_) | Self::Panic => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl ApiError {
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooMany(wait) => Some(*wait),
            Self::Store(StoreError::Unavailable(open)) | Self::S3(S3Error::Unavailable(open)) => {
                Some(open.retry_after)
            }
            Self::TooManySessions
            | Self::Draining
            | Self::Busy
            | Self::Store(_)
            | Self::S3(_)
            | Self::RecipientFull
            | Self::ShareFull => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

impl From<AuthenticationError> for ApiError {
    fn from(error: AuthenticationError) -> Self {
        match error {
            AuthenticationError::Unproven => Self::Unauthorized,
            AuthenticationError::Store(error) => Self::Store(error),
        }
    }
}

impl From<S3Error> for ApiError {
    fn from(error: S3Error) -> Self {
        match error {
            // A bucket may have rules by which objects go: whoever asks learns that, and S3 works.
            S3Error::Missing => Self::NotFound,
            S3Error::Unavailable(_) | S3Error::Failed(_) => Self::S3(error),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooMany => Self::TooManySessions,
            Refusal::Draining => Self::Draining,
        }
    }
}

impl From<NotStored> for ApiError {
    fn from(reason: NotStored) -> Self {
        match reason {
            NotStored::NoRecipient => Self::NoRecipient,
            NotStored::NoAttachment => Self::NoAttachment,
            NotStored::Full => Self::RecipientFull,
            NotStored::ShareFull => Self::ShareFull,
            NotStored::Unfit => Self::Unfit,
            NotStored::Failed(error) => Self::Store(error),
        }
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        Self::Body(rejection.status(), rejection.body_text())
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
        if matches!(self, Self::Unauthorized) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after() {
            // Whole seconds, rounded up: earlier is too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
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
