//! Rules at chosen moments: what a few checks, one after the other, come to.

use std::{
    sync::LazyLock,
    time::{Duration, Instant, SystemTime},
};

use super::*;

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

pub(super) fn rules(confirm: u32) -> Rules {
    Rules {
        confirmation: Confirmation {
            checks: confirm,
            time: Duration::ZERO,
        },
        too_wide: TooWide {
            share: f64::MAX,
            has_kinds: true,
        },
    }
}

/// The first second of all.
fn base() -> Instant {
    static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);
    *BASE
}

/// A check of a service that has had connections, after which the witnesses were compared.
fn facts(claim: i64, interval: Interval, second: u64) -> Facts {
    let read = base() + Duration::from_secs(second);
    let counts = Counts {
        arrived: 2_000,
        opened: interval.high.unsigned_abs(),
        ..Counts::default()
    };
    Facts {
        blind: None,
        claim: Ok(claim),
        measured: Some(Measured {
            interval,
            counts,
            allowance: Allowance::default(),
        }),
        read,
        at: at(second),
        ends: read,
        agreed: Some(read),
        learnt: None,
    }
}

/// A check of which nothing can be said.
fn blinded(reason: Blind) -> Facts {
    let interval = Interval { low: 0, high: 0 };
    Facts {
        blind: Some(reason),
        ..facts(0, interval, 2)
    }
}

/// A check whose bounds of the drift are `low` and `high`.
fn bounded(low: i64, high: i64, second: u64) -> Facts {
    let interval = Interval {
        low: 1_000,
        high: 1_000 + high - low,
    };
    facts(1_000 + high, interval, second)
}

/// Judges checks with these bounds, one a second, and returns what is said after the last.
fn check(confirm: u32, bounds: &[(i64, i64)]) -> Finding {
    let mut judge = Judge::new(rules(confirm));
    let mut finding = Finding::blind(Blind::NotSeeded);
    for (second, (low, high)) in (1..).zip(bounds) {
        finding = judge.judge(&bounded(*low, *high, second));
    }
    finding
}

fn verdicts(confirm: u32, bounds: &[(i64, i64)]) -> Vec<Verdict> {
    (1..=bounds.len())
        .map(|checks| check(confirm, &bounds[..checks]).verdict)
        .collect()
}

#[test]
fn a_drift_is_a_verdict_once_enough_checks_have_shown_it() {
    use Verdict::{Over, Under, Unsettled};
    assert_eq!(verdicts(1, &[(3, 3)]), [Over]);
    assert_eq!(verdicts(2, &[(3, 3), (3, 3)]), [Unsettled, Over]);
    assert_eq!(verdicts(2, &[(-1, -1), (-1, -1)]), [Unsettled, Under]);
    assert_eq!(
        verdicts(5, &[(3, 3); 5]),
        [Unsettled, Unsettled, Unsettled, Unsettled, Over]
    );
}

#[test]
fn one_late_answer_and_busy_traffic_are_no_verdict() {
    for confirm in [2, 5] {
        let mut bounds = vec![(7, 7)];
        bounds.extend([(-500, 500); 50]);
        let finding = check(confirm, &bounds);
        assert_eq!(finding.verdict, Verdict::Unsettled);
        assert_eq!((finding.rule, finding.shown), (Rule::NotContradicted, 1));
        // The first quiet check shows that it was nothing.
        bounds.push((0, 0));
        let finding = check(confirm, &bounds);
        assert_eq!(
            (finding.verdict, finding.since, finding.shown),
            (Verdict::Agree, None, 0)
        );
    }
}

#[test]
fn a_small_drift_in_busy_traffic_is_found_at_its_quiet_moments() {
    let busy = (-80, 120);
    let finding = check(2, &[busy, busy, (20, 20), busy, busy, (20, 20), busy]);
    assert_eq!(finding.verdict, Verdict::Over);
    assert_eq!(finding.drift, Some(Bounds { low: 20, high: 20 }));
    assert_eq!(finding.since, Some(at(3)));
}

