//! One place that services listen on: its counts and its sockets, as each witness has them.
//!
//! How the witnesses are held against each other is in `reconcile`.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
};

use observer_ebpf::{Socket, Tally, TargetKey};

use super::{
    listing::{Listing, Snmp},
    lock,
};
use crate::{
    config::Listen,
    netns::NetworkNamespace,
    probe::{MapAccessError, Probe},
    sock_diag::{DumpError, Entry, SockDiag, States},
};

/// A witness failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// The BPF maps.
    #[error("the BPF maps cannot be read")]
    Map(#[from] MapAccessError),
    /// `sock_diag`.
    #[error("sock_diag does not answer")]
    Dump(#[from] DumpError),
    /// The kernel's own counters.
    #[error("/proc/net/snmp cannot be read")]
    Snmp(#[from] std::io::Error),
}

/// The counts of an endpoint, and how much they may lack.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// The counts.
    pub tally: Tally,
    /// Connections that may have opened unseen, as an end of a window has to take them: of the
    /// later end, `unseen_after`, less of the earlier, `unseen_before`, is how many.
    pub unseen_before: u64,
    /// See `unseen_before`.
    pub unseen_after: u64,
}

/// What the listening sockets of an endpoint show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listeners {
    /// Their cookies, in order: others after a restart.
    pub cookies: Vec<u64>,
    /// Connections that nobody has accepted yet.
    pub queue_length: u64,
    /// How many may wait.
    pub queue_limit: u64,
}

/// Who counts.
enum Witness {
    /// The programs, all endpoints in one set of maps.
    Programs(Arc<Mutex<Probe>>),
    /// Dumps, one after the other.
    Dumps(Snmp, Mutex<Listing>),
}

/// An endpoint and what is known of it beside the programs' counts.
pub struct Endpoint {
    index: u32,
    key: TargetKey,
    listen: Listen,
    /// Addresses on the same port that other endpoints have for themselves.
    others: Vec<IpAddr>,
    witness: Witness,
    diag: Mutex<SockDiag>,
    /// What was added to the counts by seeding and repairing.
    adjustment: Mutex<Tally>,
}

impl Endpoint {
    /// The key by which the programs find an endpoint.
    #[must_use]
    pub fn key(netns: &NetworkNamespace, listen: Listen) -> TargetKey {
        let address = match listen.address.map(|address| address.to_canonical()) {
            None => [0; 16],
            Some(IpAddr::V4(address)) => address.to_ipv6_mapped().octets(),
            Some(IpAddr::V6(address)) => address.octets(),
        };
        TargetKey {
            address,
            netns: netns.inode(),
            port: listen.port,
            reserved: 0,
        }
    }

