//! What is wrong with settings that can be read: asked before anything is opened.
//!
//! Knows which settings make no server. Deliberately does not try them: whether a port is free or a
//! database is there shows when it starts.

use crate::{
    config::Config,
    metrics_service::{MetricsError, MetricsService},
    store,
};

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A limit that lets nothing through.
    #[error("`{0}` must be at least 1: with 0, nothing would be served")]
    Zero(&'static str),
    /// A time in which nothing can happen.
    #[error("`{0}` must be longer than 0s")]
    NoTime(&'static str),
    /// The address is not one of a database that is supported.
    #[error("`database-url` must start with `sqlite:` or `postgres:`")]
    Database,
    /// The metrics are configured wrongly.
    #[error("cannot set up the metrics")]
    Metrics(#[from] MetricsError),
}

/// Says what is wrong with the settings, the first that is found.
///
/// # Errors
/// When there is something.
pub fn check(config: &Config) -> Result<(), SettingsError> {
    let limits = [
        ("connections-limit", config.connections_limit),
        ("sessions-limit", config.sessions_limit),
        ("account-sessions-limit", config.account_sessions_limit),
        ("unacked-limit", config.unacked_limit),
        ("ack-capacity", config.ack_capacity),
        ("store-capacity", config.store_capacity),
        ("uploads-limit", config.uploads_limit),
        ("pending-limit", config.pending_limit as usize),
    ];
    if let Some((name, _)) = limits.into_iter().find(|(_, limit)| *limit == 0) {
        return Err(SettingsError::Zero(name));
    }
    let times = [
        ("upload-timeout", config.upload_timeout),
        ("database-timeout", config.database_timeout),
        ("header-timeout", config.header_timeout),
        ("body-timeout", config.body_timeout),
        ("ping-interval", config.ping_interval),
        ("pong-timeout", config.pong_timeout),
        ("write-timeout", config.write_timeout),
    ];
    if let Some((name, _)) = times.into_iter().find(|(_, time)| time.get().is_zero()) {
        return Err(SettingsError::NoTime(name));
    }
    if !config.database_url.is_empty() && !store::is_supported(&config.database_url) {
        return Err(SettingsError::Database);
    }
    MetricsService::new(&config.buckets)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Given;

    fn said(settings: &str) -> String {
        let given: Given = toml::from_str(settings).unwrap();
        match check(&given.over(Given::default())) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn settings_that_make_no_server_are_named() {
        assert_eq!(said(""), "ok");
        assert_eq!(said("database-url = 'postgres://x/y'"), "ok");
        assert!(said("database-url = 'mysql://x/y'").contains("sqlite:"));
        assert!(said("database-url = 'x'").contains("sqlite:"));
        assert!(said("unacked-limit = 0").contains("`unacked-limit` must be at least 1"));
        assert!(said("ping-interval = '0s'").contains("`ping-interval` must be longer"));
        assert!(said("[buckets]\nnothing = [1.0]").contains("metrics"));
    }
}