#[test]
fn evidence_adds_up_where_no_check_is_narrow() {
    let finding = check(2, &[(-5, 30), (2, 50), (-9, 4), (1, 9)]);
    assert_eq!(finding.drift, Some(Bounds { low: 2, high: 4 }));
    assert_eq!(finding.verdict, Verdict::Over);
}

#[test]
fn a_leak_that_grows_stays_over_since_its_beginning() {
    let finding = check(2, &[(0, 0), (1, 1), (2, 2), (5, 6), (9, 9)]);
    assert_eq!(finding.verdict, Verdict::Over);
    assert_eq!(finding.drift, Some(Bounds { low: 9, high: 9 }));
    assert_eq!(finding.since, Some(at(2)));
}

#[test]
fn after_a_contradiction_evidence_adds_up_anew() {
    let finding = check(2, &[(-1, 1), (3, 9), (1, 5)]);
    assert_eq!(finding.drift, Some(Bounds { low: 3, high: 5 }));
}

#[test]
fn another_sign_is_another_drift() {
    let bounds = [(4, 4), (4, 4), (-2, -2), (-2, -2)];
    use Verdict::{Over, Under, Unsettled};
    assert_eq!(verdicts(2, &bounds), [Unsettled, Over, Unsettled, Under]);
    assert_eq!(check(2, &bounds).since, Some(at(3)));
    assert_eq!(check(2, &bounds[..3]).since, Some(at(3)));
}

#[test]
fn a_drift_that_heals_is_agreement_at_once() {
    let finding = check(2, &[(4, 4), (4, 4), (-1, 1)]);
    assert_eq!(
        (finding.verdict, finding.rule, finding.since),
        (Verdict::Agree, Rule::Within, None)
    );
}

const HOUR: u64 = Evidence::MEMORY.as_secs();
const MINUTE: u64 = Evidence::LAPSE.as_secs();

#[test]
fn a_verdict_that_is_not_shown_again_ends_in_time_at_every_interval() {
    for interval in [5, 60, HOUR] {
        let mut judge = Judge::new(rules(2));
        judge.judge(&bounded(3, 3, 1));
        assert_eq!(judge.judge(&bounded(3, 3, 2)).verdict, Verdict::Over);
        // It was healed, and the traffic neither shows nor contradicts it.
        let mut last = 2;
        for second in (2 + interval..).step_by(interval as usize) {
            if judge.judge(&bounded(-500, 500, second)).verdict == Verdict::Agree {
                break;
            }
            last = second;
        }
        assert!(last >= HOUR.saturating_sub(interval), "{interval}: {last}");
        assert!(last <= HOUR + 2 * interval + 2, "{interval}: {last}");
    }
}

#[test]
fn a_verdict_that_is_shown_now_and_then_stands() {
    let mut judge = Judge::new(rules(2));
    judge.judge(&bounded(3, 3, 1));
    for second in (2..5 * HOUR).step_by(7) {
        let is_quiet = second % (HOUR / 2) < 7;
        let (low, high) = if is_quiet { (3, 3) } else { (-500, 500) };
        let finding = judge.judge(&bounded(low, high, second));
        assert!(second < 9 || finding.verdict == Verdict::Over, "{second}");
    }
}

#[test]
fn two_late_answers_far_apart_are_no_verdict() {
    for apart in [2 * MINUTE, HOUR / 2, 3 * HOUR] {
        let mut judge = Judge::new(rules(2));
        for second in (1..4 * HOUR).step_by(5) {
            let is_late = second == 1 || second == 1 + apart;
            let (low, high) = if is_late { (7, 7) } else { (-500, 500) };
            let finding = judge.judge(&bounded(low, high, second));
            assert_ne!(finding.verdict, Verdict::Over, "{apart}: {second}");
        }
    }
}

