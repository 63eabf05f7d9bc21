//! What is watched now: a set of targets and of their endpoints, which a new configuration replaces as a
//! whole.
//!
//! Whoever looks takes the set as it is at that moment. It starts and ends nothing.

use std::sync::{Arc, PoisonError, RwLock};

use super::{health::Watched, target::Target};
use crate::config::{self, Listen};

/// Targets and their endpoints.
#[derive(Default)]
pub(super) struct Set {
    pub(super) targets: Vec<Arc<Target>>,
    /// Each once, however many targets name it.
    pub(super) endpoints: Vec<Arc<Watched>>,
}

/// The set that is watched.
#[derive(Default)]
pub(super) struct Current(RwLock<Arc<Set>>);

impl Current {
    pub(super) fn get(&self) -> Arc<Set> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn put(&self, set: Arc<Set>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = set;
    }
}

impl Set {
    /// The endpoint of a place, if it is among these.
    pub(super) fn endpoint(
        &self,
        target: &config::Target,
        listen: &Listen,
    ) -> Option<&Arc<Watched>> {
        self.endpoints.iter().find(|watched| {
            let endpoint = &watched.endpoint;
            (endpoint.netns(), endpoint.listen()) == (&target.netns, listen)
                && endpoint.ignored() == target.ignore_peers
        })
    }

    /// The target that is configured like this and has just these endpoints, if it is among these.
    pub(super) fn same(
        &self,
        target: &config::Target,
        named: &[Arc<Watched>],
        others: &[Arc<Watched>],
    ) -> Option<&Arc<Target>> {
        self.targets
            .iter()
            .find(|known| known.config == *target && known.endpoints.are(named, others))
    }

    /// Those targets that are not in the other set.
    pub(super) fn targets_without<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = &'a Arc<Target>> {
        let is_there =
            |target: &Arc<Target>| other.targets.iter().any(|one| Arc::ptr_eq(one, target));
        self.targets.iter().filter(move |target| !is_there(target))
    }
}

/// Those of some endpoints that are not among others.
pub(super) fn without<'a>(
    some: &'a [Arc<Watched>],
    others: &'a [Arc<Watched>],
) -> impl Iterator<Item = &'a Arc<Watched>> {
    let is_there = |watched: &Arc<Watched>| others.iter().any(|one| Arc::ptr_eq(one, watched));
    some.iter().filter(move |watched| !is_there(watched))
}
