//! How verdicts, numbers and times are written for people. It knows no markup.

use std::{cmp::Reverse, time::Duration};

use crate::api::TargetReport;

/// A sign for a verdict beside its word: a colour alone tells nobody who sees none.
pub(super) fn sign(verdict: &str) -> &'static str {
    match verdict {
        "agree" => "✓",
        "over" => "▲",
        "under" => "▼",
        "unsettled" => "≈",
        _ => "?",
    }
}

/// Sorts the worst first: wrong by most, then suspected, likely wrong, and what cannot be judged.
pub(super) fn rank(report: &TargetReport) -> (u8, Reverse<u64>) {
    (
        report.rank(),
        Reverse(report.drift.unwrap_or(0).unsigned_abs()),
    )
}

/// All targets in one sentence.
pub(super) fn headline<'a>(reports: impl Iterator<Item = &'a TargetReport>) -> String {
    let (mut all, mut wrong, mut suspected, mut likely, mut blind) = (0, 0, 0, 0, 0);
    for report in reports {
        all += 1;
        match &*report.verdict {
            "over" | "under" => wrong += 1,
            "unsettled" => suspected += 1,
            _ if report.is_likely_wrong() => likely += 1,
            "blind" => blind += 1,
            _ => {}
        }
    }
    let (some, plural, singular) = match (wrong, suspected, likely, blind) {
        (0, 0, 0, 0) if all == 0 => return "No gauge is watched".to_owned(),
        (0, 0, 0, 0) => (all, "agree with the kernel", "agrees with the kernel"),
        (0, 0, 0, _) => (blind, "cannot be judged", "cannot be judged"),
        (0, 0, _, _) => (likely, "are likely wrong", "is likely wrong"),
        (0, ..) => (
            suspected,
            "have a drift that is not confirmed yet",
            "has a drift that is not confirmed yet",
        ),
        _ => (wrong, "are wrong", "is wrong"),
    };
    match (some, all) {
        (1, 1) => format!("The gauge {singular}"),
        (1, _) => format!("1 of {all} gauges {singular}"),
        (some, _) if some == all => format!("All {all} gauges {plural}"),
        (some, _) => format!("{some} of {all} gauges {plural}"),
    }
}

/// The sentence without the name, where the name stands beside it.
pub(super) fn sentence(report: &TargetReport) -> String {
    let bare = report.sentence.strip_prefix(report.name.as_str());
    let bare = bare.and_then(|rest| rest.strip_prefix(": "));
    let bare = bare.unwrap_or(&report.sentence);
    let mut letters = bare.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// The time of day of an RFC 3339 time, to the second.
pub(super) fn clock(at: &str) -> &str {
    at.get(11..19).unwrap_or(at)
}

/// The same, with the day before it where that is another than that of `now`.
pub(super) fn moment(at: &str, now: &str) -> String {
    match (at.get(..10), now.get(..10)) {
        (Some(day), Some(today)) if day != today => format!("{day} {}", clock(at)),
        _ => clock(at).to_owned(),
    }
}

/// A span as people say it, by its two greatest units.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// A number of connections, its thousands apart.
pub(super) fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            // A narrow space that no line is broken at.
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    if number < 0 {
        format!("−{text}")
    } else {
        text
    }
}

/// What the kernel allows: one number, or the fewest and the most.
pub(super) fn band(low: Option<i64>, high: Option<i64>) -> Option<String> {
    let (low, high) = (low?, high?);
    Some(if low == high {
        count(low)
    } else {
        format!("{} to {}", count(low), count(high))
    })
}

/// A drift with its sign; nothing where none is sure.
pub(super) fn drift(drift: Option<i64>) -> Option<String> {
    drift.map(|drift| match drift {
        0 => "0".to_owned(),
        1.. => format!("+{}", count(drift)),
        _ => count(drift),
    })
}

/// The least and the greatest drift, each with its sign.
pub(super) fn range(low: i64, high: i64) -> String {
    let signed = |bound| drift(Some(bound)).unwrap_or_default();
    match low == high {
        true => signed(low),
        false => format!("{} to {}", signed(low), signed(high)),
    }
}

