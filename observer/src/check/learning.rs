//! What is learnt of simulated services, whose lags are known.

use std::{slice, time::Duration};

use proptest::prelude::*;

use super::{
    services::{HONEST, LATENESS, Late, PAUSE, Run, SETTLE, Service, UNSURE, instant},
    *,
};

/// Holds everything that is said of a service against its drift. Returns how often something was.
fn holds_its_drift(service: &Service, checks: u32, seed: u64) -> usize {
    let said = service.learn(checks, seed);
    for Likely { bounds, drift, .. } in &said {
        let is_held = bounds.low <= service.drift && service.drift <= bounds.high;
        assert!(is_held, "{service:?}, seed {seed}: {bounds:?}");
        assert!(bounds.low <= *drift && *drift <= bounds.high);
    }
    said.len()
}

fn last(said: Vec<Likely>) -> Likely {
    *said.last().expect("enough checks")
}

#[test]
fn an_honest_service_is_never_likely_to_drift_however_late_it_counts() {
    let mut said = 0;
    for (rate, beat) in [(20.0, 100.0), (100.0, 20.0), (1_000.0, 100.0)] {
        for ((openings, closings), seed) in LATENESS.into_iter().zip(100..) {
            let service = Service {
                rate,
                openings,
                closings,
                beat,
                ..HONEST
            };
            said += holds_its_drift(&service, 60, seed);
        }
    }
    assert_eq!(said, 3 * 10 * 41);
}

#[test]
fn an_honest_service_whose_clients_come_like_clockwork_is_not_likely_to_drift() {
    for (openings, closings) in LATENESS {
        let service = Service {
            is_even: true,
            openings,
            closings,
            ..HONEST
        };
        holds_its_drift(&service, 60, 7);
    }
}

#[test]
fn an_honest_service_with_a_few_very_late_closings_is_not_likely_to_drift() {
    // Found by chance: with four standard errors the bounds were 1 to 46 after 30 checks.
    let service = Service {
        rate: 205.244_148_979_435_35,
        closings: Late::Around(197.230_560_922_389_3),
        beat: 12.090_645_274_992_237,
        ..HONEST
    };
    holds_its_drift(&service, 40, 9_457_451_973_482_605_617);
}

#[test]
fn a_drift_of_5_in_1000_is_found_within_60_checks_of_a_constant_lag() {
    for (by, drift) in [(0.0, 5), (7.0, -5), (50.0, 5)] {
        let service = Service {
            rate: 1_000.0,
            openings: Late::Always(by),
            closings: Late::Always(by),
            beat: 1.0,
            drift,
            ..HONEST
        };
        let Likely { bounds, .. } = last(service.learn(60, 1));
        assert!(bounds.low <= drift && drift <= bounds.high, "{bounds:?}");
        assert_eq!(bounds.sure().signum(), drift.signum(), "{bounds:?}");
    }
}

#[test]
fn a_drift_of_5_in_1000_is_found_at_5000_a_second_where_the_counts_are_read_closely() {
    for (lateness, drift) in [
        (Late::No, 5),
        (Late::Always(50.0), 5),
        (Late::Always(50.0), -5),
    ] {
        let service = Service {
            rate: 5_000.0,
            openings: lateness,
            closings: lateness,
            beat: 100.0,
            is_close: true,
            drift,
            ..HONEST
        };
        let Likely { bounds, .. } = last(service.learn(60, 8));
        assert!(bounds.low <= drift && drift <= bounds.high, "{bounds:?}");
        assert_eq!(bounds.sure().signum(), drift.signum(), "{bounds:?}");
        // The samples alone leave hundreds.
        let service = Service {
            is_close: false,
            ..service
        };
        let Likely { bounds, .. } = last(service.learn(60, 8));
        assert!(bounds.low < -100 && bounds.high > 100, "{bounds:?}");
    }
}

#[test]
fn the_lags_to_look_at_closely_are_those_of_the_service() {
    let service = Service {
        rate: 1_000.0,
        openings: Late::No,
        closings: Late::Always(300.0),
        beat: 20.0,
        ..HONEST
    };
    let mut learner = Learner::new(SETTLE);
    let unknown = Duration::ZERO..=Duration::from_millis(60);
    assert_eq!(learner.nearest_lags(), slice::from_ref(&unknown));
    service.teach(&mut learner, 40, 9);
    let [openings, closings] = &learner.nearest_lags()[..] else {
        panic!("both are known");
    };
    assert!(openings.contains(&Duration::from_millis(1)), "{openings:?}");
    assert!(
        closings.contains(&Duration::from_millis(300)),
        "{closings:?}"
    );
    learner.clear();
    assert_eq!(learner.nearest_lags(), [unknown]);
}

#[test]
fn a_surplus_of_26_beside_20_short_requests_a_second_is_likely() {
    let service = Service {
        rate: 20.0,
        closings: Late::UpTo(5.0),
        beat: 100.0,
        drift: 26,
        ..HONEST
    };
    let Likely { bounds, within, .. } = last(service.learn(30, 3));
    assert!(bounds.low > 15 && bounds.high >= 26, "{bounds:?}");
    assert!(within <= Duration::from_millis(100), "{within:?}");
}