#[test]
fn two_checks_an_hour_apart_that_show_the_same_are_a_verdict() {
    let mut judge = Judge::new(rules(2));
    judge.judge(&bounded(3, 3, 1));
    let finding = judge.judge(&bounded(3, 3, 1 + HOUR));
    assert_eq!((finding.verdict, finding.shown), (Verdict::Over, 2));
    assert_eq!(finding.since, Some(at(1)));
    let finding = judge.judge(&bounded(2, 9, 1 + 2 * HOUR));
    assert_eq!(finding.drift, Some(Bounds { low: 3, high: 3 }));
}

#[test]
fn enough_checks_in_too_short_a_time_are_no_verdict() {
    let mut judge = Judge::new(Rules {
        confirmation: Confirmation {
            checks: 2,
            time: Duration::from_secs(10),
        },
        ..rules(2)
    });
    assert_eq!(judge.judge(&bounded(5, 5, 1)).rule, Rule::ShownTooSeldom);
    for second in 2..11 {
        let finding = judge.judge(&bounded(5, 5, second));
        assert_eq!(
            (finding.verdict, finding.rule),
            (Verdict::Unsettled, Rule::ShownTooBriefly)
        );
    }
    assert_eq!(judge.judge(&bounded(5, 5, 11)).verdict, Verdict::Over);
}

#[test]
fn ever_so_many_checks_are_kept_as_few() {
    let mut evidence = Evidence::new(rules(2).confirmation);
    for check in 0..20_000_u64 {
        let read = base() + Duration::from_millis(check * 500);
        let drift = Bounds { low: -9, high: 9 };
        evidence.weigh(drift, read, at(0));
    }
    assert!(evidence.size() <= 1_000, "{}", evidence.size());
}

#[test]
fn nobody_is_blamed_before_the_witnesses_were_compared_after_the_check() {
    let mut judge = Judge::new(rules(1));
    let compared = |second: u64| Some(base() + Duration::from_secs(second));
    let shows = |second| Facts {
        agreed: compared(second),
        ..bounded(3, 3, 5)
    };
    for agreed in [1, 4] {
        let finding = judge.judge(&shows(agreed));
        assert_eq!(
            (finding.verdict, finding.rule, finding.shown),
            (Verdict::Unsettled, Rule::WitnessesFirst, 0)
        );
    }
    assert_eq!(judge.judge(&shows(5)).verdict, Verdict::Over);
    // What is a verdict already is not compared each time.
    let stands = Facts {
        agreed: compared(5),
        ..bounded(3, 3, 9)
    };
    assert_eq!(judge.judge(&stands).verdict, Verdict::Over);
    let other = Facts {
        agreed: compared(5),
        ..bounded(-3, -3, 12)
    };
    assert_eq!(judge.judge(&other).rule, Rule::WitnessesFirst);
}

#[test]
fn a_drift_that_may_be_a_longer_lag_than_was_learnt_changes_nothing_until_the_longest_shows_it() {
    let mut judge = Judge::new(rules(1));
    let likely = |low, high| Likely {
        drift: low,
        bounds: Bounds { low, high },
        lag: None,
        within: Duration::ZERO,
        checks: 20,
    };
    let shows = |learnt, second| Facts {
        learnt,
        ..bounded(3, 3, second)
    };
    for learnt in [None, Some(likely(0, 9)), Some(likely(-2, -1))] {
        let finding = judge.judge(&shows(Some(learnt), 5));
        assert_eq!(
            (finding.verdict, finding.rule, finding.shown),
            (Verdict::Unsettled, Rule::LongestFirst, 0)
        );
    }
    assert_eq!(judge.judge(&bounded(0, 9, 5)).verdict, Verdict::Agree);
    let likely_too = shows(Some(Some(likely(1, 9))), 8);
    assert_eq!(judge.judge(&likely_too).verdict, Verdict::Over);
}

