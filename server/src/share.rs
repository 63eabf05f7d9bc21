//! Shares: how much of what all have in common one of them may hold at once.
//!
//! Knows a bounded number of keys; one that is forgotten starts with its whole share.

use std::{convert::Infallible, hash::Hash, sync::Arc};

use quick_cache::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most keys that are remembered.
const KEYS: usize = 16 * 1024;

/// A limit on how many places each key holds at once.
pub(crate) struct Share<K> {
    places: usize,
    held: Cache<K, Arc<Semaphore>>,
}

impl<K: Eq + Hash + Clone> Share<K> {
    /// Allows each key `places`, and one at the least.
    pub(crate) fn new(places: usize) -> Self {
        Self {
            places: places.max(1),
            held: Cache::new(KEYS),
        }
    }

    /// Waits until a place of `key` is free; it is held until the permit is dropped.
    pub(crate) async fn take(&self, key: &K) -> Option<OwnedSemaphorePermit> {
        let places = || Ok::<_, Infallible>(Arc::new(Semaphore::new(self.places)));
        let Ok(places) = self.held.get_or_insert_with(key, places);
        // The semaphore is never closed; if it were, the key would merely have no limit.
        places.acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn one_key_holds_its_share_and_no_more() {
        let share = Share::new(2);
        let take = |key| share.take(key).now_or_never();
        let (first, _second) = (take(&"a"), take(&"a"));
        assert!(first.is_some() && take(&"a").is_none());
        assert!(take(&"b").is_some());
        drop(first);
        assert!(take(&"a").is_some());
    }
}
