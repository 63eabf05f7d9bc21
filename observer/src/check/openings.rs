//! What an honest counter of openings can say, such as `accepted_total`.
//!
//! The service counts from when it was started, and the kernel from when the observer was. What lies
//! between the two is not known, and stays the same: each check of an honest counter bounds it, and
//! all of them together bound it more narrowly than any. A counter that leaves these bounds has
//! missed openings since, or counted some twice.
//!
//! ```text
//!  Unknown ── a reading ──► Waiting ── a window that begins after it ends ──► Known
//!     ▲                                                                         │
//!     └── the service was restarted, or the kernel has lost events ─────────────┘
//! ```
//!
//! Sockets of which it is not known what they are leave room on both sides: one that is found to be
//! of the kind that is counted may have been counted by the service long before.

use super::{
    counts::{Counts, Sample},
    interval::Interval,
    verdict::Bounds,
};

/// By how much a counter is ahead of the kernel's count, as far as that is known.
#[derive(Clone, Debug, Default)]
pub struct Openings {
    known: Option<Known>,
    /// The last check that agreed, until a window begins after its own has ended: before, what the
    /// kernel counted in both would be taken for counted twice.
    waiting: Option<(Sample, Known)>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// By how much it is ahead: at least of the fewest that opened, and at the most of the most.
    ahead: Bounds,
    /// What the kernel had counted by the first of these checks.
    opened: u64,
    /// Of these, subflows of other connections.
    subflows: u64,
}

/// What the kernel counted in one window.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// The last sample before it.
    pub before: Sample,
    /// The first sample after it.
    pub after: Sample,
    /// Subflows of MPTCP connections that were opened in the network namespace until now: each is
    /// an opening to the kernel, and none to the service.
    pub subflows: u64,
}

impl Opened {
    /// What opened from one moment to a later one is at least the difference of these.
    const fn fewest(counts: &Counts) -> i64 {
        counts
            .opened
            .wrapping_sub(counts.doubtful_left)
            .cast_signed()
    }

    /// What opened from one moment to a later one is at most the difference of these.
    const fn most(counts: &Counts) -> i64 {
        counts
            .opened
            .wrapping_add(counts.doubtful_entered)
            .cast_signed()
    }

    /// What a claim at some moment of the window is ahead of.
    fn ahead(&self, claim: i64) -> Bounds {
        let (before, after) = (&self.before.counts, &self.after.counts);
        Bounds {
            low: claim.saturating_sub(Self::fewest(after)),
            high: claim
                .saturating_sub(Self::most(before))
                .saturating_add(before.waiting.cast_signed()),
        }
    }
}

impl Openings {
    /// Nothing of what was known still holds.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// What an honest counter can say in this window; nothing before it was read once.
    pub fn interval(&mut self, opened: &Opened) -> Option<Interval> {
        if let Some((until, waiting)) = self.waiting
            && until.finished <= opened.before.began
        {
            self.waiting = None;
            self.known = Some(match self.known {
                None => waiting,
                Some(known) => Known {
                    // A check that agreed contradicts none before it.
                    ahead: known.ahead.and(waiting.ahead).unwrap_or(known.ahead),
                    ..known
                },
            });
        }
        let known = self.known?;
        let subflows = opened.subflows.saturating_sub(known.subflows);
        let (before, after) = (&opened.before.counts, &opened.after.counts);
        let fewest = Opened::fewest(before)
            .saturating_sub_unsigned(before.waiting)
            .saturating_sub_unsigned(subflows);
        let low = known.ahead.low.saturating_add(fewest).max(0);
        let high = known.ahead.high.saturating_add(Opened::most(after));
        Some(Interval {
            low,
            high: high.max(low),
        })
    }

    /// The same counts, as far as they are of what has opened since the counter was first read.
    pub fn since(&self, counts: &Counts) -> Counts {
        let from = self.known.map_or(counts.opened, |known| known.opened);
        Counts {
            arrived: counts.arrived,
            opened: counts.opened.saturating_sub(from),
            ..Counts::default()
        }
    }