/// A check of a claim with so many open, and so many that may or may not be of the kind.
fn with_doubt(claim: i64, open: u64, doubtful: u64, missing: u64, second: u64) -> Facts {
    let counts = Counts {
        arrived: 1 + open + doubtful,
        opened: open,
        doubtful_entered: doubtful,
        ..Counts::default()
    };
    let allowance = Allowance {
        missing,
        ..Allowance::default()
    };
    let interval = Interval {
        low: open.cast_signed(),
        high: (open + doubtful).cast_signed(),
    };
    Facts {
        measured: Some(Measured {
            interval: interval.with(allowance),
            counts,
            allowance,
        }),
        ..facts(claim, interval, second)
    }
}

#[test]
fn an_agreement_that_excludes_too_little_is_blind() {
    let half = Rules {
        too_wide: TooWide {
            share: 0.5,
            has_kinds: true,
        },
        ..rules(2)
    };
    let reason = |claim, open, doubtful, missing| {
        let finding = Judge::new(half).judge(&with_doubt(claim, open, doubtful, missing, 1));
        assert_eq!(finding.verdict == Verdict::Blind, finding.blind.is_some());
        finding.blind
    };
    // All of 23 may or may not be WebSockets: any claim would agree.
    for claim in [0, 5, 11, 12, 23] {
        assert_eq!(reason(claim, 0, 23, 0), Some(Blind::TooWide), "{claim}");
    }
    assert_eq!(reason(1, 0, 1, 0), Some(Blind::TooWide));
    // Where there are no kinds, as many may have come unseen: a few of them are few.
    let no_kinds = Rules {
        too_wide: TooWide {
            share: 0.5,
            has_kinds: false,
        },
        ..half
    };
    let blind = |doubtful| {
        let finding = Judge::new(no_kinds).judge(&with_doubt(1, 1, doubtful, 0, 1));
        finding.blind
    };
    assert_eq!((blind(2), blind(3)), (None, Some(Blind::TooWide)));
    // A few of many say something.
    assert_eq!(reason(100, 100, 30, 0), None);
    // One or two of a few are no reason to be blind, where it is known what they are.
    assert_eq!(reason(1, 1, 0, 2), None);
    assert_eq!(reason(1, 1, 0, 3), Some(Blind::Lost));
    assert_eq!(reason(0, 0, 0, 0), None);
    // What is wrong is wrong however wide it is.
    let finding = Judge::new(half).judge(&with_doubt(99, 0, 23, 0, 1));
    assert_eq!((finding.blind, finding.resolution()), (None, None));
}

#[test]
fn what_was_found_before_makes_a_wide_agreement_narrow() {
    let mut judge = Judge::new(Rules {
        too_wide: TooWide {
            share: 0.5,
            has_kinds: true,
        },
        ..rules(2)
    });
    let finding = judge.judge(&with_doubt(10, 10, 0, 0, 1));
    assert_eq!((finding.blind, finding.resolution()), (None, Some(0)));
    let finding = judge.judge(&with_doubt(20, 20, 80, 0, 2));
    assert_eq!((finding.blind, finding.resolution()), (None, Some(0)));
    let later = with_doubt(20, 20, 80, 0, 2 * HOUR);
    judge.judge(&later);
    judge.judge(&later);
    let finding = judge.judge(&later);
    assert_eq!(finding.resolution(), Some(80));
    assert_eq!(finding.blind, Some(Blind::TooWide));
}

