//! A socket of a list, of whatever family, as far as it takes to count it.

use observer_ebpf::TCP_ESTABLISHED;

use super::{unix::UnixSocket, wire::Entry};

/// One socket of a dump, as far as it takes to count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The socket cookie: the same that the BPF programs have for it.
    pub cookie: u64,
    /// TCP state, `include/net/tcp_states.h`.
    pub state: u8,
    /// Who has it.
    pub holder: Holder,
}

/// Who has an open socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A process: the socket is a file of its own.
    Process,
    /// The listening socket: nobody has accepted it yet.
    AcceptQueue,
    /// The kernel alone. The service has closed it and the peer has not: an orphan.
    Kernel,
}

impl Listed {
    /// Whether it is ESTABLISHED.
    #[must_use]
    pub const fn is_established(&self) -> bool {
        self.state == TCP_ESTABLISHED
    }
}

impl From<&Entry> for Listed {
    fn from(entry: &Entry) -> Self {
        Self {
            cookie: entry.cookie,
            state: entry.state,
            holder: entry.holder(),
        }
    }
}

impl From<&UnixSocket> for Listed {
    fn from(socket: &UnixSocket) -> Self {
        Self {
            cookie: socket.cookie,
            state: socket.state,
            // What was not accepted is not listed.
            holder: Holder::Process,
        }
    }
}
