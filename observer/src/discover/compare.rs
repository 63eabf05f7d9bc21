//! Which claim may be about which listeners: what a page says against what the kernel counted before
//! and after it was read. Pure.
//!
//! A number that fits is no proof: where nothing is open, everything at 0 fits. Of a series whose name
//! says nothing, a small one is not even a hint.

use std::net::SocketAddr;

use serde::Serialize;
use url::Url;

use super::{
    pages::Candidate,
    places::{Owner, Place},
};
use crate::config::{Bound, TcpAddress};

/// A page, as it was read between two looks at the kernel.
#[derive(Debug)]
pub struct Look {
    /// Where it is.
    pub url: Url,
    /// Its address.
    pub address: Option<SocketAddr>,
    /// Who publishes it, if that is known.
    pub owner: Option<Owner>,
    /// What it may claim.
    pub candidates: Vec<Candidate>,
    /// Local addresses of what was established before it was asked for.
    pub before: Vec<SocketAddr>,
    /// And after it was read.
    pub after: Vec<SocketAddr>,
}

/// How a claim compares with what is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// It says what the kernel counts, and something is open.
    Agrees,
    /// Both say nothing is open, or it is a bound that holds.
    Possible,
    /// It says something else.
    Differs,
}

/// A claim and the listeners that it fits best.
#[derive(Debug)]
pub struct Finding<'a> {
    /// The page.
    pub look: &'a Look,
    /// What of it.
    pub candidate: &'a Candidate,
    /// The listeners.
    pub listen: Vec<TcpAddress>,
    /// Whose they are.
    pub owner: Option<&'a Owner>,
    /// Fewest connections that were open there.
    pub low: u64,
    /// Most.
    pub high: u64,
    /// How they compare.
    pub fit: Fit,
}

/// Fewest connections that a series without a telling name must agree with.
const BY_CHANCE: u64 = 2;

/// The best finding of each claim, the best of all first.
pub(super) fn compare<'a>(looks: &'a [Look], places: &'a [Place]) -> Vec<Finding<'a>> {
    let mut findings = Vec::new();
    for look in looks {
        let sets = sets(look, places);
        for candidate in &look.candidates {
            let each = sets.iter().map(|set| finding(look, candidate, set));
            let best = each.min_by_key(Finding::rank);
            findings.extend(best.filter(Finding::is_worth_a_word));
        }
    }
    findings.sort_by_key(Finding::rank);
    findings
}

/// Those that are worth a target: each page's series and each listener once.
pub(super) fn chosen<'f, 'a>(findings: &'f [Finding<'a>]) -> Vec<&'f Finding<'a>> {
    let mut chosen: Vec<&Finding<'a>> = Vec::new();
    for finding in findings.iter().filter(|finding| finding.fit == Fit::Agrees) {
        let is_taken = chosen.iter().any(|other| {
            let shares = other.listen.iter().any(|one| finding.listen.contains(one));
            let is_same = std::ptr::eq(other.look, finding.look)
                && other.candidate.metric() == finding.candidate.metric();
            shares || is_same
        });
        if !is_taken {
            chosen.push(finding);
        }
    }
    chosen
}

/// Listeners that a gauge may be about: each, and all of one process, with or without its page.
fn sets<'a>(look: &Look, places: &'a [Place]) -> Vec<Vec<&'a Place>> {
    let is_page = |place: &&Place| look.address.is_some_and(|address| place.has(address));
    let mut sets: Vec<Vec<&Place>> = places.iter().map(|place| vec![place]).collect();
    let mut owners: Vec<_> = places
        .iter()
        .filter_map(|place| place.owner.as_ref())
        .collect();
    owners.sort();
    owners.dedup();
    for owner in owners {
        let all = places
            .iter()
            .filter(|place| place.owner.as_ref() == Some(owner));
        let all: Vec<&Place> = all.collect();
        let beside: Vec<&Place> = all
            .iter()
            .copied()
            .filter(|place| !is_page(place))
            .collect();
        if beside.len() > 1 && beside.len() < all.len() {
            sets.push(beside);
        }
        if all.len() > 1 {
            sets.push(all);
        }
    }
    sets
}

fn finding<'a>(look: &'a Look, candidate: &'a Candidate, set: &[&'a Place]) -> Finding<'a> {
    let has = |local: &SocketAddr| set.iter().any(|place| place.has(*local));
    let count = |locals: &[SocketAddr]| locals.iter().filter(|local| has(local)).count() as u64;
    let (before, after) = (count(&look.before), count(&look.after));
    // What asks for the page is one of them meanwhile, if the page is there.
    let own = u64::from(look.address.is_some_and(|address| has(&address)));
    let (low, high) = (before.min(after), after.max(before + own));
    let is_bound = candidate.is_bound();
    let is_within = candidate.value >= low as f64 && candidate.value <= high as f64;
    let fit = match is_bound {
        true if candidate.value <= high as f64 => Fit::Possible,
        false if is_within && low > 0 => Fit::Agrees,
        false if is_within => Fit::Possible,
        _ => Fit::Differs,
    };
    Finding {
        look,
        candidate,
        listen: set.iter().flat_map(|place| place.listen.clone()).collect(),
        owner: set.first().and_then(|place| place.owner.as_ref()),
        low,
        high,
        fit,
    }
}

