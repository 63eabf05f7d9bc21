//! Retention: what is too old is removed, in batches, and what an upload left behind as well.
//!
//! Knows how old is too old. What fails is tried again at the next beat, so nothing is lost by it.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::{
    attachments::S3Error,
    config::{Config, Span},
    relay::{Relay, now},
    store::{BATCH, StoreError},
};

/// Longest and shortest time between two beats; in between, it is a tenth of the shortest retention.
const BEATS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// Longest time from the start to the first beat: at first there are others to serve.
const FIRST: Duration = Duration::from_secs(5);

/// Longest time from the end of an upload to its row in the database, time-outs and all.
const LAST_STEPS: Duration = Duration::from_secs(60);

/// Why something that is too old is still there.
#[derive(Debug, thiserror::Error)]
enum NotRemoved {
    #[error("the database failed")]
    Store(#[from] StoreError),
    #[error("S3 failed")]
    S3(#[from] S3Error),
}

/// Removes what is too old at each beat. Never ends.
pub(crate) async fn run(relay: Arc<Relay>) {
    let period = beat(&relay.config);
    let mut beat = interval_at(Instant::now() + period.min(FIRST), period);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        if let Err(error) = sweep(&relay).await {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(%error, cause, "what is too old is still there: tried again later");
        }
    }
}

fn beat(config: &Config) -> Duration {
    let retentions = [config.message_retention, config.attachment_retention];
    let finite = retentions.into_iter().filter_map(age);
    let shortest = finite.min().unwrap_or(Duration::MAX);
    (shortest / 10).clamp(BEATS.0, BEATS.1)
}

/// How old something may get; `None` for ever.
fn age(retention: Span) -> Option<Duration> {
    Some(retention.get()).filter(|age| !age.is_zero())
}

/// The time before which everything is older than that.
fn before(age: Duration) -> i64 {
    // An age beyond all time leaves nothing that is older.
    i64::try_from(age.as_millis()).map_or(i64::MIN, |age| now().saturating_sub(age))
}

async fn sweep(relay: &Relay) -> Result<(), NotRemoved> {
    if let Some(age) = age(relay.config.message_retention) {
        let removed = expire_messages(relay, age).await?;
        if removed > 0 {
            tracing::info!(removed, ?age, "messages that nobody acked were removed");
        }
    }
    // Objects first: where S3 does not work, no more of them are left to it.
    remove_objects(relay).await?;
    if let Some(age) = age(relay.config.attachment_retention) {
        let removed = expire_attachments(relay, age).await?;
        if removed > 0 {
            tracing::info!(removed, ?age, "attachments were removed");
            remove_objects(relay).await?;
        }
    }
    Ok(())
}

/// Removes messages, batch after batch, until one is not full; says how many.
async fn expire_messages(relay: &Relay, age: Duration) -> Result<u64, StoreError> {
    let mut removed = 0;
    loop {
        let batch = relay.store.expire_messages(before(age)).await?;
        relay.metrics.count_messages_expired(batch);
        removed += batch;
        if batch < BATCH {
            return Ok(removed);
        }
    }
}

/// Removes attachments in the same way; their objects are still there.
async fn expire_attachments(relay: &Relay, age: Duration) -> Result<u64, StoreError> {
    let mut removed = 0;
    loop {
        let batch = relay.store.expire_attachments(before(age)).await?;
        relay.metrics.count_attachments_expired(batch);
        removed += batch;
        if batch < BATCH {
            return Ok(removed);
        }
    }
}

/// Removes objects that no attachment refers to.
async fn remove_objects(relay: &Relay) -> Result<(), NotRemoved> {
    // An upload that is not that old may still become an attachment.
    let patience = relay.config.upload_timeout.get().saturating_add(LAST_STEPS);
    loop {
        let doomed = relay.store.doom_objects(before(patience)).await?;
        for id in &doomed {
            relay.attachments.delete(id).await?;
            relay.store.forget_object(id).await?;
            relay.metrics.count_object_removed();
        }
        if (doomed.len() as u64) < BATCH {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Given;

    #[test]
    fn what_is_kept_for_ever_sets_no_beat_and_a_short_age_a_quick_one() {
        let check = |messages: &str, attachments: &str, expected: u64| {
            let mut config = Given::default().over(Given::default());
            config.message_retention = messages.parse().unwrap();
            config.attachment_retention = attachments.parse().unwrap();
            assert_eq!(beat(&config), Duration::from_millis(expected));
        };
        check("0s", "0s", 60_000);
        check("30days", "0s", 60_000);
        check("0s", "100s", 10_000);
        check("1ms", "100s", 100);
    }

    #[test]
    fn an_age_beyond_all_time_removes_nothing() {
        assert_eq!(before(Duration::MAX), i64::MIN);
        assert!(before(Duration::from_secs(1)) <= now() - 1000);
    }
}
