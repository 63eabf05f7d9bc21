//! Where `top` gets what it shows: from this process, or from an observer that runs.

use std::sync::Arc;

use url::Url;

use crate::{
    api::{CheckReport, Client, ClientError, HistoryReport, SocketList, TargetReport},
    sockets::{self, Query},
    watch::{Watch, endpoint::WitnessError, target::Target},
};

/// One of the two.
pub enum Source {
    /// What this process measures.
    Here(Arc<Watch>),
    /// An observer's API.
    There(Box<Client>),
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The observer has not answered.
    #[error(transparent)]
    There(#[from] ClientError),
    /// The kernel has not.
    #[error("cannot list the sockets")]
    Here(#[from] WitnessError),
    /// The target is gone.
    #[error("there is no target {0}")]
    NoTarget(String),
    /// The list could not be made.
    #[error("the list of sockets was not finished")]
    Unfinished(#[from] tokio::task::JoinError),
}

impl Source {
    /// An observer that runs, whose status page is `url`; it has answered once.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn there(url: &Url) -> Result<Self, ClientError> {
        let mut client = Client::new(url)?;
        client.targets().await?;
        Ok(Self::There(Box::new(client)))
    }

    /// What the source is called.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Here(watch) => format!("measuring here by {}", watch.kernel.backend()),
            Self::There(client) => client.base().to_string(),
        }
    }

    /// Every target as it is now.
    pub(super) async fn targets(&mut self) -> Result<Vec<TargetReport>, SourceError> {
        Ok(match self {
            Self::Here(watch) => {
                let targets = watch.targets();
                targets
                    .iter()
                    .map(|target| TargetReport::of(target))
                    .collect()
            }
            Self::There(client) => client.targets().await?,
        })
    }

    /// The last checks of a target, oldest first.
    pub(super) async fn history(&self, name: &str) -> Result<Vec<CheckReport>, SourceError> {
        let report = match self {
            Self::Here(watch) => {
                let target = target(watch, name)?;
                HistoryReport::of(&target)
            }
            Self::There(client) => client.history(name).await?,
        };
        Ok(report.checks)
    }

    /// The open sockets of a target.
    pub(super) async fn sockets(
        &self,
        name: &str,
        query: Query,
    ) -> Result<SocketList, SourceError> {
        Ok(match self {
            Self::Here(watch) => {
                let target = target(watch, name)?;
                // A dump blocks for as long as there are sockets.
                let list = move || sockets::list(target.endpoints.iter(), query);
                tokio::task::spawn_blocking(list).await??
            }
            Self::There(client) => client.sockets(name, query).await?,
        })
    }
}

fn target(watch: &Watch, name: &str) -> Result<Arc<Target>, SourceError> {
    let found = watch.target(name);
    found.ok_or_else(|| SourceError::NoTarget(name.to_owned()))
}
