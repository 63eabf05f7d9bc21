//! What holds of every service and every traffic: an honest one is never blamed, and a drift that
//! is wider than the interval is always found. What is simulated is in `traffic`.

use std::{
    sync::LazyLock,
    time::{Duration, Instant, SystemTime},
};

use proptest::{collection::vec, prelude::*};

use super::{
    tests::rules,
    traffic::{Connection, SETTLE, after, connection, honest_claim, lives, read},
    *,
};

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
            learnt: None,
        }
    }
}

fn judge(confirm: u32) -> Judge {
    Judge::new(rules(confirm))
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
