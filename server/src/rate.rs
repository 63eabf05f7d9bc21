//! Rate limits: a bucket of tokens for each key, refilled steadily.
//!
//! Knows a bounded number of keys; one that is forgotten starts with a full bucket. Whoever lives as
//! long as its own limit, such as a session, holds a [`Bucket`] itself.

use std::{
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use quick_cache::sync::Cache;

/// Most keys that are remembered.
const KEYS: usize = 16 * 1024;
/// How many seconds' worth of tokens a full bucket holds.
const BURST: f64 = 10.0;

/// A limit on how often something may be done for each key.
pub(crate) struct Rate<K> {
    per_second: u32,
    buckets: Cache<K, Arc<Mutex<Bucket>>>,
}

/// The tokens of one key.
#[derive(Clone, Copy)]
pub(crate) struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    /// Full, for a rate of `per_second`.
    pub(crate) fn full(per_second: u32, now: Instant) -> Self {
        Self {
            tokens: f64::from(per_second) * BURST,
            filled_at: now,
        }
    }

    /// Takes a token, or says how long to wait for one.
    pub(crate) fn take(&mut self, per_second: u32, now: Instant) -> Result<(), Duration> {
        let refill = f64::from(per_second);
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * refill).min(refill * BURST);
        self.filled_at = self.filled_at.max(now);
        if self.tokens < 1.0 {
            let wait = (1.0 - self.tokens) / refill.max(f64::MIN_POSITIVE);
            return Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX));
        }
        self.tokens -= 1.0;
        Ok(())
    }
}

impl<K: Eq + Hash + Clone> Rate<K> {
    /// Allows `per_second` in the long run, and ten times that at once.
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            per_second,
            buckets: Cache::new(KEYS),
        }
    }

    /// Takes a token of `key`, or says how long to wait for one.
    pub(crate) fn take(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let fresh = || {
            let full = Bucket::full(self.per_second, now);
            Ok::<_, std::convert::Infallible>(Arc::new(Mutex::new(full)))
        };
        let Ok(bucket) = self.buckets.get_or_insert_with(key, fresh);
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.take(self.per_second, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let (rate, start) = (Rate::new(2), Instant::now());
        for _ in 0..20 {
            assert_eq!(rate.take(&"a", start), Ok(()));
        }
        assert_eq!(rate.take(&"a", start), Err(Duration::from_millis(500)));
        assert_eq!(rate.take(&"b", start), Ok(()));
        assert_eq!(rate.take(&"a", start + Duration::from_millis(500)), Ok(()));
        assert!(rate.take(&"a", start + Duration::from_millis(500)).is_err());
    }
}
