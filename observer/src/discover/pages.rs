//! Looks for pages of metrics among listeners, within limits, and reads what they may claim.
//!
//! Each address is asked once for `/metrics`, and where HTTP answers otherwise, for the pages that
//! recipes name. It connects to this host's own listeners only.

use std::{net::SocketAddr, time::Duration};

use futures_util::{StreamExt as _, stream};
use url::Url;

use crate::{
    claim::{Access, Expression, FetchError, Fetcher, Limits, Scrape, Selection, offers},
    recipes::{self, Recipe},
};

/// What one page may cost: it is asked of whoever listens.
const LIMITS: Limits = Limits {
    deadline: Duration::from_secs(1),
    body: 4 << 20,
};

/// Asked at once.
const AT_ONCE: usize = 8;

/// What a page may claim, and what it says.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The setting that says so: `gauge`, `claim`, `claim-path` or `claim-pattern`.
    pub key: &'static str,
    /// Its value.
    pub claim: String,
    /// What the page says.
    pub value: f64,
    /// What is known of the gauge.
    pub recipe: Option<&'static Recipe>,
    /// Whether its name says that it counts connections.
    pub is_named: bool,
}

/// The first page of each address that holds anything that may be a claim.
pub(super) async fn find(addresses: Vec<SocketAddr>) -> Vec<Url> {
    let found = stream::iter(addresses).map(find_at).buffered(AT_ONCE);
    found.filter_map(|url| async { url }).collect().await
}

async fn find_at(address: SocketAddr) -> Option<Url> {
    let url = Url::parse(&format!("http://{address}/metrics")).ok()?;
    match fetch(&url).await {
        Ok(scrape) if !candidates(&url, &scrape).is_empty() => return Some(url),
        // Somebody speaks HTTP, and has no such page.
        Ok(_) | Err(FetchError::Html) => {}
        Err(FetchError::Status { status }) if status.is_client_error() => {}
        // Who answers anything to everything is a service, and not asked again.
        Err(_) => return None,
    }
    for path in other_paths() {
        let mut other = url.clone();
        other.set_path(&path);
        if let Ok(scrape) = fetch(&other).await
            && !candidates(&other, &scrape).is_empty()
        {
            return Some(other);
        }
    }
    None
}

/// Where recipes have their pages, beside `/metrics`.
fn other_paths() -> Vec<String> {
    let urls = recipes::all()
        .iter()
        .flat_map(|recipe| &recipe.read().gauge_url);
    let mut paths: Vec<_> = urls.map(|url| url.path().to_owned()).collect();
    paths.sort();
    paths.dedup();
    paths.retain(|path| path != "/metrics");
    paths
}

/// One page, over a connection of its own, which is closed.
///
/// # Errors
/// When no page came within the limits.
pub(super) async fn fetch(url: &Url) -> Result<Scrape, FetchError> {
    Fetcher::new(url, &Access::default(), LIMITS)?.fetch().await
}

/// What a page may claim: by the recipes first, then by the names of its series.
#[must_use]
pub(super) fn candidates(url: &Url, scrape: &Scrape) -> Vec<Candidate> {
    let mut candidates: Vec<_> = recipes::all()
        .iter()
        .filter_map(|recipe| by_recipe(url, scrape, recipe))
        .collect();
    let known: Vec<_> = recipes::all()
        .iter()
        .map(|recipe| (recipe, recipe.metrics()))
        .collect();
    for offer in offers(&scrape.body, scrape.format).unwrap_or_default() {
        let Ok(expression) = Expression::parse(&offer.selector) else {
            continue;
        };
        let known = known
            .iter()
            .find(|(_, metrics)| metrics.contains(&offer.metric));
        let is_there = candidates.iter().any(|one| one.claim == offer.selector);
        let claim = Selection::Series(expression).read(&scrape.body, scrape.format);
        if let (Ok(claim), false) = (claim, is_there) {
            candidates.push(Candidate {
                key: "gauge",
                claim: offer.selector,
                value: claim.value,
                recipe: known.map(|(recipe, _)| *recipe),
                is_named: offer.is_named,
            });
        }
    }
    candidates
}

fn by_recipe(url: &Url, scrape: &Scrape, recipe: &'static Recipe) -> Option<Candidate> {
    let target = recipe.read();
    let key = match &target.claim {
        Selection::Series(_) | Selection::Counters(_) => "claim",
        Selection::Nodes(_) => "claim-path",
        Selection::Match(_) => "claim-pattern",
        Selection::Query(_) => return None,
    };
    // A path or a pattern fits many a page: it is that of one.
    let is_its = target.gauge_url.iter().any(|its| its.path() == url.path());
    if key != "claim" && !is_its {
        return None;
    }
    let claim = target.claim.read(&scrape.body, scrape.format).ok()?;
    Some(Candidate {
        key,
        claim: target.claim.to_string(),
        value: claim.value,
        recipe: Some(recipe),
        is_named: true,
    })
}
