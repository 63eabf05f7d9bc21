//! When the first claim of each target is read, and with it all that follow. It reads none.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

/// When the first claims are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// As soon as they can be judged.
    AtOnce,
    /// One after the other: services that share a page, or a machine, are not all asked in the same
    /// instant, now and at every interval.
    Spread,
}

/// Longest time over which the first claims are spread. A longer interval would put off the first
/// verdict.
const SPREAD: Duration = Duration::from_secs(5);

impl Start {
    /// How much later than at once the first claim of a target is read: by its name, so that it is the
    /// same at every start.
    pub(super) fn offset(self, target: &str, interval: Duration) -> Duration {
        if self == Self::AtOnce {
            return Duration::ZERO;
        }
        let mut hasher = DefaultHasher::new();
        target.hash(&mut hasher);
        let share = hasher.finish() as f64 / u64::MAX as f64;
        interval.min(SPREAD).mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_claims_are_spread_evenly_by_name() {
        let interval = Duration::from_secs(4);
        let offset = |number: u32| Start::Spread.offset(&format!("target-{number}"), interval);
        let mut per_quarter = [0; 4];
        for number in 0..400 {
            assert_eq!(offset(number), offset(number));
            per_quarter[offset(number).as_secs() as usize] += 1;
        }
        assert!(
            per_quarter.iter().all(|&count| count > 70),
            "{per_quarter:?}"
        );
        let hour = Duration::from_secs(3_600);
        assert!((0..400).all(|number| Start::Spread.offset(&number.to_string(), hour) <= SPREAD));
        assert_eq!(Start::AtOnce.offset("target-1", interval), Duration::ZERO);
    }
}
