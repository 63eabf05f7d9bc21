//! The loop: measure, fetch, check, publish.
//!
//! It brings the witnesses and the claim together and hands them to `check`; it decides nothing.

mod counted;
pub mod dumps;
pub mod endpoint;
mod explain;
pub mod health;
pub mod kernel;
mod listing;
pub mod observation;
mod place;
pub mod reconcile;
mod sampler;
pub mod target;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::{
    check::Blind,
    claim::{Claimant, Lister},
    config::{Config, Listen, Netns},
    netns::Doorkeeper,
};
use endpoint::{Endpoint, Surroundings};
use health::Watched;
use kernel::Kernel;
use sampler::Sampler;
use target::Target;

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
            let place = (&target.netns, target.listen.to_canonical());
            let known = places.iter().position(|known| *known == place);
            of_target.push(known.unwrap_or(places.len()));
            if known.is_none() {
                places.push(place);
            }
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

    /// Whether every endpoint is seeded that is somewhere.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.endpoints.iter().all(|watched| {
            let health = watched.health();
            health.agreed.is_some() || health.distrust == Some(Blind::NoNamespace)
        })
    }

    /// Starts to watch; everything stops when the returned set is dropped.
    ///
    /// # Errors
    /// When the certificates that a claim's URL needs cannot be loaded, or there can be no further
    /// thread.
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
                config.claim.clone(),
                config.scrape_timeout,
                config.freshness,
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
        let sampler = Sampler::start(self.targets.clone(), Arc::clone(&self.kernel))
            .context("start the thread that samples")?;
        tasks.spawn(async move {
            // It samples for as long as the other tasks run.
            let _sampler = sampler;
            std::future::pending().await
        });
        Ok(tasks)
    }
}

/// A panic elsewhere leaves what these locks guard whole: each change is complete in itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