#[test]
fn what_was_never_seen_is_not_held_against_anybody() {
    let mut judge = Judge::new(rules(1));
    let mut facts = facts(5, Interval { low: 0, high: 0 }, 1);
    let seen = |facts: &mut Facts, arrived| {
        facts.measured.as_mut().unwrap().counts.arrived = arrived;
    };
    seen(&mut facts, 0);
    let finding = judge.judge(&facts);
    assert_eq!(
        (finding.blind, finding.rule),
        (Some(Blind::NothingSeen), Rule::NothingSeen)
    );
    // A gauge that says nothing of nothing is right.
    let nothing = Facts {
        claim: Ok(0),
        ..facts
    };
    assert_eq!(judge.judge(&nothing).verdict, Verdict::Agree);
    // Less than nothing is wrong whatever was seen.
    let negative = Facts {
        claim: Ok(-1),
        ..facts
    };
    assert_eq!(judge.judge(&negative).verdict, Verdict::Under);
    seen(&mut facts, 1);
    assert_eq!(judge.judge(&facts).verdict, Verdict::Over);
}

#[test]
fn a_restart_is_when_nobody_of_before_listens() {
    let is_restart = |before: &[u64], now: &[u64]| is_restart(before, now, u64::eq);
    assert!(is_restart(&[1, 2], &[3]));
    assert!(!is_restart(&[1, 2], &[2, 3]));
    assert!(!is_restart(&[1, 2], &[1, 2, 3]));
    assert!(!is_restart(&[1, 2], &[]));
    assert!(!is_restart(&[], &[3]));
}

#[test]
fn a_start_that_is_rounded_otherwise_is_the_same() {
    assert!(is_same_start(&1_700_000_000.4, &1_700_000_001.9));
    assert!(!is_same_start(&1_700_000_000.4, &1_700_000_003.0));
}

#[test]
fn an_unsettled_drift_is_looked_at_soon_and_not_without_a_pause() {
    let millis = Duration::from_millis;
    let pause = |settle, interval| pause_before_recheck(millis(settle), millis(interval));
    assert_eq!(pause(1_000, 5_000), millis(250));
    assert_eq!(pause(0, 5_000), millis(100));
    assert_eq!(pause(1_000, 10), millis(10));
}

#[test]
fn a_missed_event_may_be_an_opening_or_an_end() {
    let interval = Interval { low: 5, high: 9 };
    let with = |missing, unseen| {
        let Interval { low, high } = interval.with(Allowance {
            missing,
            unseen,
            subflows: 0,
        });
        (low, high)
    };
    assert_eq!(with(0, 0), (5, 9));
    assert_eq!(with(2, 0), (3, 11));
    assert_eq!(with(8, 0), (0, 17));
    assert_eq!(with(0, 3), (5, 12));
    assert_eq!(with(u64::MAX, u64::MAX), (0, i64::MAX));
}

#[test]
fn a_subflow_may_be_no_connection_of_its_own() {
    let interval = Interval { low: 5, high: 9 };
    let with = |subflows| {
        interval.with(Allowance {
            subflows,
            ..Allowance::default()
        })
    };
    assert_eq!(with(2), Interval { low: 3, high: 9 });
    assert_eq!(with(u64::MAX), Interval { low: 0, high: 9 });
}

#[test]
fn what_makes_counts_incomparable_voids_what_was_found() {
    let voiding = Blind::ALL
        .into_iter()
        .filter(|reason| reason.voids_evidence());
    for reason in voiding {
        let mut judge = Judge::new(rules(2));
        judge.judge(&bounded(3, 3, 1));
        judge.judge(&bounded(3, 3, 2));
        let blind = judge.judge(&blinded(reason));
        assert_eq!((blind.blind, blind.since), (Some(reason), None));
        let finding = judge.judge(&bounded(-9, 9, 4));
        assert_eq!(finding.verdict, Verdict::Agree, "{reason:?}");
        let finding = judge.judge(&bounded(3, 3, 5));
        assert_eq!(
            (finding.verdict, finding.since),
            (Verdict::Unsettled, Some(at(5))),
            "{reason:?}"
        );
    }
}

