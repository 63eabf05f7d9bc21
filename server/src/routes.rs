//! The paths of the public port, each once: where the router puts its handlers, and what the metrics
//! call a request.
//!
//! Knows names only, so that the metrics need not know the handlers.

pub(crate) const ACCOUNTS: &str = "/v1/accounts";
pub(crate) const ATTACHMENT: &str = "/v1/attachments/{id}";
pub(crate) const ATTACHMENTS: &str = "/v1/attachments";
pub(crate) const GATEWAY: &str = "/v1/gateway";
pub(crate) const MESSAGES: &str = "/v1/messages";

/// Every route; also the only values, with `unmatched`, of the label `route`.
pub(crate) const ROUTES: [&str; 5] = [ACCOUNTS, ATTACHMENT, ATTACHMENTS, GATEWAY, MESSAGES];
