//! The netlink socket: one per network namespace. Blocking; the kernel answers at once.

use std::io;

use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};

use super::wire::{self, Entry, Listed, States, WireError};
use crate::netns::NetworkNamespace;

/// A dump failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// The socket failed.
    #[error("the netlink socket failed")]
    Io(#[from] io::Error),
    /// The answer was no dump.
    #[error("the answer is no sock_diag dump")]
    Wire(#[from] WireError),
}

/// The kernel fills at most 32 KiB per datagram of a dump: NLMSG_GOODSIZE's upper bound.
const DATAGRAM: usize = 64 * 1024;

/// Lists sockets of one network namespace.
pub struct SockDiag {
    socket: Socket,
    datagram: Vec<u8>,
}

impl SockDiag {
    /// Opens a netlink socket in a network namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered or the kernel has no `sock_diag`.
    pub fn open(netns: &NetworkNamespace) -> io::Result<Self> {
        let socket = netns.run(|| {
            let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
            socket.bind_auto()?;
            socket.connect(&NetlinkAddr::new(0, 0))?;
            Ok(socket)
        })?;
        Ok(Self {
            socket,
            datagram: vec![0; DATAGRAM],
        })
    }

    /// Lists the sockets with this local port in these states, each once, of both families, in the
    /// order of their cookies.
    ///
    /// It is no snapshot: a socket that comes or goes during the call may be in it or not.
    ///
    /// # Errors
    /// When the kernel does not answer with a complete dump.
    pub fn dump(&mut self, port: u16, states: States) -> Result<Vec<Entry>, DumpError> {
        let request = wire::request(port, states, false);
        self.collect(&request, Some, |entry| entry.cookie)
    }

    /// The same with each socket's `tcp_info`, which costs more, and of each socket no more than is
    /// to be kept, with its cookie.
    ///
    /// # Errors
    /// When the kernel does not answer with a complete dump.
    pub fn dump_with_info<T>(
        &mut self,
        port: u16,
        states: States,
        mut keep: impl FnMut(&Entry) -> Option<T>,
    ) -> Result<Vec<(u64, T)>, DumpError> {
        let request = wire::request(port, states, true);
        let keep = |entry: Entry| Some((entry.cookie, keep(&entry)?));
        self.collect(&request, keep, |kept| kept.0)
    }

    /// The same for those that are wanted, without all that counting does not need: a service may
    /// have hundreds of thousands.
    ///
    /// # Errors
    /// When the kernel does not answer with a complete dump.
    pub fn list(
        &mut self,
        port: u16,
        states: States,
        is_wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Vec<Listed>, DumpError> {
        let request = wire::request(port, states, false);
        let keep = |entry| {
            let is_wanted = is_wanted(&entry);
            let Entry { cookie, state, .. } = entry;
            is_wanted.then_some(Listed { cookie, state })
        };
        self.collect(&request, keep, |listed| listed.cookie)
    }

    /// Asks, and keeps of each socket what is to be kept, once.
    fn collect<T>(
        &mut self,
        request: &[u8],
        mut keep: impl FnMut(Entry) -> Option<T>,
        cookie: impl Fn(&T) -> u64,
    ) -> Result<Vec<T>, DumpError> {
        let mut kept = Vec::new();
        self.socket.send(request, 0)?;
        loop {
            let length = self.socket.recv(&mut &mut self.datagram[..], 0)?;
            if wire::parse(&self.datagram[..length], |entry| kept.extend(keep(entry)))? {
                break;
            }
        }
        // The kernel resumes a dump by bucket and position, and may meet a socket twice.
        kept.sort_unstable_by_key(&cookie);
        kept.dedup_by_key(|one| cookie(one));
        Ok(kept)
    }
}
