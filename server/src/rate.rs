//! Rate limits: a bucket of tokens for each key, refilled steadily.
//!
//! Knows a bounded number of keys; one that is forgotten starts with a full bucket.

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
    /// Unit: tokens per second.
    refill: f64,
    buckets: Cache<K, Arc<Mutex<Bucket>>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl<K: Eq + Hash + Clone> Rate<K> {
    /// Allows `per_second` in the long run, and ten times that at once.
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            refill: per_second.into(),
            buckets: Cache::new(KEYS),
        }
    }

    /// Takes a token of `key`, or says how long to wait for one.
    pub(crate) fn take(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let full = Bucket {
            tokens: self.refill * BURST,
            filled_at: now,
        };
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::new(Mutex::new(full)));
        let Ok(bucket) = self.buckets.get_or_insert_with(key, fresh);
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now
            .saturating_duration_since(bucket.filled_at)
            .as_secs_f64();
        let tokens = (bucket.tokens + passed * self.refill).min(full.tokens);
        *bucket = Bucket {
            tokens,
            filled_at: now,
        };
        if tokens < 1.0 {
            let wait = (1.0 - tokens) / self.refill.max(f64::MIN_POSITIVE);
            return Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX));
        }
        bucket.tokens -= 1.0;
        Ok(())
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
