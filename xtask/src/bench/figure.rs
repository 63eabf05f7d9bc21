//! Figures: rounds as median and range, ratios with their goals.
//!
//! It knows nothing of what is measured.

use std::fmt;

/// What rounds came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    /// The middle one; of an even number, the mean of the two.
    pub(super) median: f64,
    /// The least of all.
    pub(super) least: f64,
    /// The greatest of all.
    pub(super) most: f64,
}

impl Spread {
    /// Of rounds; not a number where there are none.
    pub(super) fn of(rounds: &[f64]) -> Self {
        let at = in_order(rounds);
        let count = rounds.len();
        Self {
            median: f64::midpoint(at(count.saturating_sub(1) / 2), at(count / 2)),
            least: at(0),
            most: at(count.saturating_sub(1)),
        }
    }

    /// Of each round's quotient.
    pub(super) fn of_ratios(rounds: &[f64], peers: &[f64]) -> Self {
        Self::of(&quotients(rounds, peers))
    }

    /// Where the median of endless rounds would be, with a confidence of 95 %: between two of the
    /// sorted rounds, whatever their distribution (binomial, by its normal approximation).
    pub(super) fn median_within(rounds: &[f64]) -> (f64, f64) {
        let at = in_order(rounds);
        let count = rounds.len() as f64;
        let rank = ((count - 1.96 * count.sqrt()) / 2.0).floor().max(1.0);
        let below = rank as usize - 1;
        (at(below), at(rounds.len().saturating_sub(1 + below)))
    }

    /// From the least to the greatest.
    pub(super) fn width(&self) -> f64 {
        self.most - self.least
    }
}

/// The rounds by their place from the least to the greatest; beyond them, not a number.
fn in_order(rounds: &[f64]) -> impl Fn(usize) -> f64 {
    let mut rounds = rounds.to_vec();
    rounds.sort_by(f64::total_cmp);
    move |index| rounds.get(index).copied().unwrap_or(f64::NAN)
}

/// Each round's quotient.
pub(super) fn quotients(rounds: &[f64], peers: &[f64]) -> Vec<f64> {
    let quotients = rounds.iter().zip(peers).map(|(round, peer)| round / peer);
    quotients.collect()
}

impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            median,
            least,
            most,
        } = self;
        write!(
            out,
            "**{}** ({}–{})",
            short(*median),
            short(*least),
            short(*most)
        )
    }
}

/// A number with three significant digits, or all of an integer's.
pub(super) fn short(number: f64) -> String {
    let digits = match number.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.1 => 3,
        _ => 4,
    };
    format!("{number:.digits$}")
}

/// What a ratio shall be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Goal {
    /// Less is better.
    AtMost(f64),
    /// More is better.
    AtLeast(f64),
}

impl Goal {
    /// Whether a value is as good as that.
    pub(super) fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    /// By how much one value is worse than another: negative if it is better.
    pub(super) fn worsening(self, from: f64, to: f64) -> f64 {
        match self {
            Self::AtMost(_) => to - from,
            Self::AtLeast(_) => from - to,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(out, "≤ {}", short(*most)),
            Self::AtLeast(least) => write!(out, "≥ {}", short(*least)),
        }
    }
}

/// One figure against its peer or its limit.
#[derive(Debug, Clone)]
pub(super) struct Ratio {
    /// What it is, as the record has it.
    pub(super) name: &'static str,
    /// What the rounds came to.
    pub(super) spread: Spread,
    /// What it shall be.
    pub(super) goal: Goal,
}

impl Ratio {
    /// A ratio with its goal.
    pub(super) fn new(name: &'static str, spread: Spread, goal: Goal) -> Self {
        Self { name, spread, goal }
    }

    /// Whether the median is as good as the goal.
    pub(super) fn is_met(&self) -> bool {
        self.goal.is_met_by(self.spread.median)
    }
}

/// The table of ratios with their goals.
pub(super) fn render_ratios(ratios: &[Ratio]) -> String {
    let mut text = "| ratio | median (least–most) | goal | |\n|---|---|---|---|\n".to_owned();
    for ratio in ratios {
        let met = if ratio.is_met() { "met" } else { "**missed**" };
        let Ratio { name, spread, goal } = ratio;
        text += &format!("| {name} | {spread} | {goal} | {met} |\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_between_the_least_and_the_most() {
        let spread = Spread::of(&[4.0, 1.0, 2.0, 3.0]);
        assert_eq!((spread.least, spread.median, spread.most), (1.0, 2.5, 4.0));
        let one = Spread::of(&[7.0]);
        assert_eq!((one.least, one.median, one.most), (7.0, 7.0, 7.0));
        assert!(Spread::of(&[]).median.is_nan());
    }

    #[test]
    fn a_ratio_is_taken_in_each_round() {
        let spread = Spread::of_ratios(&[2.0, 30.0], &[1.0, 10.0]);
        assert_eq!((spread.least, spread.most), (2.0, 3.0));
    }

    #[test]
    fn the_median_lies_between_two_rounds() {
        let rounds: Vec<f64> = (1..=41).rev().map(f64::from).collect();
        assert_eq!(Spread::median_within(&rounds), (14.0, 28.0));
        assert_eq!(Spread::median_within(&[7.0, 5.0]), (5.0, 7.0));
        assert!(Spread::median_within(&[]).0.is_nan());
    }

    #[test]
    fn no_number_meets_no_goal() {
        assert!(!Goal::AtMost(1.0).is_met_by(f64::NAN));
        assert!(!Goal::AtLeast(1.0).is_met_by(f64::NAN));
        assert!(Goal::AtMost(1.0).is_met_by(1.0));
    }

    #[test]
    fn worse_is_more_or_less_by_the_goal() {
        assert_eq!(Goal::AtMost(9.0).worsening(1.0, 3.0), 2.0);
        assert_eq!(Goal::AtLeast(9.0).worsening(1.0, 3.0), -2.0);
    }
}
