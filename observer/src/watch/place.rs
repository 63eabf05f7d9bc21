//! Where an endpoint's sockets are now: in the network namespace that its name stands for.
//!
//! A name stands for a namespace for as long as the process lives or the file is there, and then
//! perhaps for another one. What is open here keeps a namespace alive: it is closed as soon as the
//! name stands for it no longer, so that nothing of a container that is gone is held.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Mutex,
};

use observer_ebpf::{INCOMING, MAX_TARGETS, OUTGOING, TargetKey};

use super::{lock, openings::Openings};
use crate::{
    config::{Listen, Netns, TcpAddress},
    netns::{Doorkeeper, NetnsError, NetworkNamespace},
    probe::MapAccessError,
    sock_diag::SockDiag,
};

/// Why an endpoint's sockets cannot be seen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// There is no such namespace, or it may not be opened.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The namespace is there, and nothing can be opened inside it.
    #[error("cannot look into the network namespace {netns}")]
    Enter {
        /// Its name in the configuration.
        netns: Netns,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Two names of namespaces stand for the same one.
    #[error(
        "{listen} of {netns} is another target's, by another name of the same network namespace"
    )]
    Taken {
        /// Where the service listens.
        listen: Listen,
        /// The name of the namespace.
        netns: Netns,
    },
    /// So many are watched already.
    #[error("more than {MAX_TARGETS} addresses are watched, those included that are being left")]
    TooMany,
    /// The programs cannot be told of it.
    #[error("the BPF programs cannot be told of it")]
    Map(#[from] MapAccessError),
}

impl PlaceError {
    /// What to do about it, where it does not pass by itself.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Netns(error) if error.is_absent() => None,
            Self::Netns(_) | Self::Enter { .. } => Some(
                "another network namespace needs CAP_SYS_ADMIN, and another user's process \
                 CAP_SYS_PTRACE (see README, Privileges)",
            ),
            Self::Taken { .. } => Some("use one name for the namespace in all targets"),
            Self::TooMany => Some("take some out, and try again"),
            Self::Map(_) => None,
        }
    }
}

/// What is open inside a namespace.
pub(super) struct Place {
    /// The key by which the programs find its sockets, if they can.
    pub(super) key: Option<TargetKey>,
    /// The namespace.
    pub(super) namespace: NetworkNamespace,
    /// Lists the connections, which takes long where there are many.
    pub(super) connections: Mutex<SockDiag>,
    /// Lists them for people and for whoever looks for suspects: no check waits for it.
    pub(super) details: Mutex<SockDiag>,
    /// Lists the listening sockets, which is never to wait for the other.
    pub(super) listeners: Mutex<SockDiag>,
    /// What the kernel counts of all openings, where no program counts.
    pub(super) openings: Option<Openings>,
}

impl Place {
    /// Opens it where the name stands for another namespace than `known`; `None` where it does not.
    pub(super) fn open(
        netns: &Netns,
        listen: &Listen,
        known: Option<u32>,
        has_programs: bool,
        doorkeeper: Option<Doorkeeper>,
    ) -> Result<Option<Self>, PlaceError> {
        let namespace = NetworkNamespace::open(netns)?.through(doorkeeper);
        if known == Some(namespace.inode()) {
            return Ok(None);
        }
        let open = || {
            let openings = match has_programs {
                true => None,
                false => Some(Openings::open(listen, &namespace)?),
            };
            Ok(Some(Self {
                key: key(namespace.inode(), listen),
                connections: Mutex::new(SockDiag::open(&namespace)?),
                details: Mutex::new(SockDiag::closed(&namespace)),
                listeners: Mutex::new(SockDiag::open(&namespace)?),
                openings,
                namespace: namespace.clone(),
            }))
        };
        open().map_err(|source| PlaceError::Enter {
            netns: netns.clone(),
            source,
        })
    }
}

/// The key by which the programs find the sockets of an address.
#[must_use]
pub(super) fn key(netns: u32, listen: &Listen) -> Option<TargetKey> {
    let TcpAddress { address, port } = listen.address()?;
    let address = match address {
        None => [0; 16],
        Some(IpAddr::V4(address)) => address.to_ipv6_mapped().octets(),
        Some(IpAddr::V6(address)) => address.octets(),
    };
    Some(TargetKey {
        address,
        netns,
        port,
        direction: match listen.is_outgoing() {
            false => INCOMING,
            true => OUTGOING,
        },
    })
}

