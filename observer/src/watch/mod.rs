//! The loop: measure, fetch, check, publish. It does the I/O and feeds `check`, which decides.
//!
//! ```text
//!  for all            for each endpoint      for each target
//!  ┌─────────┐        ┌───────────┐
//!  │ sampler │        │ survey    │          ┌────────┐ reading ┌───────┐ unexplained ┌─────────┐
//!  │ (thread)│        │ (health)  │          │ scrape ├────────►│ judge ├────────────►│ explain │
//!  └─┬─────▲─┘        └─┬───────▲─┘          └───▲────┘         └┬─┬─┬──┘             └────┬────┘
//!    │     │ bell       │       │ wanted         └── recheck ────┘ │ │                     │
//!    │     └────────────┼───────┼──────────────────────────────────┘ │                     │
//!    │ sampled          │       └────────────────────────────────────┴─────────────────────┘
//!    │                  │ surveyed: wakes judge
//!    └─ counts ─► Samples, epoch: wakes judge
//! ```
//!
//! | task | wakes | does |
//! |---|---|---|
//! | sampler | at its beat; when judge rings | reads every target's counts into its samples |
//! | survey | at its beat; when wanted; when a namespace's name may stand for another | compares the witnesses, repairs, tells `Trust` |
//! | scrape | at `interval`; after a pause when judge wants to look again | reads the claim, sends it |
//! | judge | for a reading: at the end of its window, then when it is sampled | notes losses, weighs, publishes |
//! | explain | when there is something to explain; now and then | lists sockets, names suspects |
//!
//! - A signal is a wish, not a message: two that were not met yet are one. Who wakes looks again.
//! - judge waits for a sample begun after the window; and where a check shows a drift that is no
//!   verdict yet, for a survey begun after it. Each wait is bounded; an unmet one is `unsettled`.
//! - What a sample, a survey or a loss means is kept behind the lock of the target or the endpoint.
//!   Who only looks (HTTP, `top`) takes a copy and changes nothing.
//! - No lock is held over I/O, save those of the sockets to the kernel.

mod counted;
pub mod dumps;
pub mod endpoint;
pub mod endpoints;
mod explain;
pub mod health;
mod judging;
pub mod kernel;
mod listing;
pub mod observation;
mod place;
pub mod reconcile;
mod sampler;
pub mod target;
mod tasks;
pub mod tenure;
pub mod unheard;

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    check::Blind,
    claim::{Claimant, Lister},
    config::{Config, Listen, Netns},
    netns::Doorkeeper,
};
use anyhow::Context as _;
use endpoint::{Endpoint, Surroundings};
use endpoints::Endpoints;
use health::Watched;
use kernel::Kernel;
use sampler::Sampler;
use target::Target;

pub use tasks::{TaskEnded, Tasks};

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
    fn offset(self, target: &str, interval: Duration) -> Duration {
        if self == Self::AtOnce {
            return Duration::ZERO;
        }
        let mut hasher = DefaultHasher::new();
        target.hash(&mut hasher);
        let share = hasher.finish() as f64 / u64::MAX as f64;
        interval.min(SPREAD).mul_f64(share)
    }
}

/// Everything that is watched.
pub struct Watch {
    /// What all targets share.
    pub kernel: Arc<Kernel>,
    /// The targets, as configured.
    pub targets: Vec<Arc<Target>>,
    endpoints: Vec<Arc<Watched>>,
}

impl Watch {
    /// Attaches to the kernel and opens every endpoint; reads no claim yet.
    ///
    /// A target whose network namespace is not there waits for it; one in the observer's own is
    /// opened now or never.
    ///
    /// # Errors
    /// When the kernel or a witness refuses.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let mut places: Vec<(&Netns, Listen)> = Vec::new();
        let mut of_target = Vec::new();
        for target in &config.targets {
            let mut named = Vec::new();
            for listen in target.listen.iter() {
                let place = (&target.netns, listen);
                let known = places.iter().position(|known| *known == place);
                named.push(known.unwrap_or(places.len()));
                if known.is_none() {
                    places.push(place);
                }
            }
            of_target.push(named);
        }
        let listens: Vec<Listen> = places.iter().map(|(_, listen)| *listen).collect();
        let kernel = Arc::new(Kernel::open(&config.kernel, &listens)?);