/// What the gauge says; a service may claim a fraction.
pub(super) fn claim(report: &TargetReport) -> String {
    match report.claim {
        Some(claim) if claim.fract() == 0.0 => count(claim as i64),
        Some(claim) => claim.to_string(),
        None => String::new(),
    }
}

/// The part of a drift that is sure: the distance of a claim from what is allowed.
pub(super) fn sure(claim: Option<i64>, low: Option<i64>, high: Option<i64>) -> Option<i64> {
    let (claim, low, high) = (claim?, low?, high?);
    Some((claim - high).max(0) + (claim - low).min(0))
}

/// Seconds as people say them.
pub(super) fn seconds(seconds: f64) -> String {
    if seconds < 10.0 {
        format!("{seconds:.1} s")
    } else {
        span(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdict: &str, likely: Option<(i64, i64)>) -> TargetReport {
        let likely = likely.map(
            |(low, high)| serde_json::json!({"drift": low, "low": low, "high": high, "checks": 20}),
        );
        let report = serde_json::json!({
            "name": "it", "sentence": "it: says.", "verdict": verdict, "drift": 0, "likely": likely,
            "counts": "websocket", "backend": "ebpf", "listen": ":3000", "checks": 20,
        });
        serde_json::from_value(report).unwrap()
    }

    #[test]
    fn what_is_likely_wrong_comes_after_what_is_suspected_and_before_what_cannot_be_judged() {
        let ranks = [
            ("over", Some((3, 5))),
            ("unsettled", None),
            ("agree", Some((3, 5))),
            ("blind", None),
            ("agree", Some((-3, 5))),
        ]
        .map(|(verdict, likely)| rank(&report(verdict, likely)).0);
        assert_eq!(ranks, [0, 1, 2, 3, 4]);
        let likely = report("agree", Some((-5, -3)));
        let headline = |reports: &[&TargetReport]| headline(reports.iter().copied());
        assert_eq!(headline(&[&likely]), "The gauge is likely wrong");
        let honest = report("agree", None);
        assert_eq!(
            headline(&[&likely, &honest]),
            "1 of 2 gauges is likely wrong"
        );
        let over = report("over", None);
        assert_eq!(headline(&[&likely, &over]), "1 of 2 gauges is wrong");
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(4_600), "4\u{202f}600");
        assert_eq!(count(-1_234_567), "−1\u{202f}234\u{202f}567");
        assert_eq!(count(i64::MIN).len(), "−9223372036854775808".len() + 6 * 3);
        assert_eq!(drift(Some(7)).as_deref(), Some("+7"));
        assert_eq!(drift(Some(-7)).as_deref(), Some("−7"));
        assert_eq!(band(Some(3), Some(3)).as_deref(), Some("3"));
        assert_eq!(band(Some(3), Some(5)).as_deref(), Some("3 to 5"));
        assert_eq!(band(None, Some(5)), None);
        assert_eq!(range(-3, 5), "−3 to +5");
        assert_eq!(range(0, 0), "0");
    }

    #[test]
    fn a_drift_is_the_distance_from_what_is_allowed() {
        let sure = |claim| sure(Some(claim), Some(3), Some(5));
        assert_eq!([2, 3, 4, 5, 9].map(sure), [-1, 0, 0, 0, 4].map(Some));
    }

    #[test]
    fn a_moment_of_another_day_has_its_day() {
        let now = "2026-11-22T03:16:16.470Z";
        assert_eq!(moment(now, now), "03:16:16");
        let before = moment("2026-11-21T23:59:59.999Z", now);
        assert_eq!(before, "2026-11-21 23:59:59");
    }

    #[test]
    fn spans_have_two_units() {
        let span = |seconds| span(Duration::from_secs(seconds));
        assert_eq!(span(59), "59 s");
        assert_eq!(span(61), "1 min 1 s");
        assert_eq!(span(7_265), "2 h 1 min");
        assert_eq!(span(90_000), "1 d 1 h");
        assert_eq!(seconds(0.25), "0.2 s");
        assert_eq!(seconds(61.0), "1 min 1 s");
    }
}
