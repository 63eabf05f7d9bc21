//! The loop: measure, fetch, check, publish.
//!
//! It brings the witnesses and the claim together and hands them to `check`; it decides nothing.

mod counted;
pub mod endpoint;
mod explain;
pub mod health;
pub mod kernel;
mod listing;
pub mod observation;
pub mod reconcile;
pub mod target;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use observer_ebpf::TargetKey;
use tokio::task::JoinSet;

use crate::{
    claim::{Claimant, Lister},
    config::Config,
    netns::NetworkNamespace,
};
use endpoint::Endpoint;
use health::Watched;
use kernel::Kernel;
use target::Target;

/// Between two samples of the counts: each reads a few map values.
const SAMPLE: Duration = Duration::from_millis(50);
/// Between two samples where no program counts: each dumps the sockets.
const DUMP: Duration = Duration::from_millis(250);

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
    /// # Errors
    /// When a namespace, the kernel or a witness refuses.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let mut keys: Vec<TargetKey> = Vec::new();
        let mut places = Vec::new();
        let mut of_target = Vec::new();
        for target in &config.targets {
            let netns = NetworkNamespace::open(&target.netns)
                .with_context(|| format!("target {}", target.name))?;
            let key = Endpoint::key(&netns, target.listen);
            let known = keys.iter().position(|known| *known == key);
            of_target.push(known.unwrap_or(keys.len()));
            if known.is_none() {
                keys.push(key);
                places.push((netns, target.listen));
            }
        }
        let kernel = Arc::new(Kernel::open(&config.kernel, &keys)?);

        let mut exact: HashMap<(u32, u16), Vec<_>> = HashMap::new();
        for (netns, listen) in &places {
            if let Some(address) = listen.address {
                exact
                    .entry((netns.inode(), listen.port))
                    .or_default()
                    .push(address.to_canonical());
            }
        }
        let mut endpoints = Vec::new();
        for (index, (netns, listen)) in (0..).zip(&places) {
            let others = exact
                .get(&(netns.inode(), listen.port))
                .cloned()
                .unwrap_or_default();
            let endpoint = Endpoint::open(index, netns, *listen, others, kernel.probe())
                .with_context(|| format!("open sock_diag for port {}", listen.port))?;
            endpoints.push(Arc::new(Watched::new(endpoint, Arc::clone(&kernel))));
        }
        let targets = config
            .targets
            .iter()
            .zip(of_target)
            .map(|(target, endpoint)| {
                Arc::new(Target::new(
                    target.clone(),
                    Arc::clone(&endpoints[endpoint]),
                    Arc::clone(&kernel),
                ))
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

    /// Whether every endpoint is seeded.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.endpoints
            .iter()
            .all(|watched| watched.health().agreed.is_some())
    }

    /// Starts to watch; everything stops when the returned set is dropped.
    ///
    /// # Errors
    /// When the certificates that a claim's URL needs cannot be loaded.
    pub fn spawn(&self) -> anyhow::Result<JoinSet<()>> {
        let mut tasks = JoinSet::new();
        for watched in &self.endpoints {
            tasks.spawn(Arc::clone(watched).run());
        }
        for target in &self.targets {
            let config = &target.config;
            let claimant = Claimant::new(
                &config.gauge_url,
                &config.access,
                config.gauge.clone(),
                config.scrape_timeout,
            )
            .with_context(|| format!("target {}", config.name))?;
            let lister = config
                .connections_url
                .as_ref()
                .map(|url| Lister::new(url, &config.access, config.scrape_timeout))
                .transpose()
                .with_context(|| format!("target {}", config.name))?;
            let (sender, receiver) = Target::readings();
            tasks.spawn(Arc::clone(target).scrape(claimant, sender));
            tasks.spawn(Arc::clone(target).judge(receiver));
            tasks.spawn(Arc::clone(target).explain(lister));
        }
        tasks.spawn(sample(self.targets.clone(), Arc::clone(&self.kernel)));
        Ok(tasks)
    }
}

async fn sample(targets: Vec<Arc<Target>>, kernel: Arc<Kernel>) {
    let period = match kernel.probe() {
        Some(_) => SAMPLE,
        None => DUMP,
    };
    let mut beat = tokio::time::interval(period);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        // Netlink and BPF system calls block for as long as they take.
        tokio::task::block_in_place(|| {
            for target in &targets {
                target.sample();
            }
            kernel.flush_log();
        });
    }
}

/// A panic elsewhere leaves what these locks guard whole: each change is complete in itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
