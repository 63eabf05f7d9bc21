//! The loop: measure, fetch, check, publish. It does the I/O and feeds `check`, which decides.
//!
//! ```text
//!  for all            for all endpoints      for each target
//!  ┌─────────┐        ┌───────────┐
//!  │ sampler │        │ surveyor  │          ┌────────┐ reading ┌───────┐ unexplained ┌─────────┐
//!  │ (thread)│        │           │          │ scrape ├────────►│ judge ├────────────►│ explain │
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
//! | surveyor | when an endpoint is due, by its beat or because it is wanted; when a namespace's name may stand for another | compares the witnesses of all endpoints that are due, repairs, tells `Trust` |
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

pub mod asking;
mod close_look;
mod counted;
mod current;
pub mod dumps;
pub mod endpoint;
pub mod endpoints;
mod explain;
pub mod health;
pub mod index;
mod inodes;
mod judging;
pub mod kernel;
mod listing;
pub mod look;
pub mod observation;
mod openings;
mod place;
mod reconcile;
mod sampler;
mod start;
mod state;
mod subflows;
mod surveyor;
pub mod target;
mod tasks;
pub mod tenure;
mod tracked;
pub mod unheard;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use crate::{
    check::Blind,
    claim::{Claimant, Lister},
    config::{self, Config, Listen, Source},
    netns::Doorkeeper,
    privileges::Errands,
};
use anyhow::{Context as _, ensure};
use current::{Current, Set, without};
use endpoint::{Endpoint, Surroundings};
use endpoints::Endpoints;
use health::Watched;
use index::Indices;
use kernel::Kernel;
use place::PlaceError;
use sampler::{Bell, Sampler};
use surveyor::Surveyor;
use target::Target;
use tokio::sync::Notify;

pub use start::Start;
pub use tasks::{TaskEnded, Tasks};

/// Everything that is watched.
pub struct Watch {
    /// What all targets share.
    pub kernel: Arc<Kernel>,
    current: Arc<Current>,
    indices: Indices,
    surroundings: Surroundings,
    /// The rights that were kept at the start.
    errands: Errands,
    /// Rings when a survey is wanted, and when something else is watched.
    bell: Arc<Notify>,
    sampler: OnceLock<Bell>,
    reloaded: Mutex<Reloaded>,
    /// How often lists could not be read, by their source.
    list_failures: [AtomicU64; Source::ALL.len()],
}

/// How the last configuration was taken.
#[derive(Clone, Copy, Debug)]
pub struct Reloaded {
    /// Whether it was taken.
    pub is_successful: bool,
    /// When the last one was taken.
    pub taken: SystemTime,
}

/// What a new configuration changes, by the names of the targets.
#[derive(Debug, Default)]
pub struct Changes {
    /// New ones, and those that are configured otherwise than before.
    pub started: Vec<String>,
    /// Those that are watched no more, and those that are configured otherwise than before.
    pub stopped: Vec<String>,
}

