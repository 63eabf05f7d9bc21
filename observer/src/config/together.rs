//! The targets of a configuration together: how many there may be, and which clash.

use super::discovery::{Discovery, DiscoverySettings};
use super::error::{ConfigError, Place, TargetProblem};
use super::listen::Resolver;
use super::settings::Settings;
use super::{Config, MAX_DISCOVERIES, MAX_TARGETS, Source, Target};

impl Settings {
    /// Where lists of further targets are.
    ///
    /// # Errors
    /// When there are too many, or one that lacks something.
    pub fn discoveries(&self) -> Result<Vec<Discovery>, ConfigError> {
        let count = self.discovery.len();
        if count > MAX_DISCOVERIES {
            return Err(ConfigError::TooManyDiscoveries { count });
        }
        let discovery = |(place, settings): &(Place, DiscoverySettings)| {
            let discovery = settings.clone().into_discovery();
            discovery.map_err(|problem| ConfigError::Discovery {
                place: place.clone(),
                problem,
            })
        };
        self.discovery.iter().map(discovery).collect()
    }

    /// Fills in the defaults, has the names of hosts resolved, and judges the targets together.
    ///
    /// # Errors
    /// When there is no target and no list of them, or too many, or one that lacks something or clashes.
    pub fn into_config(self, resolver: Resolver<'_>) -> Result<Config, ConfigError> {
        if self.targets.is_empty() && self.discovery.is_empty() {
            return Err(ConfigError::NoTarget);
        }
        self.into_config_of_host(resolver)
    }

    /// The same, where there need not be a target.
    ///
    /// # Errors
    /// When there are too many targets, or one that lacks something or clashes.
    pub fn into_config_of_host(self, resolver: Resolver<'_>) -> Result<Config, ConfigError> {
        let discovery = self.discoveries()?;
        let Self {
            web,
            kernel,
            log,
            targets,
            ..
        } = self;
        if targets.len() > MAX_TARGETS {
            return Err(ConfigError::TooManyTargets {
                count: targets.len(),
            });
        }
        let mut accepted = Vec::new();
        for (place, settings) in targets {
            let source = match place {
                Place::Group { source, .. } => source,
                Place::CommandLine | Place::File { .. } => Source::Config,
            };
            let target = settings
                .into_target(source, resolver)
                .and_then(|target| beside(target, &accepted))
                .map_err(|problem| ConfigError::Target { place, problem })?;
            accepted.push(target);
        }
        let config = Config {
            targets: accepted,
            discovery,
            web: web.into_web(),
            kernel: kernel.into_kernel(),
            log: log.into_log(),
        };
        match config.places() {
            0..=MAX_TARGETS => Ok(config),
            count => Err(ConfigError::TooManyPlaces { count }),
        }
    }
}

/// The target, if it clashes with none before.
fn beside(target: Target, others: &[Target]) -> Result<Target, TargetProblem> {
    for other in others {
        if other.name == target.name {
            return Err(TargetProblem::NameTwice { name: target.name });
        }
        if (&other.netns, &other.ignore_peers) == (&target.netns, &target.ignore_peers) {
            continue;
        }
        let mut shared = target.listen.tcp().map(|address| address.port);
        let is_others = |port: &u16| other.listen.tcp().any(|address| address.port == *port);
        if let Some(port) = shared
            .find(is_others)
            .filter(|_| other.netns == target.netns)
        {
            return Err(TargetProblem::PeersDiffer {
                port,
                other: other.name.clone(),
            });
        }
    }
    Ok(target)
}
