//! Sockets that are closing: which the service holds, and which it has closed itself.
//!
//! A socket that left ESTABLISHED and is not CLOSED is in the most that an honest service can claim,
//! since the service may not have noticed yet. Of a socket that the service has closed it knows: the
//! rest is the kernel's, which may take minutes if the peer does not read.
//!
//! Why such an orphan may be left out of a window that begins at E, that is `settle` before the claim
//! is asked for:
//!
//! - a dump that was complete by E showed it as an orphan. The service had closed it by then, and an
//!   honest one counts that within `settle`: before its claim was read.
//! - the dump after the window shows it again. It was not closed at E, so the counts of the window
//!   have it among what was open.
//!
//! One that closes within the window is in neither, and widens this check as any other close does.
//! Pure: it is given its moments.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::suspects::IsCounted;

/// One closing socket of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosingSocket {
    /// The kernel's number for it.
    pub cookie: u64,
    /// What is known of it.
    pub kind: ClosingKind,
}

/// Who has a closing socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosingKind {
    /// The service: its peer has gone, or one half of it is shut down.
    Held,
    /// Nobody has accepted it, and the peer has gone.
    Unaccepted,
    /// The kernel alone, since the service has closed it. Whether the most that a service can claim
    /// has it: as one of its kind, as a doubtful one, or not at all.
    Orphan(IsCounted),
}

/// The closing sockets of the last dump, with since when each is so.
#[derive(Clone, Debug, Default)]
pub struct ClosingSockets {
    known: HashMap<u64, Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    kind: ClosingKind,
    /// The first dump that showed it as closing was complete then.
    closing_since: Instant,
    /// The first dump that showed it as of this kind was complete then.
    kind_since: Instant,
}

impl ClosingSockets {
    /// Takes in a dump that was complete at `at`.
    pub fn note(&mut self, dump: &[ClosingSocket], at: Instant) {
        let known = dump.iter().map(|socket| {
            let before = self.known.get(&socket.cookie);
            let kind_since = match before {
                Some(before) if before.kind == socket.kind => before.kind_since,
                _ => at,
            };
            let known = Known {
                kind: socket.kind,
                closing_since: before.map_or(at, |before| before.closing_since),
                kind_since,
            };
            (socket.cookie, known)
        });
        self.known = known.collect();
    }

    /// How many the service holds that have been closing for longer than `settle` at `now`.
    #[must_use]
    pub fn held(&self, settle: Duration, now: Instant) -> u64 {
        self.count(|known| {
            known.kind == ClosingKind::Held
                && now.saturating_duration_since(known.closing_since) > settle
        })
    }

    /// How many orphans of the last dump, which began after the window, are in the most of a window
    /// that begins at `begins`, and are no longer counted by an honest service.
    #[must_use]
    pub fn orphans(&self, begins: Instant) -> u64 {
        self.count(|known| {
            let is_in_most = matches!(
                known.kind,
                ClosingKind::Orphan(IsCounted::Yes | IsCounted::Doubtful)
            );
            is_in_most && known.kind_since <= begins
        })
    }

    fn count(&self, is_wanted: impl Fn(&Known) -> bool) -> u64 {
        self.known.values().filter(|known| is_wanted(known)).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORPHAN: ClosingKind = ClosingKind::Orphan(IsCounted::Yes);

    fn socket(cookie: u64, kind: ClosingKind) -> ClosingSocket {
        ClosingSocket { cookie, kind }
    }

    /// Dumps at these seconds; what is left out of a window that begins at each second after.
    fn orphans(dumps: &[(u64, &[ClosingSocket])], begins: u64) -> u64 {
        let base = Instant::now();
        let mut closing = ClosingSockets::default();
        for (second, dump) in dumps {
            closing.note(dump, base + Duration::from_secs(*second));
        }
        closing.orphans(base + Duration::from_secs(begins))
    }

    #[test]
    fn an_orphan_is_left_out_of_windows_that_begin_after_it_was_seen_to_be_one() {
        let dump: &[_] = &[socket(1, ORPHAN)];
        let dumps = [(10, dump), (20, dump)];
        assert_eq!(orphans(&dumps, 9), 0);
        assert_eq!(orphans(&dumps, 10), 1);
        assert_eq!(orphans(&dumps, 15), 1);
        // It has closed meanwhile: the counts of the window may or may not have it.
        assert_eq!(orphans(&[(10, dump), (20, &[])], 15), 0);
        // It was not there in between: that is another look at it.
        assert_eq!(orphans(&[(10, dump), (15, &[]), (20, dump)], 17), 0);
    }

    #[test]
    fn what_the_service_held_until_later_is_an_orphan_only_since_then() {
        let held: &[_] = &[socket(1, ClosingKind::Held)];
        let orphan: &[_] = &[socket(1, ORPHAN)];
        let dumps = [(10, held), (20, orphan), (30, orphan)];
        assert_eq!(orphans(&dumps, 15), 0);
        assert_eq!(orphans(&dumps, 20), 1);
        let unaccepted: &[_] = &[socket(1, ClosingKind::Unaccepted)];
        assert_eq!(orphans(&[(10, unaccepted), (20, unaccepted)], 15), 0);
    }

    #[test]
    fn an_orphan_that_was_found_to_be_of_another_kind_counts_from_then() {
        let doubtful: &[_] = &[socket(1, ClosingKind::Orphan(IsCounted::Doubtful))];
        let counted: &[_] = &[socket(1, ORPHAN)];
        let other: &[_] = &[socket(1, ClosingKind::Orphan(IsCounted::No))];
        assert_eq!(orphans(&[(10, doubtful), (20, doubtful)], 15), 1);
        assert_eq!(orphans(&[(10, doubtful), (20, counted)], 15), 0);
        assert_eq!(orphans(&[(10, other), (20, other)], 15), 0);
    }

    #[test]
    fn only_what_the_service_has_is_held() {
        let (base, settle) = (Instant::now(), Duration::from_secs(1));
        let mut closing = ClosingSockets::default();
        let dump = [
            socket(1, ClosingKind::Held),
            socket(2, ClosingKind::Unaccepted),
            socket(3, ORPHAN),
        ];
        closing.note(&dump, base);
        assert_eq!(closing.held(settle, base + settle), 0);
        assert_eq!(closing.held(settle, base + settle * 2), 1);
    }
}
