//! The task that compares the witnesses: which endpoints are due, and all that are due together.
//!
//! A comparison lists sockets and may read the whole map of sockets. For all endpoints at once that
//! costs hardly more than for one, so they share it: one after the other, a single loss of an event
//! would make each of them read the map. How they are compared is in `reconcile`, when an endpoint is
//! due in `health`.
//!
//! It alone lets endpoints arrive and leave: where a new configuration has others, it leaves those that
//! are gone and tells the programs of the new ports.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    current::{Current, Set, without},
    endpoint::Endpoint,
    endpoints::may_be_within,
    health::Watched,
    kernel::Kernel,
    reconcile::Comparer,
};
use crate::{blocking::Places, probe::chain};

/// Dumps and reads of maps block: they do not belong on the runtime's own threads.
static SURVEYS: Places = Places::new(1);

/// Between two looks at whether a namespace's name still stands for the same one.
const LOOK: Duration = Duration::from_secs(1);

/// Compares the witnesses of all endpoints, for as long as it is polled.
pub(super) struct Surveyor {
    current: Arc<Current>,
    /// Those that were watched when it last looked.
    endpoints: Vec<Arc<Watched>>,
    kernel: Arc<Kernel>,
    bell: Arc<Notify>,
    comparer: Comparer,
    /// Events that had been lost when the last survey began: each may have been of any endpoint.
    lost_events: u64,
}

impl Surveyor {
    /// For what is watched, whose endpoints ring this bell.
    pub(super) fn new(current: Arc<Current>, kernel: Arc<Kernel>, bell: Arc<Notify>) -> Self {
        Self {
            endpoints: current.get().endpoints.clone(),
            current,
            kernel,
            bell,
            comparer: Comparer::default(),
            lost_events: 0,
        }
    }

    /// Seeds, then surveys each at its beat and whenever asked.
    pub(super) async fn run(mut self) {
        let mut look = tokio::time::interval(LOOK);
        loop {
            let now = self.current.get();
            if now.endpoints.len() != self.endpoints.len()
                || without(&now.endpoints, &self.endpoints).next().is_some()
            {
                self = SURVEYS.run(move || self.change_to(&now)).await;
            }
            let may_move = self.endpoints.iter().any(|one| one.endpoint.may_move());
            let due = self.due();
            if !due.is_empty() {
                self = SURVEYS.run(move || self.survey(due)).await;
                continue;
            }
            let now = Instant::now();
            let next = self.endpoints.iter().map(|one| one.due(now)).min();
            tokio::select! {
                () = self.bell.notified() => {}
                () = sleep_until(next) => {}
                _ = look.tick(), if may_move => {
                    self = SURVEYS.run(move || self.look_for_moves()).await;
                }
            }
        }
    }

    /// Leaves the endpoints that are gone. What is open on the others' ports is taken in anew where it
    /// was, or will be, counted for one of these.
    fn change_to(mut self, set: &Set) -> Self {
        let gone: Vec<_> = without(&self.endpoints, &set.endpoints).cloned().collect();
        for watched in &gone {
            if let Err(error) = watched.endpoint.leave() {
                let listen = watched.endpoint.listen();
                tracing::error!(%listen, error = chain(&error), "it is not left");
            }
            watched.wake();
        }
        let come = without(&set.endpoints, &self.endpoints).cloned();
        let moved: Vec<_> = gone.iter().cloned().chain(come).collect();
        for kept in &set.endpoints {
            if moved.iter().any(|moved| may_be_within(moved, kept)) {
                kept.begin_anew();
            }
        }
        let endpoints = set.endpoints.iter();
        let listens = endpoints.map(|watched| watched.endpoint.listen().clone());
        let listens: Vec<_> = listens.collect();
        if let Some(Err(error)) = self.kernel.probe().map(|probe| probe.set_ports(&listens)) {
            tracing::error!(
                error = chain(&error),
                "the programs are not told of the ports"
            );
        }
        self.endpoints.clone_from(&set.endpoints);
        self
    }

    /// Those that are due; where one is, also those that nearly are.
    fn due(&self) -> Vec<Arc<Watched>> {
        let now = Instant::now();
        if self.endpoints.iter().all(|one| one.due(now) > now) {
            return Vec::new();
        }
        let taking_part = self.endpoints.iter().filter(|one| one.is_nearly_due(now));
        taking_part.cloned().collect()
    }

    /// Wants a survey of every endpoint whose sockets are elsewhere than before.
    fn look_for_moves(self) -> Self {
        for watched in &self.endpoints {
            if watched.endpoint.may_move() && watched.endpoint.has_moved() {
                watched.survey_soon();
            }
        }
        self
    }

    fn survey(mut self, mut due: Vec<Arc<Watched>>) -> Self {
        self.kernel.audit();
        let lost_events = self.kernel.lost_events();
        if lost_events > self.lost_events {
            due.clone_from(&self.endpoints);
        }
        self.lost_events = lost_events;
        let here: Vec<_> = due.iter().filter(|watched| watched.follow()).collect();
        let endpoints = self.endpoints.iter().map(|watched| &watched.endpoint);
        let inodes: Vec<u32> = endpoints.filter_map(Endpoint::inode).collect();
        self.comparer.keep(&inodes);

        let began = Instant::now();
        let asked: Vec<_> = here
            .iter()
            .map(|watched| watched.begin(lost_events))
            .collect();
        let each = here.iter().zip(&asked);
        let compared: Vec<_> = each
            .map(|(watched, asked)| (&watched.endpoint, asked.depth))
            .collect();
        let outcomes = self.comparer.compare(&compared);
        for ((watched, asked), outcome) in here.into_iter().zip(&asked).zip(outcomes) {
            watched.end(asked, began, outcome);
        }
        for watched in &due {
            watched.wake();
        }
        self
    }
}

/// Until then; for ever where there is nothing to wait for.
async fn sleep_until(then: Option<Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then.into()).await,
        None => std::future::pending().await,
    }
}
