//! `observer discover`: what listens, which pages of metrics there are, which of their series may be
//! gauges of connections, and which of those agree with the kernel right now.
//!
//! It looks once and proves nothing: `check` does. It asks addresses of this host only, each a bounded
//! number of times, and says what it asked. How it is printed is `proposal`'s.

mod compare;
mod pages;
mod places;
mod proposal;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use url::Url;

pub use compare::{Finding, Fit, Look};
pub use pages::Candidate;
pub use places::{Owner, Place};
pub use proposal::Row;

use crate::{
    claim::FetchError,
    config::Netns,
    netns::{NetnsError, NetworkNamespace},
    sock_diag::{DumpError, SockDiag},
};

/// Most addresses that are asked for a page.
const MAX_ASKED: usize = 128;

/// How long services have to notice that they were asked and left.
const SETTLE: Duration = Duration::from_millis(500);

/// Which listeners are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only {
    /// Those of a port.
    Port(u16),
    /// Those of a process, in its network namespace.
    Pid(u32),
}

/// Not one of these.
#[derive(Debug, thiserror::Error)]
#[error("expected :PORT or pid:NUMBER")]
pub struct OnlyError;

impl FromStr for Only {
    type Err = OnlyError;

    fn from_str(text: &str) -> Result<Self, OnlyError> {
        let (kind, number) = text.split_once(':').ok_or(OnlyError)?;
        match (kind, number.parse::<u32>().map_err(|_| OnlyError)?) {
            (_, 0) => Err(OnlyError),
            ("", port) => Ok(Self::Port(port.try_into().map_err(|_| OnlyError)?)),
            ("pid", pid) => Ok(Self::Pid(pid)),
            _ => Err(OnlyError),
        }
    }
}

/// Why nothing could be looked at.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// The process is gone, or is another user's.
    #[error("is the process there, and may it be looked at? (root may)")]
    Netns(#[from] NetnsError),
    /// No `sock_diag`.
    #[error("cannot ask the kernel for sockets: load the kernel module inet_diag (and tcp_diag)")]
    SockDiag(#[from] std::io::Error),
    /// Its answer is not whole.
    #[error("cannot list the sockets: try again")]
    Dump(#[from] DumpError),
    /// Nobody listens there.
    #[error("nothing listens {where_}: `ss -ltnp` shows what does")]
    Nothing {
        /// On which port, or by which process.
        where_: String,
    },
    /// A page that was named does not come.
    #[error("the page {url} does not come")]
    Page {
        /// Which.
        url: Url,
        /// Why.
        #[source]
        source: FetchError,
    },
}

/// What was found.
#[derive(Debug)]
pub struct Discovery {
    netns: Netns,
    places: Vec<Place>,
    asked: usize,
    left_out: usize,
    looks: Vec<Look>,
}

/// Looks for the gauges of the listeners that are meant, on these pages or else on all that there are.
///
/// # Errors
/// When the kernel cannot be asked, nothing listens, or a page that was named does not come.
pub async fn discover(only: Option<Only>, named: Vec<Url>) -> Result<Discovery, DiscoverError> {
    let netns = match only {
        Some(Only::Pid(pid)) => Netns::Pid(pid),
        _ => Netns::SelfNs,
    };
    let own = NetworkNamespace::open(&Netns::SelfNs)?;
    let all_here = places::places(&mut SockDiag::open(&own)?)?;
    let namespace = NetworkNamespace::open(&netns)?;
    let is_here = namespace.inode() == own.inode();
    let mut there = SockDiag::open(&namespace)?;
    let mut places = match is_here {
        true => all_here.clone(),
        false => places::places(&mut there)?,
    };
    places.retain(|place| is_meant(place, only));
    if places.is_empty() {
        let where_ = match only {
            Some(Only::Port(port)) => format!("on port {port}"),
            Some(Only::Pid(pid)) => format!("that process {pid} has, as far as it may be seen"),
            None => "here".to_owned(),
        };
        return Err(DiscoverError::Nothing { where_ });
    }
    let is_named = !named.is_empty();
    let addresses = if is_named {
        Vec::new()
    } else {
        addresses(&all_here)
    };
    let asked = addresses.len().min(MAX_ASKED);
    let left_out = addresses.len() - asked;
    let urls = match is_named {
        true => named,
        false => pages::find(addresses.into_iter().take(asked).collect()).await,
    };
    tokio::time::sleep(SETTLE).await;
    let mut looks = Vec::new();
    for url in urls {
        looks.extend(match look(&mut there, &all_here, is_here, &url).await? {
            Ok(look) => Some(look),
            Err(source) if is_named => return Err(DiscoverError::Page { url, source }),
            // It came a moment ago.
            Err(_) => None,
        });
    }
    Ok(Discovery {
        netns: if is_here { Netns::SelfNs } else { netns },
        places,
        asked,
        left_out,
        looks,
    })
}

fn is_meant(place: &Place, only: Option<Only>) -> bool {
    match only {
        None => true,
        Some(Only::Port(port)) => place.port() == port,
        Some(Only::Pid(pid)) => place.owner.as_ref().is_some_and(|owner| owner.pid == pid),
    }
}

/// Reads a page between two looks at the kernel.
async fn look(
    diag: &mut SockDiag,
    all_here: &[Place],
    is_here: bool,
    url: &Url,
) -> Result<Result<Look, FetchError>, DumpError> {
    let before = places::established(diag)?;
    let scrape = match pages::fetch(url).await {
        Ok(scrape) => scrape,
        Err(error) => return Ok(Err(error)),
    };
    let after = places::established(diag)?;
    let candidates = pages::candidates(url, &scrape);
    let address = url.socket_addrs(|| None).ok();
    let address = address.and_then(|addresses| addresses.first().copied());
    let is_at = |place: &&Place| address.is_some_and(|address| place.has(address));
    let owner = all_here.iter().find(is_at);
    Ok(Ok(Look {
        url: url.clone(),
        // Elsewhere the same address is somebody else's.
        address: address.filter(|_| is_here),
        owner: owner.and_then(|place| place.owner.clone()),
        candidates,
        before,
        after,
    }))
}

/// Where each listener of this namespace is reached from here.
fn addresses(places: &[Place]) -> Vec<SocketAddr> {
    let listens = places.iter().flat_map(|place| &place.listen);
    let mut addresses: Vec<_> = listens
        .map(|listen| {
            let address = listen.address.unwrap_or(Ipv4Addr::LOCALHOST.into());
            SocketAddr::new(address, listen.port)
        })
        .filter(|address| !matches!(address.ip(), IpAddr::V6(ip) if is_link_local(ip)))
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// Whether it takes an interface besides.
fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_or_a_process_is_meant() {
        assert_eq!(":80".parse::<Only>().unwrap(), Only::Port(80));
        assert_eq!("pid:7".parse::<Only>().unwrap(), Only::Pid(7));
        for text in [
            "", "80", ":", ":0", ":65536", "pid:", "pid:0", "pid:x", "tcp:80",
        ] {
            text.parse::<Only>().unwrap_err();
        }
    }
}
