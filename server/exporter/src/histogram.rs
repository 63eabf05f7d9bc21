//! A histogram that counts each observation where it belongs, at once.
//!
//! Knows bounds and counts. Deliberately keeps no observation: nothing is allocated by recording, and
//! nothing has to be moved by a task that somebody could forget to start.

use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use metrics::HistogramFn;

use crate::trace::TraceId;

/// Counts of observations, by upper bounds.
#[derive(Debug)]
pub(crate) struct Buckets {
    /// In ascending order; what is above the last one has a place of its own.
    bounds: Box<[f64]>,
    counts: Box<[AtomicU64]>,
    /// The bits of an `f64`.
    sum: AtomicU64,
    /// The last one of each bucket that has a trace; there are none until there is one.
    exemplars: OnceLock<Box<[Mutex<Option<Exemplar>>]>>,
}

/// An observation that can be looked up by its trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Exemplar {
    pub(crate) trace: TraceId,
    pub(crate) value: f64,
    pub(crate) at: SystemTime,
}

/// What was counted when it was read.
pub(crate) struct Counted {
    /// Each bound, and how many were at most that.
    pub(crate) cumulative: Vec<(f64, u64)>,
    /// One for each bound and one for what is above, where there are any.
    pub(crate) exemplars: Vec<Option<Exemplar>>,
    pub(crate) count: u64,
    pub(crate) sum: f64,
}

impl Buckets {
    /// No observations; `bounds` are in ascending order.
    pub(crate) fn new(bounds: &[f64]) -> Self {
        Self {
            bounds: bounds.into(),
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
            exemplars: OnceLock::new(),
        }
    }

    /// Counts an observation, and keeps it in place of an earlier one.
    pub(crate) fn observe_traced(&self, value: f64, trace: TraceId) {
        self.observe(value);
        let none = || self.counts.iter().map(|_| Mutex::default()).collect();
        let slots = self.exemplars.get_or_init(none);
        // One of two at once is as good as the other: nobody waits.
        if let Ok(mut slot) = slots[self.place(value)].try_lock() {
            let at = SystemTime::now();
            *slot = Some(Exemplar { trace, value, at });
        }
    }

    /// The bucket of a value.
    fn place(&self, value: f64) -> usize {
        // Most are small: this is as fast as halving the range, and the branch is foreseen.
        let place = self.bounds.iter().position(|&bound| value <= bound);
        place.unwrap_or(self.bounds.len())
    }

    /// Counts an observation. What is no number is none.
    pub(crate) fn observe(&self, value: f64) {
        if value.is_nan() {
            return;
        }
        self.counts[self.place(value)].fetch_add(1, Relaxed);
        let add = |sum: u64| Some((f64::from_bits(sum) + value).to_bits());
        // It always has a new value, so it cannot fail.
        let _ = self.sum.fetch_update(Relaxed, Relaxed, add);
    }

    /// Reads each count once: the sum of the buckets is the count, whatever is recorded meanwhile.
    pub(crate) fn read(&self) -> Counted {
        let mut count = 0;
        let mut counts = self.counts.iter().map(|bucket| {
            count += bucket.load(Relaxed);
            count
        });
        let cumulative = self.bounds.iter().copied().zip(&mut counts).collect();
        counts.for_each(drop);
        let slots = self.exemplars.get().map_or(&[][..], |slots| &slots[..]);
        let exemplars = slots.iter();
        let exemplars = exemplars.map(|slot| *slot.lock().unwrap_or_else(PoisonError::into_inner));
        Counted {
            cumulative,
            exemplars: exemplars.collect(),
            count,
            sum: f64::from_bits(self.sum.load(Relaxed)),
        }
    }
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        self.observe(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_observation_is_in_its_bucket_and_the_count_is_their_sum() {
        let buckets = Buckets::new(&[0.5, 1.0]);
        for value in [0.5, 0.25, 0.75, 1.0, 3.0, f64::NAN] {
            buckets.observe(value);
        }
        let Counted {
            cumulative,
            exemplars,
            count,
            sum,
        } = buckets.read();
        assert_eq!(cumulative, [(0.5, 2), (1.0, 4)]);
        assert_eq!(exemplars, []);
        assert_eq!((count, sum), (5, 5.5));
    }
}
