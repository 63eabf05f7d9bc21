//! What the kernel counts of all openings, where no program counts: it bounds what no dump shows.
//!
//! What opened and closed between two dumps is in neither. A counter of the kernel that each of those
//! connections moved bounds how many there were. Others move it as well: the busier they are, the wider
//! is the interval. Nothing unseen is taken for zero.
//!
//! | connections | counter | is moved by |
//! |---|---|---|
//! | come in over TCP | `PassiveOpens` | all that come in, over all ports of the namespace |
//! | go out over TCP | `ActiveOpens` | all that are begun, to any address, from the namespace |
//! | come in at a Unix socket | inode numbers | every new socket and pipe of the host, and more |

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
};

use super::inodes::Inodes;
use crate::{config::Listen, netns::NetworkNamespace};

/// Which counter of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// `PassiveOpens` of RFC 1213's tcp group.
    PassiveOpens,
    /// `ActiveOpens` of the same.
    ActiveOpens,
    /// Inode numbers that the host has given.
    Inodes,
}

/// How far a counter was around a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Which one.
    pub counter: Counter,
    /// Just before the dump, or less.
    pub before: u64,
    /// Just after it, or more.
    pub after: u64,
    /// Openings that the dumps have shown so far.
    pub seen: u64,
}

/// A counter that is open.
pub(super) enum Openings {
    /// One of a network namespace.
    Snmp(Counter, Snmp),
    /// That of the host.
    Inodes(Inodes),
}

impl Openings {
    /// The one that the connections of this place move.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or the counter cannot be read here.
    pub(super) fn open(listen: &Listen, netns: &NetworkNamespace) -> io::Result<Self> {
        Ok(match listen {
            Listen::Tcp(_) => Self::Snmp(Counter::PassiveOpens, Snmp::open(netns, "PassiveOpens")?),
            Listen::Outgoing(_) => {
                Self::Snmp(Counter::ActiveOpens, Snmp::open(netns, "ActiveOpens")?)
            }
            Listen::Unix(_) => Self::Inodes(Inodes::open()?),
        })
    }

    /// Takes a dump, and says how far the counter was around it. The dump returns what it is to return,
    /// and the openings that dumps have shown so far.
    ///
    /// # Errors
    /// When the counter cannot be read, or those of the dump.
    pub(super) fn around<T, E: From<io::Error>>(
        &self,
        dump: impl FnOnce() -> Result<(T, u64), E>,
    ) -> Result<(T, Moved), E> {
        let (counter, before) = match self {
            Self::Snmp(counter, snmp) => (*counter, snmp.read()?),
            Self::Inodes(inodes) => (Counter::Inodes, inodes.at_least()?),
        };
        let (dumped, seen) = dump()?;
        let after = match self {
            Self::Snmp(_, snmp) => snmp.read()?,
            Self::Inodes(inodes) => inodes.at_most()?,
        };
        let moved = Moved {
            counter,
            before,
            after,
            seen,
        };
        Ok((dumped, moved))
    }
}

/// What may have come unseen to several endpoints of one network namespace.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unseen([Option<Moved>; 3]);

impl Unseen {
    /// Takes in one endpoint more, whose dump was later.
    pub(super) fn add(&mut self, moved: Moved) {
        let known = &mut self.0[moved.counter as usize];
        *known = Some(match *known {
            None => moved,
            // From before the first was listed until after the last.
            Some(first) => Moved {
                before: first.before,
                seen: first.seen + moved.seen,
                ..moved
            },
        });
    }

    /// At least and at most so many until now, of which only differences mean something.
    pub(super) fn bounds(&self) -> [u64; 2] {
        let mut bounds = [0_u64; 2];
        for moved in self.0.iter().flatten() {
            // What comes in moves the counter when it is opened: those that were seen are counted. The
            // others are begun before, perhaps before an earlier dump.
            let seen = match moved.counter {
                Counter::PassiveOpens => moved.seen,
                Counter::ActiveOpens | Counter::Inodes => 0,
            };
            for (bound, count) in bounds.iter_mut().zip([moved.before, moved.after]) {
                *bound = bound.wrapping_add(count.wrapping_sub(seen));
            }
        }
        bounds
    }
}

/// A counter of TCP in `/proc/net/snmp` of one network namespace.
pub(super) struct Snmp {
    file: File,
    name: &'static str,
}

impl Snmp {
    /// Opens it inside the namespace; it stays that namespace's.
    fn open(netns: &NetworkNamespace, name: &'static str) -> io::Result<Self> {
        let file = netns.run(|| File::open("/proc/thread-self/net/snmp"))?;
        Ok(Self { file, name })
    }

    fn read(&self) -> io::Result<u64> {
        let mut page = vec![0; 16 * 1024];
        let length = self.file.read_at(&mut page, 0)?;
        let page = String::from_utf8_lossy(&page[..length]);
        value(&page, "Tcp: ", self.name)
            .ok_or_else(|| io::Error::other(format!("/proc/net/snmp has no {}", self.name)))
    }
}

/// The counter of that name, in the group that has this prefix.
fn value(page: &str, group: &str, wanted: &str) -> Option<u64> {
    let mut lines = page.lines().filter_map(|line| line.strip_prefix(group));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut counters = names.split(' ').zip(values.split(' '));
    let (_, value) = counters.find(|(name, _)| *name == wanted)?;
    value.parse().ok()
}

/// MPTCP subflows that were added to connections of a network namespace so far, by the peers and by
/// the host: `MPJoinAckRx` and `MPJoinSynAckRx` of `net/mptcp/mib.c`. None where there is no MPTCP.
///
/// # Errors
/// When the namespace cannot be entered, or does not tell.
pub(super) fn subflows_so_far(netns: &NetworkNamespace) -> io::Result<u64> {
    let page = netns.run(|| fs::read_to_string("/proc/thread-self/net/netstat"))?;
    let added = ["MPJoinAckRx", "MPJoinSynAckRx"].map(|name| value(&page, "MPTcpExt: ", name));
    Ok(added.into_iter().flatten().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(counter: Counter, before: u64, after: u64, seen: u64) -> Moved {
        Moved {
            counter,
            before,
            after,
            seen,
        }
    }

    #[test]
    fn a_counter_is_that_of_its_group_and_name() {
        let page = "TcpExt: A B\nTcpExt: 1 2\nMPTcpExt: B MPJoinAckRx\nMPTcpExt: 3 4\n";
        assert_eq!(value(page, "MPTcpExt: ", "MPJoinAckRx"), Some(4));
        assert_eq!(value(page, "TcpExt: ", "B"), Some(2));
        assert_eq!(value(page, "TcpExt: ", "MPJoinAckRx"), None);
        assert_eq!(value("TcpExt: A\n", "TcpExt: ", "A"), None);
    }

    #[test]
    fn what_came_in_and_was_seen_is_not_unseen() {
        let mut unseen = Unseen::default();
        unseen.add(moved(Counter::PassiveOpens, 100, 102, 30));
        assert_eq!(unseen.bounds(), [70, 72]);
        // A second endpoint in the same namespace, whose connections moved the same counter.
        unseen.add(moved(Counter::PassiveOpens, 103, 105, 5));
        assert_eq!(unseen.bounds(), [65, 70]);
    }

    #[test]
    fn what_was_begun_before_it_was_seen_is_taken_for_unseen_once_more() {
        let mut unseen = Unseen::default();
        unseen.add(moved(Counter::ActiveOpens, 10, 11, 4));
        unseen.add(moved(Counter::Inodes, 1_000, 1_500, 3));
        assert_eq!(unseen.bounds(), [1_010, 1_511]);
    }
}