    /// Takes in a claim that an honest counter can have made.
    pub fn note(&mut self, claim: i64, opened: &Opened) {
        let known = Known {
            ahead: opened.ahead(claim),
            opened: opened.after.counts.opened,
            subflows: opened.subflows,
        };
        self.waiting.get_or_insert((opened.after, known));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// A window of half a second around each second.
    fn opened(base: Instant, second: u64, before: Counts, after: Counts) -> Opened {
        let at = |millis| base + Duration::from_millis(second * 1_000 + millis);
        let sample = |at, counts| Sample {
            began: at,
            finished: at,
            counts,
        };
        Opened {
            before: sample(at(0), before),
            after: sample(at(500), after),
            subflows: 0,
        }
    }

    fn counts(opened: u64) -> Counts {
        Counts {
            opened,
            ..Counts::default()
        }
    }

    #[test]
    fn a_counter_is_held_against_what_opened_since_it_was_first_read() {
        let base = Instant::now();
        let mut openings = Openings::default();
        let quiet = |second, count| opened(base, second, counts(count), counts(count));
        assert_eq!(openings.interval(&quiet(0, 30)), None);
        openings.note(1_030, &quiet(0, 30));
        let next = opened(base, 1, counts(37), counts(40));
        let expected = Interval {
            low: 1_037,
            high: 1_040,
        };
        assert_eq!(openings.interval(&next), Some(expected));
        assert_eq!(openings.since(&counts(40)).open(), 10);
        openings.forget();
        assert_eq!(openings.interval(&next), None);
    }

    #[test]
    fn what_is_known_of_it_narrows_at_quiet_moments() {
        let base = Instant::now();
        let mut openings = Openings::default();
        openings.note(107, &opened(base, 0, counts(0), counts(20)));
        let quiet = opened(base, 1, counts(50), counts(50));
        let wide = openings.interval(&quiet).expect("it was read");
        assert_eq!((wide.low, wide.high), (137, 157));
        openings.note(150, &quiet);
        let later = opened(base, 2, counts(80), counts(80));
        let narrow = openings.interval(&later).expect("it was read");
        assert_eq!((narrow.low, narrow.high), (180, 180));
    }

    #[test]
    fn windows_that_overlap_narrow_nothing_until_they_have_ended() {
        let base = Instant::now();
        let mut openings = Openings::default();
        openings.note(5, &opened(base, 0, counts(0), counts(10)));
        let overlapping = opened(base, 0, counts(9), counts(12));
        assert_eq!(openings.interval(&overlapping), None);
        let later = opened(base, 1, counts(12), counts(12));
        assert!(openings.interval(&later).is_some());
    }

    #[test]
    fn subflows_and_what_waits_are_no_openings_to_the_service() {
        let base = Instant::now();
        let mut openings = Openings::default();
        openings.note(0, &opened(base, 0, counts(0), counts(0)));
        let waiting = Counts {
            waiting: 2,
            ..counts(10)
        };
        let later = Opened {
            subflows: 3,
            ..opened(base, 1, waiting, counts(10))
        };
        let interval = openings.interval(&later).expect("it was read");
        assert_eq!((interval.low, interval.high), (5, 10));
    }

    /// One connection of a service that counts what it opens: when the kernel has it, how much later
    /// the service counts it, and when it is found to be of the kind that is counted.
    #[derive(Clone, Debug)]
    struct Connection {
        opened: u64,
        counted: u64,
        found: Option<u64>,
    }

    /// Unit: ms. A window reaches so far on both sides of the moment at which the claim is made.
    const SETTLE: u64 = 300;
    const LENGTH: u64 = 10_000;

    fn connections() -> impl Strategy<Value = Vec<Connection>> {
        let lag = 0..=2 * SETTLE;
        let found = prop::option::of(0..LENGTH);
        let one = (0..LENGTH, lag, found).prop_map(|(opened, lag, found)| Connection {
            opened: opened + SETTLE,
            // Before the kernel or after it.
            counted: opened + lag,
            found: found.map(|found| found.max(opened + SETTLE)),
        });
        vec(one, 0..60)
    }

    fn counted_by(connections: &[Connection], moment: u64) -> Counts {
        let mut counts = Counts::default();
        for connection in connections.iter().filter(|one| one.opened <= moment) {
            match connection.found {
                None => counts.opened += 1,
                Some(found) => {
                    counts.doubtful_entered += 1;
                    if found <= moment {
                        counts.doubtful_left += 1;
                        counts.opened += 1;
                    }
                }
            }
        }
        counts
    }

    proptest! {
        #[test]
        fn an_honest_counter_is_within_the_interval_of_every_check(
            connections in connections(),
            before_observer in 0..1_000_i64,
            moments in vec(SETTLE..LENGTH, 1..30),
        ) {
            let base = Instant::now();
            let mut moments = moments;
            moments.sort_unstable();
            let mut openings = Openings::default();
            for moment in moments {
                let sample = |at: u64| Sample {
                    began: base + Duration::from_millis(at),
                    finished: base + Duration::from_millis(at),
                    counts: counted_by(&connections, at),
                };
                let window = Opened {
                    before: sample(moment - SETTLE),
                    after: sample(moment + SETTLE),
                    subflows: 0,
                };
                let counted = connections.iter().filter(|one| one.counted <= moment).count();
                let claim = before_observer + counted as i64;
                if let Some(Interval { low, high }) = openings.interval(&window) {
                    prop_assert!(low <= claim && claim <= high, "{low} {claim} {high}");
                }
                openings.note(claim, &window);
            }
        }

        #[test]
        fn what_a_counter_misses_is_found_once_the_traffic_pauses(
            connections in connections(),
            missed in 1..20_i64,
        ) {
            let base = Instant::now();
            let all = counts(connections.len() as u64);
            let mut openings = Openings::default();
            openings.note(7, &opened(base, 0, counts(0), counts(0)));
            let pause = opened(base, 60, all, all);
            let claim = 7 + all.opened as i64 - missed;
            let interval = openings.interval(&pause).expect("it was read");
            prop_assert_eq!(Bounds::of(claim, interval).sure(), -missed);
        }
    }
}