/// Whether a namespace does not have an address: no socket can be bound to it.
///
/// Where `net.ipv4.ip_nonlocal_bind` lets sockets be bound to any address, none is found absent.
pub(super) fn is_absent(netns: &NetworkNamespace, address: IpAddr) -> bool {
    let bound = netns.run(move || UdpSocket::bind((address, 0)));
    bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

/// Whether a key is that of one address on the port of the other, which is that of any address.
pub(super) fn is_within(one: &TargetKey, any: &TargetKey) -> bool {
    is_same_port(one, any) && one.address != [0; 16] && any.address == [0; 16]
}

fn is_same_port(one: &TargetKey, other: &TargetKey) -> bool {
    (one.netns, one.port, one.direction) == (other.netns, other.port, other.direction)
}

/// Which endpoint has which key now.
#[derive(Debug, Default)]
pub struct Keys(Mutex<HashMap<TargetKey, u32>>);

impl Keys {
    /// Whether `index` has the key from now on; not if another has it.
    pub(super) fn take(&self, key: TargetKey, index: u32) -> bool {
        *lock(&self.0).entry(key).or_insert(index) == index
    }

    /// The key is nobody's from now on.
    pub(super) fn give_back(&self, key: &TargetKey) {
        lock(&self.0).remove(key);
    }

    /// Addresses on the key's port, in its namespace, that other endpoints have for themselves.
    pub(super) fn others(&self, key: &TargetKey) -> Vec<IpAddr> {
        lock(&self.0)
            .keys()
            .filter(|other| is_same_port(other, key) && *other != key)
            .filter(|other| other.address != [0; 16])
            .map(|other| IpAddr::from(Ipv6Addr::from(other.address)).to_canonical())
            .collect()
    }

    /// Whether a local address is one that an endpoint has: its sockets are that one's, wherever they
    /// are connected to.
    pub(super) fn has_local(&self, netns: u32, local: SocketAddr) -> bool {
        let keys = lock(&self.0);
        [Some(local.ip()), None].into_iter().any(|address| {
            let port = local.port();
            let key = key(netns, &Listen::Tcp(TcpAddress { address, port }));
            key.is_some_and(|key| keys.contains_key(&key))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(netns: u32, listen: &str) -> TargetKey {
        let (address, port) = listen.rsplit_once(':').expect("a port");
        let address = address.trim_matches(['[', ']']);
        let of = TcpAddress {
            address: (!address.is_empty()).then(|| address.parse().expect("an address")),
            port: port.parse().expect("a port"),
        };
        key(netns, &Listen::Tcp(of)).expect("an address of TCP")
    }

    #[test]
    fn a_key_is_one_endpoints_until_it_is_given_back() {
        let keys = Keys::default();
        let key = key_of(1, ":80");
        assert!(keys.take(key, 0));
        assert!(keys.take(key, 0));
        assert!(!keys.take(key, 1));
        keys.give_back(&key);
        assert!(keys.take(key, 1));
    }

    #[test]
    fn an_address_is_within_any_address_of_its_port_and_namespace() {
        let any = key_of(1, ":80");
        assert!(is_within(&key_of(1, "127.0.0.1:80"), &any));
        assert!(is_within(&key_of(1, "[::1]:80"), &any));
        for other in [(1, ":80"), (1, "127.0.0.1:81"), (2, "127.0.0.1:80")] {
            assert!(!is_within(&key_of(other.0, other.1), &any), "{other:?}");
        }
        assert!(!is_within(&any, &key_of(1, "127.0.0.1:80")));
    }

    #[test]
    fn an_address_is_absent_where_nothing_can_be_bound_to_it() {
        let own = NetworkNamespace::open(&Netns::SelfNs).expect("one's own");
        assert!(!is_absent(&own, "127.1.2.3".parse().expect("an address")));
        // For documentation, RFC 5737 and RFC 3849.
        for address in ["192.0.2.1", "2001:db8::1"] {
            assert!(
                is_absent(&own, address.parse().expect("an address")),
                "{address}"
            );
        }
    }

    #[test]
    fn others_are_the_exact_addresses_of_the_same_port_and_namespace() {
        let keys = Keys::default();
        for (index, (netns, listen)) in (0..).zip([
            (1, ":80"),
            (1, "127.0.0.1:80"),
            (1, "[::1]:80"),
            (1, "127.0.0.1:81"),
            (2, "127.0.0.2:80"),
        ]) {
            assert!(keys.take(key_of(netns, listen), index));
        }
        let mut others = keys.others(&key_of(1, ":80"));
        others.sort_unstable();
        let expected = ["127.0.0.1", "::1"].map(|text| text.parse::<IpAddr>().expect("an address"));
        assert_eq!(others, expected);
        // A wildcard takes nothing from an address.
        assert_eq!(keys.others(&key_of(1, "127.0.0.1:80")), [expected[1]]);
        assert_eq!(keys.others(&key_of(2, ":80")).len(), 1);
    }
}