        let is_elsewhere = places.iter().any(|(netns, _)| **netns != Netns::SelfNs);
        let surroundings = Surroundings {
            keys: Arc::default(),
            probe: kernel.probe(),
            doorkeeper: is_elsewhere
                .then(Doorkeeper::start)
                .transpose()
                .context("start the thread that enters network namespaces")?,
        };
        let mut endpoints = Vec::new();
        for (index, (netns, listen)) in (0..).zip(places) {
            let endpoint = Endpoint::new(index, netns.clone(), listen, surroundings.clone());
            if !endpoint.may_move() {
                endpoint
                    .follow()
                    .with_context(|| format!("open sock_diag for port {}", listen.port))?;
            }
            endpoints.push(Arc::new(Watched::new(endpoint, Arc::clone(&kernel))));
        }
        let targets = config
            .targets
            .iter()
            .zip(of_target)
            .map(|(target, named)| {
                let (mut own, mut others) = (Vec::new(), Vec::new());
                for (index, endpoint) in endpoints.iter().enumerate() {
                    let is_named = named.contains(&index);
                    let list = if is_named { &mut own } else { &mut others };
                    list.push(Arc::clone(endpoint));
                }
                let endpoints = Endpoints::new(own, others);
                Arc::new(Target::new(target.clone(), endpoints, Arc::clone(&kernel)))
            })
            .collect();
        Ok(Self {
            kernel,
            targets,
            endpoints,
        })
    }

    /// The target of this name.
    #[must_use]
    pub fn target(&self, name: &str) -> Option<&Arc<Target>> {
        self.targets
            .iter()
            .find(|target| target.config.name == name)
    }

    /// Sockets that are tracked now, over all endpoints; none without programs.
    #[must_use]
    pub fn tracked(&self) -> Option<u64> {
        self.endpoints
            .iter()
            .filter(|watched| watched.endpoint.has_programs())
            .map(|watched| watched.endpoint.tally().ok())
            .map(|tally| tally.map(|tally| tally.opened.saturating_sub(tally.closed)))
            .sum()
    }

    /// Whether every endpoint is seeded that is somewhere.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.endpoints.iter().all(|watched| {
            let trust = watched.health().trust;
            trust.agreed().is_some() || trust.blind() == Some(Blind::NoNamespace)
        })
    }

    /// Starts to watch; everything stops when the returned tasks are dropped.
    ///
    /// # Errors
    /// When the certificates that a claim's URL needs cannot be loaded, or there can be no further
    /// thread.
    pub fn spawn(&self, start: Start) -> anyhow::Result<Tasks> {
        let mut tasks = Tasks::default();
        for watched in &self.endpoints {
            let listen = watched.endpoint.listen();
            tasks.spawn(format!("surveys {listen}"), Arc::clone(watched).run());
        }
        for target in &self.targets {
            let config = &target.config;
            let name = &config.name;
            let claimant = Claimant::new(
                &config.gauge_url,
                &config.access,
                config.claim.clone(),
                config.scrape_timeout,
                config.freshness,
            )
            .with_context(|| format!("target {name}"))?;
            let lister = config
                .connections_url
                .as_ref()
                .map(|url| Lister::new(url, &config.access, config.scrape_timeout))
                .transpose()
                .with_context(|| format!("target {name}"))?;
            let (sender, receiver) = Target::readings();
            let offset = start.offset(name, config.interval);
            let scrape = Arc::clone(target).scrape(claimant, sender, offset);
            tasks.spawn(format!("scrapes {name}"), scrape);
            let judge = Arc::clone(target).judge(receiver);
            tasks.spawn(format!("judges {name}"), judge);
            let explain = Arc::clone(target).explain(lister);
            tasks.spawn(format!("looks for suspects of {name}"), explain);
        }
        let sampler = Sampler::start(self.targets.clone(), Arc::clone(&self.kernel))
            .context("start the thread that samples")?;
        tasks.spawn("samples the counts", sampler.ended());
        Ok(tasks)
    }
}

/// A panic elsewhere leaves what these locks guard whole: each change is complete in itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
