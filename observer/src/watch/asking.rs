//! How what a target claims is asked for: by whom, and in which network namespace.

use crate::{
    claim::{Claimant, CommandError, FetchError, Lister, Surroundings},
    config::{self, Netns},
    netns::{Doorkeeper, Entrance},
};

/// Why a target cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// One of its pages cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Its command cannot be run.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// Who reads the claim of a target. Without a doorkeeper, whichever thread asks enters other network
/// namespaces.
///
/// # Errors
/// When a URL leads nowhere, there is no certificate authority to trust, or a command cannot be run as its
/// user.
pub fn claimant(
    target: &config::Target,
    doorkeeper: Option<&Doorkeeper>,
) -> Result<Claimant, AskError> {
    let (selection, deadline) = (target.claim.clone(), target.scrape_timeout);
    if let Some(command) = &target.claim_command {
        let surroundings = Surroundings {
            entrance: entrance(target.netns_of_command(), doorkeeper),
            doorkeeper: doorkeeper.cloned(),
        };
        let command = command.clone();
        let freshness = target.freshness;
        let claimant = Claimant::of_command(command, surroundings, selection, deadline, freshness);
        return Ok(claimant?);
    }
    let urls = target.gauge_url.iter();
    let pages = urls.map(|url| (url, entrance(target.netns_of(url), doorkeeper)));
    let claimant = Claimant::of_pages(pages, &target.access, selection, deadline, target.freshness);
    Ok(claimant?)
}

/// Who reads the list of a target's connections, if it has one.
///
/// # Errors
/// As [`claimant`].
pub(super) fn lister(
    target: &config::Target,
    doorkeeper: Option<&Doorkeeper>,
) -> Result<Option<Lister>, AskError> {
    let Some(url) = &target.connections_url else {
        return Ok(None);
    };
    let entrance = entrance(target.netns_of(url), doorkeeper);
    let lister = Lister::new(url, &target.access, target.scrape_timeout, entrance);
    Ok(Some(lister?))
}

fn entrance(netns: &Netns, doorkeeper: Option<&Doorkeeper>) -> Option<Entrance> {
    (*netns != Netns::SelfNs).then(|| Entrance::new(netns.clone(), doorkeeper.cloned()))
}