#[test]
fn a_scrape_that_fails_voids_nothing() {
    for reason in [Blind::TargetDown, Blind::ClaimMissing] {
        let mut judge = Judge::new(rules(2));
        judge.judge(&bounded(3, 3, 1));
        let blind = judge.judge(&blinded(reason));
        assert_eq!(
            (blind.verdict, blind.rule, blind.drift, blind.since),
            (Verdict::Blind, Rule::NothingToCompare, None, Some(at(1)))
        );
        let finding = judge.judge(&bounded(3, 3, 3));
        assert_eq!(
            (finding.verdict, finding.since),
            (Verdict::Over, Some(at(1)))
        );
    }
}

#[test]
fn what_is_sure_is_the_bound_nearer_to_nothing() {
    let sure = |low, high| Bounds { low, high }.sure();
    assert_eq!(sure(-3, 4), 0);
    assert_eq!(sure(0, 4), 0);
    assert_eq!(sure(2, 4), 2);
    assert_eq!(sure(-4, -2), -2);
}

#[test]
fn a_claim_of_any_size_is_judged() {
    let interval = Interval { low: 0, high: 10 };
    for claim in [i64::MAX, i64::MIN, 1 << 53, -(1 << 53)] {
        let finding = Judge::new(rules(1)).judge(&facts(claim, interval, 1));
        let expected = if claim > 0 {
            Verdict::Over
        } else {
            Verdict::Under
        };
        assert_eq!(finding.verdict, expected, "{claim}");
    }
}

fn sample(base: Instant, began: u64, finished: u64, counts: Counts) -> Sample {
    Sample {
        began: base + Duration::from_millis(began),
        finished: base + Duration::from_millis(finished),
        counts,
    }
}

fn between(before: Counts, after: Counts) -> (i64, i64) {
    let base = Instant::now();
    let interval = Interval::between(&sample(base, 0, 1, before), &sample(base, 10, 11, after), 0);
    (interval.low, interval.high)
}

#[test]
fn the_interval_is_as_wide_as_what_opened_and_closed() {
    let before = Counts {
        opened: 100,
        ended: 40,
        closed: 38,
        ..Counts::default()
    };
    assert_eq!(between(before, before), (60, 62));
    let quiet = Counts {
        ended: 38,
        ..before
    };
    assert_eq!(between(quiet, quiet), (62, 62));
    let after = Counts {
        opened: 107,
        ended: 45,
        closed: 41,
        ..before
    };
    assert_eq!(between(before, after), (55, 69));
}

#[test]
fn what_is_doubtful_may_be_counted_and_what_is_lost_may_have_ended() {
    let counts = Counts {
        opened: 20,
        ended: 5,
        closed: 5,
        doubtful_entered: 9,
        doubtful_left: 2,
        lost_entered: 6,
        lost_left: 2,
        ..Counts::default()
    };
    assert_eq!(between(counts, counts), (11, 22));
}

#[test]
fn a_connection_aborted_in_the_accept_queue_is_not_taken_off_twice() {
    // 20 accepted, 10 waiting of which 5 were aborted: the service says 20 and is right.
    let counts = Counts {
        opened: 30,
        ended: 5,
        closed: 5,
        waiting: 10,
        ..Counts::default()
    };
    let (low, high) = between(counts, counts);
    assert!(low <= 20 && 20 <= high, "{low} to {high}");
}

#[test]
fn nobody_can_claim_less_than_nothing() {
    let counts = |opened, ended, closed| Counts {
        opened,
        ended,
        closed,
        ..Counts::default()
    };
    assert_eq!(between(counts(5, 5, 5), counts(9, 9, 9)), (0, 4));
    let finding = Judge::new(rules(1)).judge(&facts(-3, Interval { low: 0, high: 4 }, 1));
    assert_eq!(finding.drift, Some(Bounds { low: -7, high: -3 }));
    assert_eq!(finding.verdict, Verdict::Under);
}

