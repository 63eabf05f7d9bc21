//! The last checks of a target as a small picture: the claim over what the kernel allows.
//!
//! It repeats what stands beside it in words, and is hidden from those who are read to.

use std::fmt::Write as _;

use maud::{Markup, html};

use crate::check::Record;

/// Its size, in units of its own.
const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 24.0;
/// Most checks in it, the latest.
const CHECKS: usize = 120;

pub(super) fn render(history: &[Record]) -> Markup {
    let (band, claim) = paths(&history[history.len().saturating_sub(CHECKS)..]);
    html! {
        svg .sparkline viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } aria-hidden="true" {
            path .band d=(band) {}
            path .claim d=(claim) {}
        }
    }
}

/// What the kernel allows as an outline, and the claim as a line; each with gaps where it is unknown.
fn paths(checks: &[Record]) -> (String, String) {
    let numbers = |check: &Record| {
        let interval = check.interval.map(|interval| [interval.low, interval.high]);
        interval.into_iter().flatten().chain(check.claim)
    };
    let all = || checks.iter().flat_map(numbers);
    let (least, most) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
    let scale = (HEIGHT - 4.0) / (most.saturating_sub(least)).max(1) as f64;
    let y = |number: i64| HEIGHT - 2.0 - (number.saturating_sub(least)) as f64 * scale;
    let step = WIDTH / checks.len().max(1) as f64;

    let (mut band, mut claim) = (String::new(), String::new());
    for (index, check) in checks.iter().enumerate() {
        let left = index as f64 * step;
        if let Some(interval) = check.interval {
            // Where both are one number it is still to be seen.
            let (top, bottom) = (y(interval.high) - 0.75, y(interval.low) + 0.75);
            let height = bottom - top;
            let _ = write!(
                band,
                "M{left:.1} {top:.1}h{step:.2}v{height:.1}h-{step:.2}z"
            );
        }
        if let Some(number) = check.claim {
            let _ = write!(claim, "M{left:.1} {:.1}h{step:.2}", y(number));
        }
    }
    (band, claim)
}
