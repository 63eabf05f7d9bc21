//! A simulated service and kernel, for `properties`: what each knows of a connection, and when.
//!
//! The service counts each opening and each closing at its own random moment within ± `SETTLE` of
//! the kernel's, and an opening before its own closing. The kernel is read as the real one is: a
//! sample takes time, and each of its counts is of another moment in it.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// Milliseconds.
pub(super) const SETTLE: i64 = 1_000;
/// How long the traffic lasts. Unit: milliseconds.
pub(super) const LAST: i64 = 20_000;

/// One connection, all moments in milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    opened: i64,
    /// The earliest sign of its end that there was.
    ended: i64,
    closed: i64,
    /// When the service closed it, if that is known: from then on it is an orphan.
    given_up: Option<i64>,
    /// The service's own moments.
    incremented: i64,
    decremented: i64,
    past: Past,
}

/// What the kernel's witness knows of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Past {
    /// Everything, at once.
    Known,
    /// It was open before, and its kind is found only at this moment, or never.
    Doubtful(i64),
    /// From the first moment on the witness misses its signs, until the second.
    Lost(i64, i64),
    /// It stays in the accept queue until this moment.
    Waiting(i64),
}

pub(super) fn connection() -> impl Strategy<Value = Connection> {
    let life = prop_oneof![3 => 0..300_i64, 2 => 0..8_000_i64, 1 => Just(LAST * 2)];
    (
        -2_000..LAST,
        life,
        prop_oneof![3 => Just(0), 1 => 0..4_000_i64, 1 => 0..15_000_i64],
        -SETTLE..=SETTLE,
        0.0..=1.0,
        0..8_u8,
        0.0..1.0,
        prop::option::of(0.0..=1.0),
    )
        .prop_map(
            |(opened, life, closing, early, when, kind, part, given_up)| {
                let ended = opened + life;
                let closed = ended + closing;
                let within = |from: i64, to: i64| from + ((to - from) as f64 * part) as i64;
                let (past, accepted) = match kind {
                    0 => (Past::Doubtful(within(opened, closed + 1_000)), opened),
                    1 => {
                        let lost = within(opened, ended);
                        (Past::Lost(lost, within(lost, closed)), opened)
                    }
                    2 => {
                        let accepted = within(opened, closed + 4_000);
                        (Past::Waiting(accepted), accepted)
                    }
                    _ => (Past::Known, opened),
                };
                let incremented = accepted + early;
                let given_up = given_up
                    .filter(|_| !matches!(past, Past::Waiting(_)))
                    .map(|part: f64| ended + (closing as f64 * part) as i64);
                let (from, to) = (ended - SETTLE, given_up.unwrap_or(closed) + SETTLE);
                // One that ended in the accept queue is dropped as soon as it is accepted.
                let decremented = (from + ((to - from) as f64 * when) as i64).max(incremented);
                let decremented = if accepted > ended {
                    incremented
                } else {
                    decremented
                };
                Connection {
                    opened,
                    ended,
                    closed,
                    given_up,
                    incremented,
                    decremented,
                    past,
                }
            },
        )
}

impl Connection {
    /// When the witness counts the opening, the sign of the end and the close.
    fn counted(&self) -> (i64, i64, i64) {
        match self.past {
            // Found after it has closed: it was never counted as of this kind.
            Past::Doubtful(found) if found >= self.closed => (i64::MAX, i64::MAX, i64::MAX),
            Past::Doubtful(found) => (found, self.ended.max(found), self.closed),
            // The earliest sign was missed: leaving ESTABLISHED, at the latest CLOSE, was not.
            Past::Lost(lost, found) if lost <= self.ended && self.ended < found => {
                (self.opened, self.closed, self.closed)
            }
            _ => (self.opened, self.ended, self.closed),
        }
    }

    /// As a dump has it that is taken at `moment`; none where it is not closing.
    pub(super) fn closing(&self, cookie: u64, moment: i64) -> Option<ClosingSocket> {
        if moment < self.ended || self.closed <= moment {
            return None;
        }
        let is_orphan = self.given_up.is_some_and(|given_up| given_up <= moment);
        let kind = match self.past {
            _ if !is_orphan => ClosingKind::Held,
            Past::Doubtful(found) if moment < found => ClosingKind::Orphan(IsCounted::Doubtful),
            _ => ClosingKind::Orphan(IsCounted::Yes),
        };
        Some(ClosingSocket { cookie, kind })
    }

    /// When it becomes doubtful and is no longer.
    fn doubtful(&self) -> (i64, i64) {
        match self.past {
            Past::Doubtful(found) => (self.opened, found.min(self.closed)),
            _ => (i64::MAX, i64::MAX),
        }
    }

    /// When its end may have been missed and is known again.
    fn lost(&self) -> (i64, i64) {
        match self.past {
            Past::Lost(lost, found) if lost <= self.ended && self.ended < found => {
                (lost, self.closed)
            }
            Past::Lost(lost, found) => (lost, found),
            _ => (i64::MAX, i64::MAX),
        }
    }
}

/// One sample of the counts: each field at a moment of its own.
pub(super) fn read(
    traffic: &[Connection],
    base: Instant,
    began: i64,
    moments: &[i64; 8],
) -> Sample {
    let count = |which: usize, moment_of: &dyn Fn(&Connection) -> i64| {
        let moment = began + moments[which];
        let is_past = |connection: &&Connection| moment_of(connection) <= moment;
        traffic.iter().filter(is_past).count() as u64
    };
    let opened_at = moments[0];
    let waiting_at = began + opened_at.max(moments[7]);
    let waiting = traffic.iter().filter(|connection| {
        matches!(connection.past, Past::Waiting(accepted)
            if connection.opened <= waiting_at && waiting_at < accepted)
    });
    let counts = Counts {
        arrived: 1,
        opened: count(0, &|connection| connection.counted().0),
        ended: count(1, &|connection| connection.counted().1),
        closed: count(2, &|connection| connection.counted().2),
        doubtful_entered: count(3, &|connection| connection.doubtful().0),
        doubtful_left: count(4, &|connection| connection.doubtful().1),
        lost_entered: count(5, &|connection| connection.lost().0),
        lost_left: count(6, &|connection| connection.lost().1),
        unheard_closed: 0,
        waiting: waiting.count() as u64,
        orphans: 0,
    };
    let longest = moments.iter().copied().max().unwrap_or(0);
    Sample {
        began: after(base, began),
        finished: after(base, began + longest),
        counts,
    }
}

/// The lives that had ended when a sample was begun, by length. Of some it is not known.
pub(super) fn lives(traffic: &[Connection], began: i64) -> Lives {
    let mut lives = Lives::default();
    for connection in traffic {
        let is_known = matches!(connection.past, Past::Known | Past::Waiting(_));
        if is_known && connection.closed <= began {
            let life = (connection.closed - connection.opened) as u128 * 1_000_000;
            let bits = u128::BITS - (life >> 20).leading_zeros();
            lives.0[(bits as usize).min(Lives::BUCKETS - 1)] += 1;
        }
    }
    lives
}

pub(super) fn after(base: Instant, millis: i64) -> Instant {
    base + Duration::from_millis((millis + 10_000) as u64)
}

/// What the service says; its workers are read at moments of their own.
pub(super) fn honest_claim(traffic: &[Connection], moments: [i64; 2]) -> i64 {
    let open = traffic.iter().zip([0, 1].iter().cycle());
    open.filter(|(connection, worker)| {
        let moment = moments[**worker];
        connection.incremented <= moment && moment < connection.decremented
    })
    .count() as i64
}
