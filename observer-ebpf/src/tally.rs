//! What is counted of a target: monotonic counts, one set per CPU, never reset.
//!
//! What is open now is a difference of two of them. A sum over CPUs that is read between `r0` and
//! `r1` is at least the true count at `r0` and at most that at `r1`, field by field.

/// Buckets of [`Durations`].
pub const DURATION_BUCKETS: usize = 32;

/// The counts of one target on one CPU: the value of `TALLIES`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Tally {
    /// Sockets that reached ESTABLISHED and were stored.
    pub opened: u64,
    /// Of those, sockets that left ESTABLISHED.
    pub left: u64,
    /// Of those, sockets that reached CLOSE.
    pub closed: u64,
    /// Sockets that became a WebSocket.
    pub upgraded: u64,
    /// Of `upgraded`, those found by their frames and not by a `101`: they were open before.
    pub recognised: u64,
    /// WebSockets that ended: close frame sent or ESTABLISHED left, whichever was first.
    pub websocket_ended: u64,
    /// WebSockets that left ESTABLISHED.
    pub websocket_left: u64,
    /// WebSockets that reached CLOSE.
    pub websocket_closed: u64,
    /// Sockets found to be plain HTTP while ESTABLISHED.
    pub http_entered: u64,
    /// Those that were upgraded since or left ESTABLISHED.
    pub http_left: u64,
    /// Sockets whose first bytes were nothing that we know.
    pub unknown_entered: u64,
    /// Sockets of an unknown past or kind that were classified since or reached CLOSE.
    pub unknown_left: u64,
    /// WebSockets whose frame boundary was lost.
    pub lost_entered: u64,
    /// Those whose frame boundary was found again, or that ended.
    pub lost_left: u64,
    /// Sockets that reached ESTABLISHED and could not be stored: `SOCKETS` was full.
    pub map_full: u64,
    /// Of `closed`, those of which the programs saw no byte although the service had sent some.
    pub unseen_closed: u64,
}

impl Tally {
    /// Adds other counts to these.
    #[must_use]
    pub const fn plus(self, other: &Self) -> Self {
        Self {
            opened: self.opened.wrapping_add(other.opened),
            left: self.left.wrapping_add(other.left),
            closed: self.closed.wrapping_add(other.closed),
            upgraded: self.upgraded.wrapping_add(other.upgraded),
            recognised: self.recognised.wrapping_add(other.recognised),
            websocket_ended: self.websocket_ended.wrapping_add(other.websocket_ended),
            websocket_left: self.websocket_left.wrapping_add(other.websocket_left),
            websocket_closed: self.websocket_closed.wrapping_add(other.websocket_closed),
            http_entered: self.http_entered.wrapping_add(other.http_entered),
            http_left: self.http_left.wrapping_add(other.http_left),
            unknown_entered: self.unknown_entered.wrapping_add(other.unknown_entered),
            unknown_left: self.unknown_left.wrapping_add(other.unknown_left),
            lost_entered: self.lost_entered.wrapping_add(other.lost_entered),
            lost_left: self.lost_left.wrapping_add(other.lost_left),
            map_full: self.map_full.wrapping_add(other.map_full),
            unseen_closed: self.unseen_closed.wrapping_add(other.unseen_closed),
        }
    }

    /// Takes other counts from these.
    #[must_use]
    pub const fn minus(self, other: &Self) -> Self {
        Self {
            opened: self.opened.wrapping_sub(other.opened),
            left: self.left.wrapping_sub(other.left),
            closed: self.closed.wrapping_sub(other.closed),
            upgraded: self.upgraded.wrapping_sub(other.upgraded),
            recognised: self.recognised.wrapping_sub(other.recognised),
            websocket_ended: self.websocket_ended.wrapping_sub(other.websocket_ended),
            websocket_left: self.websocket_left.wrapping_sub(other.websocket_left),
            websocket_closed: self.websocket_closed.wrapping_sub(other.websocket_closed),
            http_entered: self.http_entered.wrapping_sub(other.http_entered),
            http_left: self.http_left.wrapping_sub(other.http_left),
            unknown_entered: self.unknown_entered.wrapping_sub(other.unknown_entered),
            unknown_left: self.unknown_left.wrapping_sub(other.unknown_left),
            lost_entered: self.lost_entered.wrapping_sub(other.lost_entered),
            lost_left: self.lost_left.wrapping_sub(other.lost_left),
            map_full: self.map_full.wrapping_sub(other.map_full),
            unseen_closed: self.unseen_closed.wrapping_sub(other.unseen_closed),
        }
    }
}

/// How long the closed sockets of one target lived, on one CPU: the value of `DURATIONS`.
///
/// Bucket `i` counts lives shorter than 2^(20+i) ns and not shorter than half of that: the first
/// ends at 1.05 ms, the last but one at 2^50 ns = 13 days, and the last holds what is longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Durations {
    /// Sockets by the length of their life.
    pub buckets: [u64; DURATION_BUCKETS],
    /// Sum of all lives, nanoseconds.
    pub sum_ns: u64,
}

/// What was seen on a target's port, and what of it was not taken in: the value of `LOSSES`.
///
/// `seen = stored + map_full + ignored`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Losses {
    /// Sockets that reached ESTABLISHED on the port of some target.
    pub seen: u64,
    /// Of those, the ones stored.
    pub stored: u64,
    /// Of those, the ones for which `SOCKETS` had no room.
    pub map_full: u64,
    /// Of those, the ones of another network namespace or address.
    pub ignored: u64,
    /// Kernel memory that could not be read; the socket concerned is in none of the others.
    pub read_failed: u64,
}

impl Losses {
    /// Adds another CPU's counts to these.
    #[must_use]
    pub const fn plus(self, other: &Self) -> Self {
        Self {
            seen: self.seen.wrapping_add(other.seen),
            stored: self.stored.wrapping_add(other.stored),
            map_full: self.map_full.wrapping_add(other.map_full),
            ignored: self.ignored.wrapping_add(other.ignored),
            read_failed: self.read_failed.wrapping_add(other.read_failed),
        }
    }

    /// What became of the events, together: as many as were seen, but for a moment while an event is
    /// on its way through the program.
    #[must_use]
    pub const fn accounted(&self) -> u64 {
        self.stored
            .wrapping_add(self.map_full)
            .wrapping_add(self.ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_no_padding() {
        assert_eq!(size_of::<Tally>(), 16 * 8);
        assert_eq!(size_of::<Durations>(), (DURATION_BUCKETS + 1) * 8);
        assert_eq!(size_of::<Losses>(), 5 * 8);
    }

    #[test]
    fn what_was_seen_is_stored_ignored_or_found_no_room() {
        let losses = Losses {
            seen: 10,
            stored: 6,
            map_full: 3,
            ignored: 1,
            read_failed: 5,
        };
        assert_eq!(losses.accounted(), losses.seen);
    }
}
