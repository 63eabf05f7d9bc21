//! What listens in a network namespace, whose it is, and how many connections are open there.
//!
//! The kernel is asked for sockets, `/proc` for processes, as far as the rights go. It knows nothing
//! of pages and gauges.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::SocketAddr,
};

use observer_ebpf::TCP_ESTABLISHED;
use serde::Serialize;

use crate::{
    config::TcpAddress,
    sock_diag::{DumpError, Entry, Holder, SockDiag, States},
};

/// A process that has a listening socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Owner {
    /// Its id: of several that share the socket the lowest.
    pub pid: u32,
    /// What it calls itself.
    pub name: String,
}

/// A port on which somebody listens, with all of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The addresses.
    pub listen: Vec<TcpAddress>,
    /// Whose it is, if that may be known.
    pub owner: Option<Owner>,
}

impl Place {
    /// The port of all of them.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.listen.first().map_or(0, |listen| listen.port)
    }

    /// Whether what comes to this address comes here.
    #[must_use]
    pub fn has(&self, local: SocketAddr) -> bool {
        self.listen.iter().any(|listen| listen.is_of(&local))
    }
}

/// What listens, in the order of the ports.
///
/// # Errors
/// When the kernel does not list it.
pub(super) fn places(diag: &mut SockDiag) -> Result<Vec<Place>, DumpError> {
    // Port 0 is every port.
    let listening = diag.dump(0, States::LISTEN)?;
    let owners = owners(&listening);
    let mut places: BTreeMap<(u16, Option<Owner>), Vec<TcpAddress>> = BTreeMap::new();
    for entry in listening {
        let ip = entry.local.ip();
        let listen = TcpAddress {
            address: (!ip.is_unspecified()).then_some(ip),
            port: entry.local.port(),
        };
        let owner = owners.get(&entry.inode).cloned();
        let known = places.entry((listen.port, owner)).or_default();
        if !known.contains(&listen) {
            known.push(listen);
        }
    }
    let place = |((_, owner), listen)| Place { listen, owner };
    Ok(places.into_iter().map(place).collect())
}

/// The local addresses of all established connections that somebody has accepted or opened.
///
/// # Errors
/// When the kernel does not list them.
pub(super) fn established(diag: &mut SockDiag) -> Result<Vec<SocketAddr>, DumpError> {
    let open = diag.dump(0, States::OPEN)?;
    let is_counted =
        |entry: &Entry| entry.state == TCP_ESTABLISHED && entry.holder() == Holder::Process;
    let counted = open.into_iter().filter(is_counted);
    Ok(counted.map(|entry| entry.local).collect())
}

/// Who has which of these sockets, by the inode.
fn owners(sockets: &[Entry]) -> HashMap<u32, Owner> {
    let mut owners: HashMap<u32, Owner> = HashMap::new();
    let links: HashMap<String, u32> = sockets
        .iter()
        .map(|socket| (format!("socket:[{}]", socket.inode), socket.inode))
        .collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        // Processes of others cannot be read without rights, and some are gone by now.
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        for file in files.into_iter().flatten().flatten() {
            let link = fs::read_link(file.path()).ok();
            let Some(inode) = link.and_then(|link| links.get(link.to_str()?)) else {
                continue;
            };
            if owners.get(inode).is_some_and(|known| known.pid < pid) {
                continue;
            }
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let name = name.trim_end().to_owned();
            owners.insert(*inode, Owner { pid, name });
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;
    use crate::{config::Netns, netns::NetworkNamespace};

    #[test]
    fn a_listener_is_listed_with_its_process_and_counts_what_was_accepted() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let netns = NetworkNamespace::open(&Netns::SelfNs).unwrap();
        let mut diag = SockDiag::open(&netns).unwrap();
        let places = places(&mut diag).unwrap();
        let place = places.iter().find(|place| place.port() == address.port());
        let place = place.expect("it is listed");
        assert_eq!(place.owner.as_ref().unwrap().pid, std::process::id());

        let open = |diag: &mut SockDiag| {
            let established = established(diag).unwrap();
            established
                .into_iter()
                .filter(|local| place.has(*local))
                .count()
        };
        assert_eq!(open(&mut diag), 0);
        let _waiting = TcpStream::connect(address).unwrap();
        assert_eq!(open(&mut diag), 0, "nobody has accepted it");
        let _accepted = listener.accept().unwrap();
        assert_eq!(open(&mut diag), 1);
    }
}
