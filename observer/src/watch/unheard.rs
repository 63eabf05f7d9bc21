//! Sockets that have sent bytes of which the programs saw none: nobody knows what they are.
//!
//! The program of packets sees what leaves through the cgroup that it is attached to, as the socket
//! sent it. `sock_diag` says how many bytes a socket has sent. Where it says more than none of a
//! socket on which the programs have seen nothing, the socket may be a WebSocket or not.

use observer_ebpf::{Socket, Tally, flags};

use super::endpoint::{Endpoint, WitnessError};

/// What is open of an endpoint and has sent bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Sockets on which the programs have seen bytes of the service.
    pub heard: u64,
    /// Sockets that were watched from their first moment, have sent bytes, and of which the programs
    /// saw none.
    pub unheard: u64,
    /// Of those that have closed since the programs were attached, the ones that were not heard.
    pub closed: u64,
}

impl Heard {
    /// Where nobody could look: each open socket may be one that was not heard.
    pub(super) const fn of_none(tally: &Tally) -> Self {
        Self {
            heard: 0,
            unheard: tally.opened.saturating_sub(tally.closed),
            closed: tally.unseen_closed,
        }
    }

    /// Those of two endpoints.
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            heard: self.heard + other.heard,
            unheard: self.unheard + other.unheard,
            closed: self.closed + other.closed,
        }
    }

    /// Sockets that were not heard and were open at some time since a sample in which so many such
    /// sockets had closed.
    #[must_use]
    pub const fn unheard_since(&self, closed: u64) -> u64 {
        self.unheard + self.closed.saturating_sub(closed)
    }

    /// Whether not to be seen is the rule here, and no exception.
    #[must_use]
    pub const fn is_deaf(&self) -> bool {
        self.unheard > self.heard
    }
}

impl Endpoint {
    /// Compares what `sock_diag` says that the open sockets have sent with what the programs saw.
    ///
    /// # Errors
    /// When there is no complete dump, or the maps cannot be read.
    pub fn heard(&self) -> Result<Heard, WitnessError> {
        let sent = self.details(
            |entry| entry.info.as_ref().is_some_and(|info| info.bytes_sent > 0),
            |_, tracked| tracked.copied(),
        )?;
        let count = |is: fn(&Socket) -> bool| sent.iter().flatten().filter(|one| is(one)).count();
        Ok(Heard {
            heard: count(|socket| socket.flags & flags::HEARD != 0) as u64,
            unheard: count(Socket::is_unheard) as u64,
            // After the list: what was open in it is in one of both.
            closed: self.tally()?.unseen_closed,
        })
    }
}
