//! Counts from `sock_diag` alone, where no program counts: differences between dumps.
//!
//! What opened and closed between two dumps is in neither: `openings` bounds it.

use std::collections::HashMap;

use observer_ebpf::Tally;

use crate::sock_diag::Listed;

/// The sockets of the last dumps, and what changed between them.
#[derive(Debug, Default)]
pub(super) struct Listing {
    sockets: HashMap<u64, Last>,
    dumps: u64,
    tally: Tally,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    is_established: bool,
    /// The dump before did not list it: it may be gone, or the dump may have missed it.
    is_missed: bool,
    dump: u64,
}

impl Listing {
    /// What changed so far.
    pub(super) const fn tally(&self) -> Tally {
        self.tally
    }

    /// Takes in a dump.
    ///
    /// A socket that one dump does not list has shown a sign of its end; only when a second one
    /// does not list it either has it closed, since a dump resumes by position and may miss one.
    pub(super) fn update(&mut self, listed: &[Listed]) {
        self.dumps += 1;
        let dump = self.dumps;
        let tally = &mut self.tally;
        for socket in listed {
            let is_established = socket.is_established();
            let now = Last {
                is_established,
                is_missed: false,
                dump,
            };
            let before = self.sockets.insert(socket.cookie, now);
            let was_established = before.is_some_and(|was| was.is_established && !was.is_missed);
            match before {
                None => tally.opened += 1,
                // Missed once and back: counted as closed and opened again.
                Some(was) if was.is_missed => {
                    tally.opened += 1;
                    tally.closed += 1;
                }
                Some(_) => {}
            }
            let is_new = before.is_none_or(|was| was.is_missed);
            if !is_established && (was_established || is_new) {
                tally.left += 1;
            }
        }
        self.sockets.retain(|_, socket| {
            if socket.dump == dump {
                return true;
            }
            if socket.is_missed {
                tally.closed += 1;
                return false;
            }
            socket.is_missed = true;
            tally.left += u64::from(socket.is_established);
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sock_diag::Holder;

    fn check(dumps: &[&[(u64, u8)]], opened_left_closed: (u64, u64, u64)) {
        let mut listing = Listing::default();
        for dump in dumps {
            let listed: Vec<_> = dump
                .iter()
                .map(|&(cookie, state)| Listed {
                    cookie,
                    state,
                    holder: Holder::Process,
                })
                .collect();
            listing.update(&listed);
        }
        let tally = listing.tally();
        assert_eq!((tally.opened, tally.left, tally.closed), opened_left_closed);
    }

    #[test]
    fn a_socket_is_opened_once_however_often_it_is_listed() {
        check(&[&[(1, 1), (2, 1)], &[(1, 1), (2, 1)]], (2, 0, 0));
    }

    #[test]
    fn a_socket_that_one_dump_lacks_has_left_and_that_two_lack_has_closed() {
        check(&[&[(1, 1)], &[]], (1, 1, 0));
        check(&[&[(1, 1)], &[], &[]], (1, 1, 1));
    }

    #[test]
    fn a_socket_that_a_dump_missed_is_open_again() {
        check(&[&[(1, 1)], &[], &[(1, 1)]], (2, 1, 1));
    }

    #[test]
    fn close_wait_has_left_established() {
        check(&[&[(1, 1)], &[(1, 8)], &[(1, 8)]], (1, 1, 0));
        check(&[&[(1, 8)]], (1, 1, 0));
    }
}