    /// An endpoint whose sockets the programs count under `index`.
    ///
    /// # Errors
    /// When `sock_diag` cannot be opened in the namespace.
    pub fn open(
        index: u32,
        netns: &NetworkNamespace,
        listen: Listen,
        others: Vec<IpAddr>,
        probe: Option<Arc<Mutex<Probe>>>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            index,
            key: Self::key(netns, listen),
            listen,
            others,
            witness: match probe {
                Some(probe) => Witness::Programs(probe),
                None => Witness::Dumps(Snmp::open(netns)?, Mutex::default()),
            },
            diag: Mutex::new(SockDiag::open(netns)?),
            adjustment: Mutex::default(),
        })
    }

    /// Its index in the programs' maps.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// The key by which the programs find it.
    #[must_use]
    pub const fn target_key(&self) -> TargetKey {
        self.key
    }

    /// Whether the programs count here, or `sock_diag` alone.
    #[must_use]
    pub const fn has_programs(&self) -> bool {
        matches!(self.witness, Witness::Programs(_))
    }

    /// The counts, with what was there before the programs; without programs, those of the last
    /// [`Self::count`].
    ///
    /// # Errors
    /// When the maps cannot be read.
    pub fn tally(&self) -> Result<Tally, WitnessError> {
        match &self.witness {
            Witness::Programs(probe) => {
                let counted = lock(probe).tally(self.index)?;
                Ok(counted.plus(&lock(&self.adjustment)))
            }
            Witness::Dumps(_, listing) => Ok(lock(listing).tally()),
        }
    }

    /// Counts now.
    ///
    /// # Errors
    /// When a witness fails.
    pub fn count(&self) -> Result<Count, WitnessError> {
        let (snmp, listing) = match &self.witness {
            Witness::Programs(_) => {
                return Ok(Count {
                    tally: self.tally()?,
                    unseen_before: 0,
                    unseen_after: 0,
                });
            }
            Witness::Dumps(snmp, listing) => (snmp, listing),
        };
        let mut listing = lock(listing);
        let before = snmp.passive_opens()?;
        listing.update(&self.dump()?);
        let tally = listing.tally();
        let after = snmp.passive_opens()?;
        // Those that were seen are counted: the rest may be ours, opened and closed unseen.
        Ok(Count {
            tally,
            unseen_before: before.wrapping_sub(tally.opened),
            unseen_after: after.wrapping_sub(tally.opened),
        })
    }

    /// The open sockets, as `sock_diag` lists them.
    ///
    /// # Errors
    /// When there is no complete dump.
    pub fn dump(&self) -> Result<Vec<Entry>, WitnessError> {
        self.list(States::OPEN)
    }

    /// The cookies of the sockets that left ESTABLISHED and are not closed.
    ///
    /// # Errors
    /// When there is no complete dump, or the maps cannot be read.
    pub fn closing(&self) -> Result<Vec<u64>, WitnessError> {
        let tally = self.tally()?;
        if tally.left == tally.closed {
            return Ok(Vec::new());
        }
        let entries = self.list(States::CLOSING)?;
        Ok(entries.iter().map(|entry| entry.cookie).collect())
    }

    /// The open sockets with their `tcp_info`, and what the programs know of each.
    ///
    /// # Errors
    /// When there is no complete dump, or the maps cannot be read.
    pub fn details(&self) -> Result<Vec<(Entry, Option<Socket>)>, WitnessError> {
        let mut entries = lock(&self.diag).dump_with_info(self.listen.port, States::OPEN)?;
        entries.retain(|entry| self.owns(entry));
        entries
            .into_iter()
            .map(|entry| {
                let tracked = match &self.witness {
                    Witness::Programs(probe) => lock(probe).socket(entry.cookie)?,
                    Witness::Dumps(..) => None,
                };
                Ok((entry, tracked))
            })
            .collect()
    }

    /// The listening sockets.
    ///
    /// # Errors
    /// When there is no complete dump.
    pub fn listeners(&self) -> Result<Listeners, WitnessError> {
        let entries = lock(&self.diag).dump(self.listen.port, States::LISTEN)?;
        let mut listeners = Listeners::default();
        for entry in entries {
            // A wildcard listener also serves an endpoint with an address.
            if self.listen.address.is_some() && !entry.local.ip().is_unspecified() {
                if !self.owns(&entry) {
                    continue;
                }
            } else if self.others.contains(&entry.local.ip()) {
                continue;
            }
            listeners.cookies.push(entry.cookie);
            listeners.queue_length += u64::from(entry.recv_queue);
            listeners.queue_limit += u64::from(entry.send_queue);
        }
        listeners.cookies.sort_unstable();
        Ok(listeners)
    }

    fn list(&self, states: States) -> Result<Vec<Entry>, WitnessError> {
        let mut entries = lock(&self.diag).dump(self.listen.port, states)?;
        entries.retain(|entry| self.owns(entry));
        Ok(entries)
    }

    /// Whether a socket with the endpoint's port is the endpoint's: the most specific one has it.
    fn owns(&self, entry: &Entry) -> bool {
        let local = entry.local.ip();
        match self.listen.address {
            Some(address) => local == address.to_canonical(),
            None => !self.others.contains(&local),
        }
    }

    /// The maps, where programs count.
    pub(super) fn probe(&self) -> Option<&Mutex<Probe>> {
        match &self.witness {
            Witness::Programs(probe) => Some(probe),
            Witness::Dumps(..) => None,
        }
    }

    /// Adds to the programs' counts what they could not see.
    pub(super) fn adjust(&self, by: &Tally) {
        let mut adjustment = lock(&self.adjustment);
        *adjustment = adjustment.plus(by);
    }

    /// Takes back what turned out to be nothing.
    pub(super) fn unadjust(&self, by: &Tally) {
        let mut adjustment = lock(&self.adjustment);
        *adjustment = adjustment.minus(by);
    }
}
