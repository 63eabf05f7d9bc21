//! Counters of one page, and whether one of them has begun anew on a later page.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};

use super::claimed::Claim;

/// The counters of a page, each by a hash of its name and labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Counters(HashMap<u64, f64>);

impl Counters {
    /// Those with these names, whatever names are made of, and these values.
    pub(super) fn of<N: Hash>(counters: impl Iterator<Item = (N, f64)>) -> Self {
        let hashed = counters.map(|(name, value)| {
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            (hasher.finish(), value)
        });
        Self(hashed.collect())
    }

    /// Whether one of them is smaller than it was, or not there any more.
    fn have_fallen_since(&self, earlier: &Self) -> bool {
        let is_whole = |(name, value): (&u64, &f64)| self.0.get(name) >= Some(value);
        !earlier.0.iter().all(is_whole)
    }
}

impl Claim {
    /// Whether a counter of this claim has begun anew since an earlier one, or is not there any more:
    /// a process that counted was restarted.
    #[must_use]
    pub fn was_reset_since(&self, earlier: &Self) -> bool {
        let mut pages = self.counters.iter().zip(&earlier.counters);
        self.value < earlier.value
            || self.counters.len() != earlier.counters.len()
            || pages.any(|(now, then)| now.have_fallen_since(then))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(counters: &[(&str, f64)]) -> Claim {
        Claim {
            value: counters.iter().map(|(_, value)| value).sum(),
            counters: vec![Counters::of(counters.iter().copied())],
            ..Claim::none()
        }
    }

    #[test]
    fn it_is_reset_where_any_of_its_counters_has_fallen_or_is_gone() {
        let earlier = claim(&[("one", 7.0), ("two", 3.0)]);
        let was_reset = |counters| claim(counters).was_reset_since(&earlier);
        assert!(!was_reset(&[("two", 3.0), ("one", 7.0)]));
        assert!(!was_reset(&[("one", 9.0), ("two", 4.0), ("three", 1.0)]));
        // One process was restarted, and the other is busy.
        assert!(was_reset(&[("one", 90.0), ("two", 1.0)]));
        assert!(was_reset(&[("one", 90.0), ("three", 1.0)]));
    }
}
