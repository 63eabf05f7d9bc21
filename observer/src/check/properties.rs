//! What holds of every service and every traffic: an honest one is never blamed, and a drift that
//! is wider than the interval is always found.
//!
//! The simulated service counts each opening and each closing at its own random moment within ±
//! `SETTLE` of the kernel's, and an opening before its own closing. The simulated kernel is read as
//! the real one is: a sample takes time, and each of its counts is of another moment in it.

use std::{
    sync::LazyLock,
    time::{Duration, Instant, SystemTime},
};

use proptest::{collection::vec, prelude::*};

use super::*;

/// Milliseconds.
const SETTLE: i64 = 1_000;
/// How long the traffic lasts. Unit: milliseconds.
const LAST: i64 = 20_000;

/// One connection, all moments in milliseconds.
#[derive(Clone, Debug)]
struct Connection {
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
enum Past {
    /// Everything, at once.
    Known,
    /// It was open before, and its kind is found only at this moment, or never.
    Doubtful(i64),
    /// From the first moment on the witness misses its signs, until the second.
    Lost(i64, i64),
    /// It stays in the accept queue until this moment.
    Waiting(i64),
}

fn connection() -> impl Strategy<Value = Connection> {
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
    fn closing(&self, cookie: u64, moment: i64) -> Option<ClosingSocket> {
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
fn read(traffic: &[Connection], base: Instant, began: i64, moments: &[i64; 8]) -> Sample {
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
fn lives(traffic: &[Connection], began: i64) -> Lives {
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

fn after(base: Instant, millis: i64) -> Instant {
    base + Duration::from_millis((millis + 10_000) as u64)
}

/// What the service says; its workers are read at moments of their own.
fn honest_claim(traffic: &[Connection], moments: [i64; 2]) -> i64 {
    let open = traffic.iter().zip([0, 1].iter().cycle());
    open.filter(|(connection, worker)| {
        let moment = moments[**worker];
        connection.incremented <= moment && moment < connection.decremented
    })
    .count() as i64
}

/// A scrape: when it begins, how long it takes, and when in it the two workers are read.
fn scrapes() -> impl Strategy<Value = Vec<(i64, i64, [f64; 2])>> {
    let length = prop_oneof![3 => 0..20_i64, 1 => 0..3_000_i64];
    let scrape = (0..3_000_i64, length, [0.0..=1.0, 0.0..=1.0]);
    vec(scrape, 1..16)
}

fn samples() -> impl Strategy<Value = Vec<(i64, [i64; 8])>> {
    let gap = prop_oneof![4 => 1..200_i64, 1 => 1..2_500_i64];
    vec(
        (
            gap,
            [0..60_i64, 0..60, 0..60, 0..60, 0..60, 0..60, 0..60, 0..60],
        ),
        400,
    )
}

/// One check: a claim and what it was held against.
#[derive(Clone, Copy, Debug)]
struct Check {
    claim: i64,
    interval: Interval,
    at: SystemTime,
}

impl Check {
    /// Of a service that has had connections, after which the witnesses were compared.
    fn facts(&self) -> Facts {
        static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);
        let read = *BASE + self.at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let counts = Counts {
            arrived: 1,
            ..Counts::default()
        };
        Facts {
            blind: None,
            claim: Ok(self.claim),
            measured: Some(Measured {
                interval: self.interval,
                counts,
                allowance: Allowance::default(),
            }),
            read,
            at: self.at,
            ends: read,
            agreed: Some(read),
        }
    }
}

fn judge(confirm: u32) -> Judge {
    Judge::new(Rules {
        confirmation: Confirmation {
            checks: confirm,
            time: Duration::ZERO,
        },
        too_wide: TooWide { share: f64::MAX },
    })
}

/// Every check that can be made of a run, in the order of its scrapes.
fn checks(
    traffic: &[Connection],
    scrapes: &[(i64, i64, [f64; 2])],
    samples: &[(i64, [i64; 8])],
    drift: i64,
) -> Vec<Check> {
    let base = Instant::now();
    let mut all = Samples::new(Duration::from_secs(3_600));
    let mut began = -4_000;
    for (gap, moments) in samples {
        let sample = read(traffic, base, began, moments);
        all.push(sample, Some(lives(traffic, began)));
        began += moments.iter().max().unwrap_or(&0) + gap;
    }
    let mut started = 0;
    let mut closing = ClosingSockets::default();
    let mut checks = Vec::new();
    for (pause, length, moments) in scrapes {
        started += pause;
        let finished = started + length;
        let moments = moments.map(|part| started + (*length as f64 * part) as i64);
        let begins = after(base, started - SETTLE);
        let later = all.after(after(base, finished + SETTLE));
        if let (Some(before), Some(mut later)) = (all.before(begins), later.copied()) {
            // Some time after the counts were read.
            let dumped = finished + SETTLE + 2_700;
            let sockets = traffic.iter().zip(1..);
            let dump: Vec<_> = sockets
                .filter_map(|(connection, cookie)| connection.closing(cookie, dumped))
                .collect();
            closing.note(&dump, after(base, dumped));
            later.counts.orphans = closing.orphans(begins);
            checks.push(Check {
                claim: honest_claim(traffic, moments) + drift,
                interval: Interval::between(before, &later, all.surely_young(before, &later)),
                at: SystemTime::UNIX_EPOCH + Duration::from_millis(started as u64),
            });
        }
    }
    checks
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn an_honest_service_is_never_blamed(
        traffic in vec(connection(), 0..120),
        scrapes in scrapes(),
        samples in samples(),
        confirm in prop_oneof![Just(1), Just(2), Just(5)],
    ) {
        let mut judge = judge(confirm);
        for check in checks(&traffic, &scrapes, &samples, 0) {
            let finding = judge.judge(&check.facts());
            prop_assert_eq!(finding.verdict, Verdict::Agree, "{:?} {:?}", check, finding);
        }
    }

    #[test]
    fn bounds_hold_a_constant_drift_and_only_narrow(
        traffic in vec(connection(), 0..120),
        scrapes in scrapes(),
        samples in samples(),
        drift in -30..30_i64,
    ) {
        let mut judge = judge(2);
        let mut narrowest = i64::MAX;
        for check in checks(&traffic, &scrapes, &samples, drift) {
            let finding = judge.judge(&check.facts());
            let bounds = finding.drift.expect("a check leaves bounds");
            prop_assert!(bounds.low <= drift && drift <= bounds.high, "{:?}", bounds);
            narrowest = narrowest.min(check.interval.width());
            prop_assert!(bounds.high - bounds.low <= narrowest, "{:?}", bounds);
            let is_right = bounds.sure().signum() * drift.signum() >= 0;
            prop_assert!(is_right && bounds.sure().abs() <= drift.abs(), "{:?}", bounds);
        }
    }

    #[test]
    fn a_drift_beyond_the_width_is_always_found(
        traffic in vec(connection(), 0..60),
        scrapes in scrapes(),
        samples in samples(),
        excess in 1..20_i64,
        is_over in any::<bool>(),
        confirm in prop_oneof![Just(1), Just(2), Just(5)],
    ) {
        let honest = checks(&traffic, &scrapes, &samples, 0);
        let widest = honest.iter().map(|check| check.interval.width()).max().unwrap_or(0);
        let drift = if is_over { widest + excess } else { -widest - excess };
        let mut judge = judge(confirm);
        let mut is_exact = false;
        for (number, mut check) in (1..).zip(honest) {
            check.claim += drift;
            let finding = judge.judge(&check.facts());
            let expected = match (number >= confirm, is_over) {
                (false, _) => Verdict::Unsettled,
                (true, true) => Verdict::Over,
                (true, false) => Verdict::Under,
            };
            prop_assert_eq!(finding.verdict, expected);
            prop_assert_eq!(finding.since.is_some(), true);
            is_exact |= check.interval.width() == 0;
            if is_exact {
                prop_assert_eq!(finding.drift, Some(Bounds { low: drift, high: drift }));
            }
        }
    }

    #[test]
    fn a_leak_that_grows_is_found_as_soon_as_it_exceeds_the_width(
        traffic in vec(connection(), 0..120),
        scrapes in scrapes(),
        samples in samples(),
        leaks in vec(0..6_i64, 16),
        confirm in prop_oneof![Just(1), Just(2), Just(5)],
    ) {
        let mut judge = judge(confirm);
        let (mut drift, mut shown, mut since) = (0, 0, None);
        for (mut check, leak) in checks(&traffic, &scrapes, &samples, 0).into_iter().zip(leaks) {
            drift += leak;
            check.claim += drift;
            let finding = judge.judge(&check.facts());
            prop_assert!(finding.verdict != Verdict::Under);
            // The claim alone may show less than that; then it shows more than it must.
            shown += u32::from(drift > check.interval.width());
            if shown > 0 {
                since = since.or(finding.since);
                prop_assert!(finding.since.is_some() && finding.since == since);
            }
            if shown >= confirm {
                prop_assert_eq!(finding.verdict, Verdict::Over);
                prop_assert!(finding.drift.is_some_and(|bounds| bounds.sure() <= drift));
            }
        }
    }

    #[test]
    fn since_is_when_the_first_of_the_standing_checks_was_read(
        drifts in vec(prop_oneof![Just(-2_i64), Just(0), Just(0), Just(1), Just(3)], 1..30),
    ) {
        let mut judge = judge(2);
        let mut since = None;
        let mut before: i64 = 0;
        for (second, drift) in (1..).zip(drifts) {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            if drift.signum() != before.signum() {
                since = (drift != 0).then_some(at);
            }
            before = drift;
            let interval = Interval { low: 50, high: 50 };
            let finding = judge.judge(&Check { claim: 50 + drift, interval, at }.facts());
            prop_assert_eq!(finding.since, since);
        }
    }
}
