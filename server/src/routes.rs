//! The paths of the public port, each once: where the router puts its handlers, and what the metrics
//! call a request.
//!
//! Knows names only, so that the metrics need not know the handlers.

use http::Method;

pub(crate) const ACCOUNTS: &str = "/v1/accounts";
pub(crate) const ATTACHMENT: &str = "/v1/attachments/{id}";
pub(crate) const ATTACHMENTS: &str = "/v1/attachments";
pub(crate) const GATEWAY: &str = "/v1/gateway";
pub(crate) const MESSAGES: &str = "/v1/messages";

/// What clients that know the routes ask for, and the statuses of what they are answered: 499 is a
/// client that left before its answer.
pub(crate) const ANSWERS: [(Method, &str, &[u16]); ROUTES.len()] = [
    (Method::POST, ACCOUNTS, &[201, 429, 499, 500, 503]),
    (Method::GET, ATTACHMENT, &[200, 401, 404, 499, 500, 503]),
    (
        Method::POST,
        ATTACHMENTS,
        &[201, 400, 401, 408, 413, 429, 499, 500, 503],
    ),
    (
        Method::GET,
        GATEWAY,
        &[101, 400, 401, 403, 426, 499, 500, 503],
    ),
    (
        Method::POST,
        MESSAGES,
        &[202, 400, 401, 413, 415, 422, 429, 499, 500, 503],
    ),
];

/// Every route; also the only values, with `unmatched`, of the label `route`.
pub(crate) const ROUTES: [&str; 5] = [ACCOUNTS, ATTACHMENT, ATTACHMENTS, GATEWAY, MESSAGES];
