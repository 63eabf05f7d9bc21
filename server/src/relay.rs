//! What every request and session of one relay shares.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    config::Config, gateway::hub::Hub, http::authentication::Authentication,
    metrics_service::MetricsService, store::Store,
};

/// The shared parts; each is safe to use from any task.
pub(crate) struct Relay {
    pub(crate) config: Config,
    pub(crate) metrics: Arc<MetricsService>,
    pub(crate) store: Store,
    pub(crate) authentication: Authentication,
    pub(crate) hub: Arc<Hub>,
}

/// The wall clock. Unit: milliseconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 or after the year 292 million is no better than 0.
    since
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}