#[test]
fn samples_are_found_by_whole_reads() {
    let base = Instant::now();
    let moment = |millis| base + Duration::from_millis(millis);
    let mut samples = Samples::new(Duration::from_secs(1));
    for (opened, (began, finished)) in (0..).zip([(0, 10), (50, 60), (100, 110)]) {
        let counts = Counts {
            opened,
            ..Counts::default()
        };
        samples.push(sample(base, began, finished, counts), None);
    }
    let opened = |sample: Option<&Sample>| sample.map(|sample| sample.counts.opened);
    assert_eq!(opened(samples.before(moment(9))), None);
    assert_eq!(opened(samples.before(moment(10))), Some(0));
    assert_eq!(opened(samples.before(moment(59))), Some(0));
    assert_eq!(opened(samples.after(moment(50))), Some(1));
    assert_eq!(opened(samples.after(moment(51))), Some(2));
    assert_eq!(opened(samples.after(moment(101))), None);
    assert_eq!(opened(samples.last()), Some(2));
}

#[test]
fn a_pause_in_sampling_leaves_one_sample_before_it() {
    let base = Instant::now();
    let mut samples = Samples::new(Duration::from_secs(1));
    for began in [0, 50, 100, 60_000, 60_050] {
        samples.push(sample(base, began, began + 1, Counts::default()), None);
    }
    let before = samples.before(base + Duration::from_secs(59));
    assert_eq!(
        before.map(|sample| sample.began),
        Some(base + Duration::from_millis(100))
    );
    assert!(samples.before(base + Duration::from_millis(60)).is_none());
}

#[test]
fn what_opened_and_ended_within_the_window_takes_nothing_off() {
    let base = Instant::now();
    let mut samples = Samples::new(Duration::from_secs(60));
    let mut lives = Lives::default();
    // 3 stay open. From the first second on one a beat comes, and goes after less than 17 ms.
    let mut opened = 3;
    let mut ended = 0;
    for beat in 0..=40 {
        let counts = Counts {
            opened,
            ended,
            closed: ended,
            ..Counts::default()
        };
        samples.push(
            sample(base, beat * 100, beat * 100 + 1, counts),
            Some(lives),
        );
        if beat >= 10 {
            (opened, ended) = (opened + 1, ended + 1);
            // 2^24 ns are 16.8 ms.
            lives.0[4] += 1;
        }
    }
    let moment = |millis| base + Duration::from_millis(millis);
    let interval = |begins, ends| {
        let before = samples.before(moment(begins)).unwrap();
        let after = samples.after(moment(ends)).unwrap();
        let young = samples.surely_young(before, after);
        let Interval { low, high } = Interval::between(before, after, young);
        (low, high, young)
    };
    // Within a beat of the begin it cannot be told whether one was there before.
    assert_eq!(interval(2_001, 3_000), (2, 13, 9));
    assert_eq!(interval(901, 3_000), (3, 23, 20));
    assert_eq!(interval(1, 900), (3, 3, 0));
}

#[test]
fn what_lived_longer_than_the_window_is_taken_off() {
    let base = Instant::now();
    // One ends after each sample, whose life is in this bucket.
    let ending = |bucket: usize| {
        let mut samples = Samples::new(Duration::from_secs(60));
        let mut lives = Lives::default();
        for beat in 0..=20 {
            let sample = sample(base, beat * 100, beat * 100 + 1, Counts::default());
            samples.push(sample, Some(lives));
            lives.0[bucket] += 1;
        }
        samples
    };
    // 2^31 ns are 2.1 s.
    let samples = ending(11);
    let before = *samples.before(base + Duration::from_millis(1)).unwrap();
    let after = *samples.after(base + Duration::from_millis(2_000)).unwrap();
    assert_eq!(samples.surely_young(&before, &after), 0);
    // 2^29 ns are 0.54 s: those of the last 1.4 s are.
    let mut samples = ending(9);
    assert_eq!(samples.surely_young(&before, &after), 14);
    samples.clear();
    assert_eq!(samples.surely_young(&before, &after), 0);
}
