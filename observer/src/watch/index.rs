//! The indices by which the programs count: each is one endpoint's for as long as it is there.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use observer_ebpf::MAX_TARGETS;

use super::lock;

/// Which indices are taken.
#[derive(Clone, Debug, Default)]
pub struct Indices(Arc<Mutex<BTreeSet<u32>>>);

/// An index that is nobody else's until this is dropped.
#[derive(Debug)]
pub struct Index {
    number: u32,
    indices: Indices,
}

impl Indices {
    /// Takes the lowest that is free, if there is one.
    #[must_use]
    pub fn take(&self) -> Option<Index> {
        let mut taken = lock(&self.0);
        let number = (0..MAX_TARGETS).find(|number| !taken.contains(number))?;
        taken.insert(number);
        Some(Index {
            number,
            indices: self.clone(),
        })
    }
}

impl Index {
    /// The index itself.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        lock(&self.indices.0).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_one_endpoints_until_it_is_dropped() {
        let indices = Indices::default();
        let mut taken: Vec<_> = std::iter::from_fn(|| indices.take()).collect();
        assert_eq!(taken.len(), MAX_TARGETS as usize);
        let third = taken.remove(2);
        assert_eq!((third.number(), taken[2].number()), (2, 3));
        drop(third);
        assert_eq!(indices.take().map(|index| index.number()), Some(2));
    }
}
