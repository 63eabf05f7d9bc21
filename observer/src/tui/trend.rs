//! The last checks of a target, as they are drawn: the claim against the kernel's band.

use std::collections::VecDeque;

use crate::api::{CheckReport, TargetReport};

/// Most checks that are kept: more than a terminal has columns.
const MOST: usize = 512;

/// One check.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    /// When the claim was read, RFC 3339.
    pub(super) at: String,
    /// The claim. Unit: connections.
    pub(super) claim: Option<i64>,
    /// Fewest and most that an honest service could have claimed.
    pub(super) band: Option<(i64, i64)>,
    /// Whether nothing could be said.
    pub(super) is_blind: bool,
}

/// Where a claim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the band.
    Within(i64),
    /// Above it.
    Over,
    /// Below it.
    Under,
    /// There is no claim, or no band, or neither can be trusted.
    Unknown,
}

/// The last checks, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Trend {
    points: VecDeque<Point>,
}

impl Point {
    pub(super) fn place(&self) -> Place {
        match (self.is_blind, self.claim, self.band) {
            (false, Some(claim), Some((low, high))) => {
                if claim > high {
                    Place::Over
                } else if claim < low {
                    Place::Under
                } else {
                    Place::Within(claim)
                }
            }
            _ => Place::Unknown,
        }
    }
}

impl Trend {
    /// Remembers the checks of a history.
    pub(super) fn extend(&mut self, checks: &[CheckReport]) {
        for check in checks {
            self.push(Point {
                at: check.at.clone(),
                claim: check.claim,
                band: check.low.zip(check.high),
                is_blind: check.verdict == "blind",
            });
        }
    }

    /// Remembers the last check of a report, if it is a new one.
    pub(super) fn note(&mut self, report: &TargetReport) {
        let Some(at) = &report.checked_at else { return };
        if self.points.back().is_some_and(|last| last.at == *at) {
            return;
        }
        self.push(Point {
            at: at.clone(),
            claim: report.claim.map(|claim| claim as i64),
            band: report.low.zip(report.high),
            is_blind: report.verdict == "blind",
        });
    }

    fn push(&mut self, point: Point) {
        if self.points.len() == MOST {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }

    /// The last so many, oldest first.
    pub(super) fn last(&self, count: usize) -> impl ExactSizeIterator<Item = &Point> + Clone {
        let skip = self.points.len().saturating_sub(count);
        self.points.iter().skip(skip)
    }
}

/// One character for each check: the height of a claim in the band, or on which side of it the
/// claim is.
pub(super) fn sparkline(trend: &Trend, width: usize) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let claims = trend.last(width).filter_map(|point| point.claim);
    let (least, most) = claims.fold((i64::MAX, i64::MIN), |(least, most), claim| {
        (least.min(claim), most.max(claim))
    });
    let points = trend.last(width);
    let mark = |point: &Point| match point.place() {
        Place::Within(claim) => {
            let share = (claim.abs_diff(least)) as f64 / (most.abs_diff(least)).max(1) as f64;
            HEIGHTS[(share * 7.0).round() as usize]
        }
        Place::Over => '▲',
        Place::Under => '▼',
        Place::Unknown => '?',
    };
    points.map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Band = Option<(i64, i64)>;

    fn trend(points: &[(Option<i64>, Band)]) -> Trend {
        let mut trend = Trend::default();
        for (number, (claim, band)) in points.iter().enumerate() {
            trend.push(Point {
                at: number.to_string(),
                claim: *claim,
                band: *band,
                is_blind: false,
            });
        }
        trend
    }

    #[test]
    fn a_claim_in_the_band_is_a_height_and_outside_it_an_arrow() {
        let flat = |claim| (Some(claim), Some((claim, claim)));
        let trend = trend(&[
            flat(0),
            flat(7),
            flat(14),
            (Some(9), Some((4, 8))),
            (Some(3), Some((4, 8))),
            (None, Some((4, 8))),
            (Some(5), None),
        ]);
        assert_eq!(sparkline(&trend, 80), "▁▅█▲▼??");
        assert_eq!(sparkline(&trend, 3), "▼??");
        assert_eq!(sparkline(&trend, 0), "");
        assert_eq!(sparkline(&Trend::default(), 5), "");
    }

    #[test]
    fn extreme_claims_have_a_height_too() {
        let all = |claim| (Some(claim), Some((i64::MIN, i64::MAX)));
        let trend = trend(&[all(i64::MIN), all(0), all(i64::MAX)]);
        assert_eq!(sparkline(&trend, 80), "▁▅█");
    }

    #[test]
    fn only_so_many_checks_are_kept() {
        let many: Vec<_> = (0..2 * MOST as i64).map(|n| (Some(n), None)).collect();
        let trend = trend(&many);
        assert_eq!(trend.last(usize::MAX).len(), MOST);
        assert_eq!(trend.last(1).next().unwrap().claim, Some(1023));
    }
}
