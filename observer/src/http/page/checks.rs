//! The last checks as a table: what the chart draws, in words.
//!
//! Checks in a row that found the same are one row, so an hour of quiet is one line.

use maud::{Markup, html};

use super::{detail::badge, words};
use crate::{
    api::rfc3339,
    check::{Interval, Record},
};

/// Most rows, the latest; the API's history has every check.
const ROWS: usize = 24;

/// Checks in a row that found the same.
#[derive(Clone, Copy)]
struct Run<'a> {
    first: &'a Record,
    count: usize,
}

pub(super) fn render(history: &[Record]) -> Markup {
    let runs = runs(history);
    html! {
        section aria-labelledby="checks-title" {
            h3 #checks-title { "What the checks found" }
            @if runs.is_empty() {
                p .note { "None was made yet: the first needs a window of its own." }
            } @else {
                table .checks {
                    thead {
                        tr {
                            th scope="col" { "From" }
                            th .number scope="col" { "Gauge" }
                            th .number scope="col" { "Kernel" }
                            th .number scope="col" { "Drift" }
                            th scope="col" { "Verdict" }
                            th .number .wide scope="col" { "Checks" }
                        }
                    }
                    tbody { @for run in runs.iter().rev().take(ROWS) { (row(run)) } }
                }
                @if runs.len() > ROWS {
                    p .note { "Earlier ones are in the history that the API has." }
                }
            }
        }
    }
}

fn row(run: &Run<'_>) -> Markup {
    let Record {
        at,
        claim,
        interval,
        finding,
        ..
    } = run.first;
    let at = rfc3339(*at);
    let (low, high) = bounds(*interval);
    let judged = claim.filter(|_| finding.blind.is_none());
    let drift = words::drift(words::sure(judged, low, high));
    html! {
        tr data-key=(at) {
            td { time datetime=(at) { (words::clock(&at)) } }
            td .number { (claim.map(words::count).unwrap_or_default()) }
            td .number { (words::band(low, high).unwrap_or_default()) }
            td .number { (drift.unwrap_or_default()) }
            td {
                (badge(finding.verdict.name()))
                @if let Some(blind) = finding.blind { " " span .reason { (blind.name()) } }
            }
            td .number .wide { (run.count) }
        }
    }
}

fn bounds(interval: Option<Interval>) -> (Option<i64>, Option<i64>) {
    (
        interval.map(|interval| interval.low),
        interval.map(|interval| interval.high),
    )
}

fn runs(history: &[Record]) -> Vec<Run<'_>> {
    let mut runs: Vec<Run<'_>> = Vec::new();
    for record in history {
        match runs.last_mut() {
            Some(run) if found_the_same(run.first, record) => run.count += 1,
            _ => runs.push(Run {
                first: record,
                count: 1,
            }),
        }
    }
    runs
}

fn found_the_same(one: &Record, other: &Record) -> bool {
    one.claim == other.claim
        && bounds(one.interval) == bounds(other.interval)
        && (one.finding.verdict, one.finding.blind) == (other.finding.verdict, other.finding.blind)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::check::{Blind, Finding};

    fn record(second: u64, claim: i64) -> Record {
        Record {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
            claim: Some(claim),
            interval: Some(Interval { low: 3, high: 5 }),
            window: None,
            finding: Finding::blind(Blind::NotSeeded),
            waiting: 0,
            http: 0,
        }
    }

    #[test]
    fn checks_that_found_the_same_are_one_row() {
        let history = [4, 4, 4, 9, 4].map(|claim| record(0, claim));
        let runs = runs(&history);
        let runs: Vec<_> = runs
            .iter()
            .map(|run| (run.first.claim, run.count))
            .collect();
        assert_eq!(runs, [(Some(4), 3), (Some(9), 1), (Some(4), 1)]);
    }

    #[test]
    fn the_latest_are_first_and_the_oldest_left_out() {
        let history: Vec<_> = (0..60).map(|at| record(at, at.cast_signed())).collect();
        let table = render(&history).into_string();
        assert_eq!(table.matches("<tr data-key").count(), ROWS);
        let place = |second| table.find(&format!("00:00:{second}<"));
        assert!(place(59).is_some() && place(59) < place(40));
        assert_eq!(place(35), None);
        assert!(table.contains("Earlier ones"));
        // What is blind has no drift, whatever the numbers are.
        assert!(!table.contains('+'), "{table}");
    }
}
