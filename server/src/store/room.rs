//! Room: how many messages may wait.
//!
//! Knows the two limits, and nothing of who has reached them.

use crate::config::Config;

/// How many messages may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// For one recipient.
    pub(super) of_recipient: i64,
    /// For one recipient, of one sender.
    pub(super) of_sender: i64,
}

impl Room {
    /// The room that is configured; unless it says otherwise, no sender has more than half of it.
    pub(crate) fn of(config: &Config) -> Self {
        let of_sender = match config.sender_pending_limit {
            0 => (config.pending_limit / 2).max(1),
            limit => limit,
        };
        Self {
            of_recipient: config.pending_limit.into(),
            of_sender: of_sender.into(),
        }
    }
}
