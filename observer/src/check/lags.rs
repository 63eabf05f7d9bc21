//! Which lags explain what a service says: sums over its checks, for every pair of a lag of openings
//! and a lag of closings on a grid. What follows from them is `likely`'s.
//!
//! With the kernel's counts O and C and a claim a that was read at t, a cell of the grid keeps what is
//! left of the claim if openings are counted u late and closings v late: a − (O(t − u) − C(t − v)).
//! Its mean and variance come of sums that are separable but for one, so that a check costs one
//! multiplication a cell, and nothing is kept of the check itself.

use std::time::{Duration, Instant};

use super::counts::Samples;

/// The lags that are tried, ascending: every millisecond to 50 ms, and from there in steps of a sixth.
///
/// A lag between two of them costs sharpness, and no soundness: what it leaves unexplained is in the
/// variance.
#[derive(Clone, Debug)]
pub(super) struct Grid(Vec<Duration>);

impl Grid {
    /// Most lags: 50 and six for every doubling, of up to an hour.
    const MOST: usize = 128;
    const FINE: Duration = Duration::from_millis(1);
    const FINE_UNTIL: Duration = Duration::from_millis(50);

    /// The lags up to `longest`.
    pub(super) fn up_to(longest: Duration) -> Self {
        let mut lags = vec![Duration::ZERO];
        let mut lag = Duration::ZERO;
        while lag < longest && lags.len() < Self::MOST {
            lag = match lag < Self::FINE_UNTIL {
                true => lag + Self::FINE,
                false => lag + lag / 6,
            };
            lag = lag.min(longest);
            lags.push(lag);
        }
        Self(lags)
    }

    pub(super) fn lags(&self) -> &[Duration] {
        &self.0
    }
}

/// What the kernel's counts say of one check, at every lag.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    /// By lag: claim less what the kernel has open at no lag, and what opened within the lag.
    openings: Vec<Point>,
    /// By lag: what ended within it.
    closings: Vec<Point>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    count: f64,
    /// Variance of what lies between two samples: see [`Samples::at`].
    between: f64,
}

impl Curve {
    /// The curve of a claim that was read at `moment`; none where the samples do not reach that far.
    pub(super) fn of(grid: &Grid, claim: i64, moment: Instant, samples: &Samples) -> Option<Self> {
        let now = samples.at(moment)?;
        let mut curve = Self {
            openings: Vec::with_capacity(grid.0.len()),
            closings: Vec::with_capacity(grid.0.len()),
        };
        // Near to 0, where a float is exact.
        let rest = claim as f64 - (now.opened.count - now.ended.count);
        for lag in grid.lags() {
            let then = samples.at(moment.checked_sub(*lag)?)?;
            curve.openings.push(Point {
                count: rest + now.opened.count - then.opened.count,
                between: then.opened.between,
            });
            curve.closings.push(Point {
                count: now.ended.count - then.ended.count,
                between: then.ended.between,
            });
        }
        Some(curve)
    }
}

/// Sums of one lag over the checks.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    counts: f64,
    squares: f64,
    between: f64,
}

impl Sum {
    fn add(&mut self, point: Point) {
        self.counts += point.count;
        self.squares += point.count * point.count;
        self.between += point.between;
    }
}

/// The sums over some checks.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    checks: u32,
    openings: Vec<Sum>,
    closings: Vec<Sum>,
    /// Products, by the lag of openings and then of closings.
    both: Vec<f64>,
}

/// What is left of the claims at one pair of lags.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// Index of the lag of openings in the grid.
    pub(super) opening: usize,
    /// Index of the lag of closings.
    pub(super) closing: usize,
    /// Mean of what is left. Unit: connections.
    pub(super) mean: f64,
    /// Its variance. Unit: connections².
    pub(super) variance: f64,
    /// The part of the variance that lies between the samples: see [`Samples::at`].
    pub(super) between: f64,
}

impl Sums {
    /// Of no check.
    pub(super) fn none(grid: &Grid) -> Self {
        let lags = grid.0.len();
        Self {
            checks: 0,
            openings: vec![Sum::default(); lags],
            closings: vec![Sum::default(); lags],
            both: vec![0.0; lags * lags],
        }
    }

    pub(super) const fn checks(&self) -> u32 {
        self.checks
    }

    pub(super) fn add(&mut self, curve: &Curve) {
        self.checks += 1;
        for (sum, point) in self.openings.iter_mut().zip(&curve.openings) {
            sum.add(*point);
        }
        for (sum, point) in self.closings.iter_mut().zip(&curve.closings) {
            sum.add(*point);
        }
        let rows = self.both.chunks_exact_mut(curve.closings.len());
        for (row, opening) in rows.zip(&curve.openings) {
            for (product, closing) in row.iter_mut().zip(&curve.closings) {
                *product += opening.count * closing.count;
            }
        }
    }

    /// Every cell of the grid; of one check there is no variance.
    pub(super) fn cells(&self) -> impl Iterator<Item = Cell> {
        let checks = f64::from(self.checks);
        let rows = self.both.chunks_exact(self.closings.len());
        let rows = rows.zip(&self.openings).enumerate();
        rows.flat_map(move |(opening, (row, of_opening))| {
            let row = row.iter().zip(&self.closings).enumerate();
            row.map(move |(closing, (product, of_closing))| {
                let mean = (of_opening.counts - of_closing.counts) / checks;
                let squares = of_opening.squares - 2.0 * product + of_closing.squares;
                let variance = (squares - checks * mean * mean) / (checks - 1.0);
                Cell {
                    opening,
                    closing,
                    mean,
                    variance: variance.max(0.0),
                    between: (of_opening.between + of_closing.between) / checks,
                }
            })
        })
    }
}