impl Finding<'_> {
    /// Whether anything speaks for it: its name, or its number and whose it is.
    fn is_worth_a_word(&self) -> bool {
        let is_own = self.owner.is_some() && self.owner == self.look.owner.as_ref();
        let is_telling = self.fit == Fit::Agrees && self.low >= BY_CHANCE && is_own;
        self.candidate.is_named || is_telling
    }

    /// What comes first is the least.
    fn rank(&self) -> impl Ord + use<> {
        let is_foreign = self.owner.is_none() || self.owner != self.look.owner.as_ref();
        let distance = match self.candidate.value {
            value if value < self.low as f64 => self.low as f64 - value,
            value => (value - self.high as f64).max(0.0),
        };
        // A recipe of several listeners means all of a process.
        let wants_many = self
            .candidate
            .recipe
            .is_some_and(|recipe| recipe.read().listen.iter().len() > 1);
        let listens = self.listen.len();
        (
            self.fit as u8,
            distance as u64,
            is_foreign,
            self.candidate.recipe.is_none(),
            self.high - self.low,
            if wants_many {
                usize::MAX - listens
            } else {
                listens
            },
            self.candidate.claim.len(),
        )
    }
}

impl Candidate {
    /// Whether it is some of the connections only.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        let recipe = self.recipe.map(|recipe| recipe.read());
        recipe.is_some_and(|target| target.bound == Bound::AtMost)
    }

    /// What it is of, without labels and numbers.
    fn metric(&self) -> &str {
        self.claim.split(['{', ' ']).next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(port: u16, pid: u32) -> Place {
        let owner = Owner {
            pid,
            name: format!("p{pid}"),
        };
        let listen = TcpAddress {
            address: None,
            port,
        };
        Place {
            listen: vec![listen],
            owner: Some(owner),
        }
    }

    fn at(port: u16, count: usize) -> Vec<SocketAddr> {
        vec![SocketAddr::from(([127, 0, 0, 1], port)); count]
    }

    /// A page at port 9 of process 1, while so many are open at ports.
    fn look(claims: &[(&str, f64)], open: &[(u16, usize)]) -> Look {
        let candidate = |(claim, value): &(&str, f64)| Candidate {
            key: "gauge",
            claim: (*claim).to_owned(),
            value: *value,
            recipe: None,
            is_named: !claim.starts_with('?'),
        };
        let open: Vec<_> = open
            .iter()
            .flat_map(|(port, count)| at(*port, *count))
            .collect();
        Look {
            url: "http://127.0.0.1:9/metrics".parse().unwrap(),
            address: at(9, 1).pop(),
            owner: place(9, 1).owner,
            candidates: claims.iter().map(candidate).collect(),
            before: open.clone(),
            after: open,
        }
    }

    /// The ports of what is chosen, with the claims.
    fn choices(look: Look, places: &[Place]) -> Vec<(Vec<u16>, String)> {
        let looks = [look];
        let findings = compare(&looks, places);
        let told = |finding: &&Finding<'_>| {
            let ports = finding.listen.iter().map(|listen| listen.port).collect();
            (ports, finding.candidate.claim.clone())
        };
        chosen(&findings).iter().map(told).collect()
    }

    #[test]
    fn a_gauge_belongs_to_the_listener_with_as_many_connections() {
        let places = [place(9, 1), place(80, 1), place(81, 2)];
        let look = look(&[("a", 3.0), ("b", 7.0)], &[(80, 3), (81, 5)]);
        assert_eq!(choices(look, &places), [(vec![80], "a".to_owned())]);
    }

    #[test]
    fn of_two_listeners_with_as_many_that_of_the_pages_own_process_is_meant() {
        let places = [place(9, 1), place(80, 2), place(81, 1)];
        let look = look(&[("a", 3.0)], &[(80, 3), (81, 3)]);
        assert_eq!(choices(look, &places), [(vec![81], "a".to_owned())]);
    }

    #[test]
    fn a_gauge_of_several_listeners_is_their_sum() {
        let places = [place(9, 1), place(80, 1), place(81, 1)];
        let look = look(&[("a", 7.0)], &[(80, 3), (81, 4)]);
        assert_eq!(choices(look, &places), [(vec![80, 81], "a".to_owned())]);
    }

    #[test]
    fn without_a_telling_name_the_number_must_tell_and_be_the_listeners_own() {
        let places = [place(9, 1), place(80, 1), place(81, 2)];
        let chosen =
            |claims: &[(&str, f64)], open: &[(u16, usize)]| choices(look(claims, open), &places);
        let found = (vec![80], "?g".to_owned());
        assert_eq!(chosen(&[("?g", 3.0), ("?h", 4.0)], &[(80, 3)]), [found]);
        assert_eq!(chosen(&[("?g", 1.0)], &[(80, 1)]), []);
        assert_eq!(chosen(&[("?g", 3.0)], &[(81, 3)]), []);
    }

    #[test]
    fn where_nothing_is_open_nothing_is_chosen() {
        let places = [place(9, 1), place(80, 1)];
        assert_eq!(choices(look(&[("a", 0.0)], &[]), &places), []);
    }

    #[test]
    fn the_connection_that_asks_is_no_evidence() {
        let places = [place(9, 1)];
        assert_eq!(choices(look(&[("a", 1.0)], &[]), &places), []);
        let look = look(&[("a", 4.0)], &[(9, 3)]);
        assert_eq!(choices(look, &places), [(vec![9], "a".to_owned())]);
    }
}