#[test]
fn a_constant_lag_is_learnt_on_either_side() {
    let service = Service {
        closings: Late::Always(500.0),
        ..HONEST
    };
    let Likely { lag, within, .. } = last(service.learn(60, 4));
    assert!(within >= Duration::from_millis(400), "{within:?}");
    let lag = lag.expect("it is known");
    assert!(lag.openings <= Duration::from_millis(20), "{lag:?}");
    let off = lag.closings.abs_diff(Duration::from_millis(500));
    assert!(off < Duration::from_millis(50), "{lag:?}");
    assert_eq!(lag.longest(), lag.closings);
}

#[test]
fn where_nothing_fluctuates_the_lag_is_unknown_and_the_bounds_are_wide() {
    let service = Service {
        is_even: true,
        drift: 3,
        ..HONEST
    };
    let Likely { lag, bounds, .. } = last(service.learn(60, 5));
    assert_eq!(lag, None);
    assert!(bounds.high - bounds.low >= 100, "{bounds:?}");
}

#[test]
fn few_checks_say_nothing_and_many_are_forgotten() {
    let service = Service {
        rate: 5.0,
        beat: 200.0,
        ..HONEST
    };
    assert_eq!(service.learn(19, 6), []);
    let said = service.learn(650, 6);
    assert_eq!(said.first().map(|likely| likely.checks), Some(20));
    let remembered = |likely: &Likely| likely.checks;
    assert_eq!(said.iter().map(remembered).max(), Some(600));
    assert_eq!(said.last().map(remembered), Some(350));
}

/// A learner of a service at which nothing happens, which says that 4 are open.
struct Idle {
    learner: Learner,
    second: u32,
}

impl Idle {
    fn check(&mut self, open: u64, slack: Slack, finding: &Finding) -> Option<Likely> {
        self.second += 1;
        let moment = f64::from(self.second) * PAUSE;
        let idle = Run {
            opened: vec![-9_000.0; open as usize],
            ended: Vec::new(),
            incremented: Vec::new(),
            decremented: Vec::new(),
        };
        let samples = idle.samples(moment, 100.0, 0.0);
        let claimed = Claimed {
            claim: 4,
            moment: instant(moment),
            samples: &samples,
            slack,
        };
        self.learner.note(finding, Some(&claimed))
    }

    fn of(open: u64, slack: Slack) -> (Self, Likely) {
        let mut idle = Self {
            learner: Learner::new(SETTLE),
            second: 0,
        };
        let said = (0..20).filter_map(|_| idle.check(open, slack, &UNSURE));
        let likely = last(said.collect());
        (idle, likely)
    }
}

#[test]
fn what_may_be_counted_or_not_widens_the_bounds() {
    let (_, exact) = Idle::of(4, Slack::default());
    assert_eq!(exact.bounds, Bounds { low: 0, high: 0 });
    let counts = Counts {
        doubtful_entered: 1,
        lost_entered: 4,
        ..Counts::default()
    };
    let (_, unsure) = Idle::of(4, Slack::of(&counts, Allowance::default(), 2));
    assert_eq!(unsure.bounds, Bounds { low: -3, high: 4 });
}

#[test]
fn what_is_sure_is_never_contradicted() {
    let (mut idle, likely) = Idle::of(3, Slack::of(&Counts::default(), Allowance::default(), 2));
    assert_eq!(likely.bounds, Bounds { low: -1, high: 1 });
    let sure = |low, high| Finding {
        drift: Some(Bounds { low, high }),
        ..UNSURE
    };
    let narrower = idle.check(3, Slack::default(), &sure(1, 7)).expect("both");
    assert_eq!(narrower.bounds, Bounds { low: 1, high: 1 });
    // The drift has changed: it is learnt anew.
    assert_eq!(idle.check(3, Slack::default(), &sure(2, 7)), None);
    assert_eq!(idle.check(3, Slack::default(), &UNSURE), None);
}

#[test]
fn another_service_is_learnt_anew_and_one_that_is_down_is_not_forgotten() {
    let slack = Slack::default();
    let (mut idle, _) = Idle::of(4, slack);
    let down = Finding::blind(Blind::TargetDown);
    assert_eq!(idle.check(4, slack, &down), None);
    assert!(idle.check(4, slack, &UNSURE).is_some());
    let restarted = Finding::blind(Blind::Restarted);
    assert_eq!(idle.check(4, slack, &restarted), None);
    assert_eq!(idle.check(4, slack, &UNSURE), None);
}

fn lateness() -> impl Strategy<Value = Late> {
    prop_oneof![
        Just(Late::No),
        (0.0..800.0).prop_map(Late::Always),
        (0.0..800.0).prop_map(Late::UpTo),
        (0.0..200.0).prop_map(Late::Around),
        (0.0..1.0, 0.0..800.0).prop_map(|(share, by)| Late::Some { share, by }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_bounds_hold_the_drift_of_any_service(
        rate in 1.0..300.0,
        openings in lateness(),
        closings in lateness(),
        beat in 10.0..100.0,
        drift in -50..50_i64,
        is_close in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let service = Service { rate, openings, closings, beat, is_close, drift, is_even: false };
        holds_its_drift(&service, 40, seed);
    }
}