/// The rights of others that these targets need for as long as they are watched.
fn errands_of(targets: &[config::Target]) -> Errands {
    let has_commands = targets.iter().any(|target| target.claim_command.is_some());
    Errands {
        namespaces: targets.iter().any(config::Target::is_elsewhere),
        users: has_commands && rustix::process::geteuid().is_root(),
    }
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
        let targets = config.targets.iter();
        let listens = targets.flat_map(|target| target.listen.iter());
        let listens: Vec<_> = listens.cloned().collect();
        let kernel = Arc::new(Kernel::open(&config.kernel, &listens)?);
        let errands = errands_of(&config.targets);
        let is_needed = errands.namespaces || errands.users;
        let doorkeeper = is_needed.then(|| Doorkeeper::start(errands)).transpose();
        let doorkeeper =
            doorkeeper.context("start the thread that keeps the rights of the others")?;
        let watch = Self {
            surroundings: Surroundings {
                keys: Arc::default(),
                probe: kernel.probe(),
                doorkeeper,
            },
            kernel,
            current: Arc::default(),
            indices: Indices::default(),
            errands,
            bell: Arc::new(Notify::new()),
            sampler: OnceLock::new(),
            list_failures: Default::default(),
            reloaded: Mutex::new(Reloaded {
                is_successful: true,
                taken: SystemTime::now(),
            }),
        };
        let set = watch.set_of(&config.targets, &Set::default())?;
        for Watched { endpoint, .. } in set.endpoints.iter().map(Arc::as_ref) {
            if !endpoint.may_move() {
                let opened = endpoint.follow();
                opened.with_context(|| format!("open sock_diag for {}", endpoint.listen()))?;
            }
        }
        watch.current.put(Arc::new(set));
        Ok(watch)
    }

    /// What these targets make, with all that is the same in the set before.
    fn set_of(&self, targets: &[config::Target], before: &Set) -> anyhow::Result<Set> {
        let mut set = Set::default();
        let mut named_by = Vec::new();
        for target in targets {
            let mut named = Vec::new();
            for listen in target.listen.iter() {
                let watched = match set.endpoint(target, listen) {
                    Some(watched) => Arc::clone(watched),
                    None => {
                        let watched = match before.endpoint(target, listen) {
                            Some(watched) => Arc::clone(watched),
                            None => self.endpoint(target, listen)?,
                        };
                        set.endpoints.push(Arc::clone(&watched));
                        watched
                    }
                };
                named.push(watched);
            }
            named_by.push(named);
        }
        for (target, named) in targets.iter().zip(named_by) {
            let others: Vec<_> = without(&set.endpoints, &named).cloned().collect();
            let target = match before.same(target, &named, &others) {
                Some(same) => Arc::clone(same),
                None => {
                    let endpoints = Endpoints::new(named, others);
                    let kernel = Arc::clone(&self.kernel);
                    Arc::new(Target::new(target.clone(), endpoints, kernel))
                }
            };
            set.targets.push(target);
        }
        Ok(set)
    }

    /// A new endpoint, which is nowhere yet.
    fn endpoint(&self, target: &config::Target, listen: &Listen) -> anyhow::Result<Arc<Watched>> {
        let index = self.indices.take().ok_or(PlaceError::TooMany)?;
        if let Some(probe) = &self.surroundings.probe {
            probe.tallies().begin(index.number())?;
        }
        let (netns, ignored) = (target.netns.clone(), target.ignore_peers.clone());
        let (listen, surroundings) = (listen.clone(), self.surroundings.clone());
        let endpoint = Endpoint::new(index, netns, listen, ignored, surroundings);
        let (kernel, bell) = (Arc::clone(&self.kernel), Arc::clone(&self.bell));
        Ok(Arc::new(Watched::new(endpoint, kernel, bell)))
    }

    /// The targets, in the order of the configuration.
    #[must_use]
    pub fn targets(&self) -> Vec<Arc<Target>> {
        self.current.get().targets.clone()
    }

    /// The target of this name.
    #[must_use]
    pub fn target(&self, name: &str) -> Option<Arc<Target>> {
        let targets = self.targets();
        targets
            .into_iter()
            .find(|target| target.config.name == name)
    }

    /// Sockets that are tracked now, over all endpoints; none without programs.
    #[must_use]
    pub fn tracked(&self) -> Option<u64> {
        self.current
            .get()
            .endpoints
            .iter()
            .filter(|watched| watched.endpoint.has_programs())
            .map(|watched| watched.endpoint.tally().ok())
            .map(|tally| tally.map(|tally| tally.opened.saturating_sub(tally.closed)))
            .sum()
    }

    /// Whether every endpoint is seeded that is somewhere.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.current.get().endpoints.iter().all(|watched| {
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
        let (current, kernel) = (&self.current, &self.kernel);
        let sampler = Sampler::start(Arc::clone(current), Arc::clone(kernel))
            .context("start the thread that samples")?;
        // A watch is started once.
        let _ = self.sampler.set(sampler.bell());
        tasks.spawn("samples the counts", sampler.ended());
        let bell = Arc::clone(&self.bell);
        let surveyor = Surveyor::new(Arc::clone(current), Arc::clone(kernel), bell);
        tasks.spawn("compares the witnesses", surveyor.run());
        for target in self.targets() {
            let asked = self.asked(&target)?;
            self.watch(target, asked, start, &mut tasks);
        }
        Ok(tasks)
    }

    /// Who asks what a target claims, and what it has open.
    fn asked(&self, target: &Target) -> anyhow::Result<(Claimant, Option<Lister>)> {
        let doorkeeper = self.surroundings.doorkeeper.as_ref();
        let asked = asking::claimant(&target.config, doorkeeper)
            .and_then(|claimant| Ok((claimant, asking::lister(&target.config, doorkeeper)?)));
        asked.with_context(|| format!("target {}", target.config.name))
    }

    fn watch(
        &self,
        target: Arc<Target>,
        (claimant, lister): (Claimant, Option<Lister>),
        start: Start,
        tasks: &mut Tasks,
    ) {
        if let Some(sampler) = self.sampler.get() {
            target.sampled_by(Bell::clone(sampler));
        }
        let name = target.config.name.clone();
        let offset = start.offset(&name, target.config.interval);
        let (sender, receiver) = Target::readings();
        let scrape = Arc::clone(&target).scrape(claimant, sender, offset);
        tasks.spawn_for(&name, "scrapes", scrape);
        tasks.spawn_for(&name, "judges", Arc::clone(&target).judge(receiver));
        tasks.spawn_for(&name, "looks for suspects of", target.explain(lister));
    }

    /// Watches these targets from now on. Those that are configured as before go on as they were; the
    /// programs stay attached.
    ///
    /// # Errors
    /// When one of them cannot be watched: then nothing is changed.
    pub fn reload(&self, targets: &[config::Target], tasks: &mut Tasks) -> anyhow::Result<Changes> {
        let changes = self.change(targets, tasks);
        let reloaded = &mut lock(&self.reloaded);
        reloaded.is_successful = changes.is_ok();
        if changes.is_ok() {
            reloaded.taken = SystemTime::now();
        }
        changes
    }

    fn change(&self, targets: &[config::Target], tasks: &mut Tasks) -> anyhow::Result<Changes> {
        let errands = errands_of(targets);
        ensure!(
            self.errands.namespaces || !errands.namespaces,
            "a target is in another network namespace, and the right to enter one was given up at the \
             start, when there was none; restart the observer"
        );
        ensure!(
            self.errands.users || !errands.users,
            "a target has a command, and the right to start one as another user was given up at the \
             start, when there was none; restart the observer"
        );
        let before = self.current.get();
        let set = Arc::new(self.set_of(targets, &before)?);
        let mut started = Vec::new();
        for target in set.targets_without(&before) {
            started.push((Arc::clone(target), self.asked(target)?));
        }
        // From here on nothing fails.
        let name = |target: &Arc<Target>| target.config.name.clone();
        let changes = Changes {
            started: started.iter().map(|(target, _)| name(target)).collect(),
            stopped: before.targets_without(&set).map(name).collect(),
        };
        for stopped in &changes.stopped {
            tasks.stop(stopped);
        }
        self.current.put(set);
        self.bell.notify_one();
        for (target, asked) in started {
            self.watch(target, asked, Start::Spread, tasks);
        }
        Ok(changes)
    }

    /// A new configuration could not even be read: the old one stays.
    pub fn reload_failed(&self) {
        lock(&self.reloaded).is_successful = false;
    }

    /// A list of targets could not be read: what it said before stays.
    pub fn list_failed(&self, source: Source) {
        self.list_failures[source as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was so.
    #[must_use]
    pub fn list_failures(&self, source: Source) -> u64 {
        self.list_failures[source as usize].load(Ordering::Relaxed)
    }

    /// How the last configuration was taken.
    #[must_use]
    pub fn reloaded(&self) -> Reloaded {
        *lock(&self.reloaded)
    }
}

/// A panic elsewhere leaves what these locks guard whole: each change is complete in itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
