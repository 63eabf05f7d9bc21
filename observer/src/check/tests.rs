//! Rules at chosen moments: what a few checks, one after the other, come to.

use std::time::{Duration, Instant, SystemTime};

use super::*;

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

/// A check whose bounds of the drift are `low` and `high`.
fn bounded(low: i64, high: i64, second: u64) -> Check {
    Check {
        claim: 1_000 + high,
        interval: Interval {
            low: 1_000,
            high: 1_000 + high - low,
        },
        at: at(second),
    }
}

/// Judges checks with these bounds, one a second, and returns what is said after the last.
fn check(confirm: u32, bounds: &[(i64, i64)]) -> Finding {
    let mut judge = Judge::new(confirm);
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

#[test]
fn evidence_does_not_last_for_ever() {
    let mut judge = Judge::new(2);
    judge.judge(&bounded(3, 3, 1));
    assert_eq!(judge.judge(&bounded(3, 3, 2)).verdict, Verdict::Over);
    for second in 0..Judge::RECENT as u64 - 1 {
        let verdict = judge.judge(&bounded(-500, 500, 3 + second)).verdict;
        assert_eq!(verdict, Verdict::Over, "busy check {second}");
    }
    let finding = judge.judge(&bounded(-500, 500, 9_999));
    assert_eq!(finding.verdict, Verdict::Agree);
}

#[test]
fn what_makes_counts_incomparable_voids_what_was_found() {
    let voiding = Blind::ALL
        .into_iter()
        .filter(|blind| !matches!(blind, Blind::TargetDown | Blind::ClaimMissing));
    for reason in voiding {
        let mut judge = Judge::new(2);
        judge.judge(&bounded(3, 3, 1));
        judge.judge(&bounded(3, 3, 2));
        let blind = judge.blind(reason);
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
        let mut judge = Judge::new(2);
        judge.judge(&bounded(3, 3, 1));
        let blind = judge.blind(reason);
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
        let finding = Judge::new(1).judge(&Check {
            claim,
            interval,
            at: at(1),
        });
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
    let interval = Interval::between(&sample(base, 0, 1, before), &sample(base, 10, 11, after));
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
    let finding = Judge::new(1).judge(&Check {
        claim: -3,
        interval: Interval { low: 0, high: 4 },
        at: at(1),
    });
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
        samples.push(sample(base, began, finished, counts));
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
        samples.push(sample(base, began, began + 1, Counts::default()));
    }
    let before = samples.before(base + Duration::from_secs(59));
    assert_eq!(
        before.map(|sample| sample.began),
        Some(base + Duration::from_millis(100))
    );
    assert!(samples.before(base + Duration::from_millis(60)).is_none());
}
