//! The lag of a service, learnt, and the drift that is likely with it: a weaker word than the sure
//! one of `evidence`, which it never contradicts and never becomes.
//!
//! The sure bounds allow every connection its own lag within ± `settle`. A service's lags are what
//! they are, though, and its claims tell: they follow the fluctuation of the kernel's own counts. At
//! the lags that explain the claims best, what is left of them varies least (`lags` keeps the sums),
//! and its mean is the drift, or nearly.
//!
//! # How far it may be off
//!
//! What is left of an honest claim at any pair of lags is a sum over connections, and of each a whole
//! number c: what the service counts of it less what the kernel's count at these lags does. If
//! connections come no more regularly than by chance (Poisson, or in bursts), its variance is at least
//! E Σ c², which is at least E Σ |c|, as c is whole, which is at least |E Σ c|: **an honest service is
//! off by no more than the variance**, whatever the distribution of its lags is, on one side or on
//! both. This is where "the smallest settle without contradiction" fails: a service that counts one
//! closing in ten half a second late is best explained by no lag and a drift of Σ c, and the variance
//! of a drift is none. Between two samples the kernel's count is a share of what came between them,
//! and c is not whole: |c| is then above c² by at most the variance of that share, which is added.
//!
//! Connections that come like clockwork vary less than by chance. Then all lags explain the claims
//! nearly as well, and the bounds hold what each of them leaves: no pair of lags is left out unless it
//! varies clearly more than the best. The bounds are the wider of both, with standard errors of checks
//! of which every two count as one, since lags longer than the pause between two of them make them
//! alike.
//!
//! # What it does not know
//!
//! - What may be counted or not (of unknown kind, held, in the accept queue) widens the bounds.
//! - It says what the drift was on average over the checks that it remembers: of one that grows, less
//!   than it is now. One that changed by so much that the sure bounds show it is learnt anew.
//! - In even traffic a spread of lags and a drift within its variance are alike: that information is
//!   not there, and the bounds are wide.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use super::{
    counts::{Counts, Samples},
    evidence::Evidence,
    interval::Allowance,
    lags::{Cell, Curve, Grid, Sums},
    verdict::{Bounds, Finding},
};

/// What the recent claims say of a service's lag, and of its drift.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likely {
    /// The drift that is likeliest. Unit: connections.
    pub drift: i64,
    /// Within which it likely is, and surely not outside of the sure ones.
    pub bounds: Bounds,
    /// How late the service counts; none where nearly any lag explains the claims.
    pub lag: Option<Lag>,
    /// The shortest time within which lags explain the claims nearly as well as any: where requests are
    /// so short that opening and closing are one, that is none, although the lag is not known.
    pub within: Duration,
    /// Of how many checks.
    pub checks: u32,
}

/// How late a service counts, after the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Openings.
    pub openings: Duration,
    /// Closings: after the first sign of the end.
    pub closings: Duration,
}

impl Lag {
    /// The longer of both.
    #[must_use]
    pub fn longest(self) -> Duration {
        self.openings.max(self.closings)
    }
}

/// Connections of which it is not known whether an honest claim has them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slack {
    /// It may have them, and the counts of opened less ended do not.
    over: f64,
    /// It may lack them, and the counts do not.
    under: f64,
}

impl Slack {
    /// What is unsure by the counts at the end of a window. `held` are the connections that are
    /// closing for longer than `settle` and that the service has not closed.
    #[must_use]
    pub fn of(counts: &Counts, allowance: Allowance, held: u64) -> Self {
        let lost = counts.lost_entered.saturating_sub(counts.lost_left);
        let over = counts.doubtful() + held + allowance.unseen + allowance.missing;
        let under = lost + counts.waiting + allowance.missing + allowance.subflows;
        Self {
            over: over as f64,
            under: under as f64,
        }
    }
}

/// A claim with what the kernel counted around it.
#[derive(Clone, Copy, Debug)]
pub struct Claimed<'a> {
    /// What the service said. Unit: connections.
    pub claim: i64,
    /// When, as nearly as it is known: the middle of the scrape.
    pub moment: Instant,
    /// What the kernel counted, from `settle` before until after.
    pub samples: &'a Samples,
    /// What is unsure of it.
    pub slack: Slack,
}

/// Learns the lag of one service from its checks.
#[derive(Clone, Debug)]
pub struct Learner {
    settle: Duration,
    grid: Grid,
    /// Of all checks that are remembered; none before the first.
    all: Option<Batch>,
    /// Of the newer of them, which are all that stays when there are too many.
    newer: Option<Batch>,
    last: Option<Instant>,
    /// Which cell explains the claims best, but for what lies between the samples.
    nearest: Option<Cell>,
}

#[derive(Clone, Debug)]
struct Batch {
    began: Instant,
    sums: Sums,
    slack: Slack,
}

impl Batch {
    fn none(grid: &Grid, began: Instant) -> Self {
        Self {
            began,
            sums: Sums::none(grid),
            slack: Slack::default(),
        }
    }

    fn add(&mut self, curve: &Curve, slack: Slack) {
        self.sums.add(curve);
        self.slack.over += slack.over;
        self.slack.under += slack.under;
    }
}

impl Learner {
    /// Checks that are forgotten together: at least so many are remembered, and at most twice as many.
    const BATCH: u32 = 300;
    /// Fewer say nothing.
    const LEAST: u32 = 20;
    /// Standard errors that are allowed for.
    const ERRORS: f64 = 5.0;
    /// The variance of a claim that is whole, where the service's is exact: what is not clearly worse.
    const WHOLE: f64 = 1.0;
    /// Most services are no later than this.
    const QUICK: Duration = Duration::from_millis(60);

    /// Learns lags of up to `settle`.
    #[must_use]
    pub fn new(settle: Duration) -> Self {
        Self {
            settle,
            grid: Grid::up_to(settle),
            all: None,
            newer: None,
            last: None,
            nearest: None,
        }
    }

    /// What was learnt no longer holds.
    pub fn clear(&mut self) {
        (self.all, self.newer, self.last, self.nearest) = (None, None, None, None);
    }

    /// The lags at which it is worth to know the kernel's counts closely: where the service's seem to be,
    /// up to the next ones on the grid, and before anything is known, where most services' are.
    #[must_use]
    pub fn nearest_lags(&self) -> Vec<RangeInclusive<Duration>> {
        let lags = self.grid.lags();
        let Some(Cell {
            opening, closing, ..
        }) = self.nearest
        else {
            return vec![Duration::ZERO..=Self::QUICK.min(self.settle)];
        };
        let around = |index: usize| {
            let next = (index + 1).min(lags.len() - 1);
            lags[index.saturating_sub(1)]..=lags[next]
        };
        vec![around(opening), around(closing)]
    }

    /// Learns from a check and what was found at it, and says what is likely; nothing where nothing
    /// was weighed, or too little is known.
    pub fn note(&mut self, finding: &Finding, claimed: Option<&Claimed>) -> Option<Likely> {
        if finding.blind.is_some_and(|reason| reason.voids_evidence()) {
            self.clear();
        }
        let sure = finding.drift.filter(|_| finding.is_weighed())?;
        self.learn(claimed?);
        let likely = self.likely()?;
        self.nearest = self.nearest();
        let Some(bounds) = likely.bounds.and(sure) else {
            // The drift has changed.
            self.clear();
            return None;
        };
        Some(Likely {
            bounds,
            drift: likely.drift.clamp(bounds.low, bounds.high),
            ..likely
        })
    }

    /// Checks that are nearer to each other than half of `settle` say the same: one of them counts.
    fn learn(&mut self, claimed: &Claimed) {
        let now = claimed.moment;
        let is_near = |last| now.saturating_duration_since(last) < self.settle / 2;
        if self.last.is_some_and(is_near) {
            return;
        }
        let Claimed { claim, samples, .. } = *claimed;
        let Some(curve) = Curve::of(&self.grid, claim, now, samples) else {
            return;
        };
        self.last = Some(now);
        let is_full = |newer: &Batch| {
            newer.sums.checks() >= Self::BATCH
                || now.saturating_duration_since(newer.began) > Evidence::MEMORY / 2
        };
        if self.newer.as_ref().is_some_and(is_full) {
            self.all = self.newer.take();
        }
        for batch in [&mut self.all, &mut self.newer] {
            batch
                .get_or_insert_with(|| Batch::none(&self.grid, now))
                .add(&curve, claimed.slack);
        }
    }

    /// The cell that leaves least unexplained, if what lies between the samples were known.
    fn nearest(&self) -> Option<Cell> {
        let unexplained = |cell: &Cell| cell.variance - cell.between;
        let less = |one: Cell, other: Cell| match unexplained(&other) < unexplained(&one) {
            true => other,
            false => one,
        };
        self.all.as_ref()?.sums.cells().reduce(less)
    }

    /// What the checks say by themselves.
    fn likely(&self) -> Option<Likely> {
        let Batch { sums, slack, .. } = self.all.as_ref()?;
        if sums.checks() < Self::LEAST {
            return None;
        }
        let least = |best: Cell, cell: Cell| match cell.variance < best.variance {
            true => cell,
            false => best,
        };
        let best = sums.cells().reduce(least)?;
        let checks = f64::from(sums.checks());
        // Every two checks count as one.
        let independent = checks / 2.0;
        let error = |variance: f64| Self::ERRORS * (variance / independent).sqrt();
        let of_mean = error(best.variance);
        // By chance the fourth moment is σ² + 3 σ⁴.
        let of_variance = error(best.variance + 2.0 * best.variance * best.variance);
        let farthest = best.variance + best.between + of_variance;
        let (mut low, mut high) = (best.mean - farthest, best.mean + farthest);
        let worst = best.variance + of_variance + Self::WHOLE;
        let mut is_known = true;
        let mut nearest = usize::MAX;
        let last = self.grid.lags().len() - 1;
        for cell in sums.cells().filter(|cell| cell.variance <= worst) {
            (low, high) = (low.min(cell.mean), high.max(cell.mean));
            nearest = nearest.min(cell.opening.max(cell.closing));
            is_known &= cell.opening < last && cell.closing < last;
        }
        let lag = |index: usize| self.grid.lags()[index];
        Some(Likely {
            drift: best.mean.round() as i64,
            bounds: Bounds {
                low: floor(low - of_mean - slack.over / checks),
                high: -floor(-(high + of_mean + slack.under / checks)),
            },
            lag: is_known.then(|| Lag {
                openings: lag(best.opening),
                closings: lag(best.closing),
            }),
            within: lag(nearest),
            checks: sums.checks(),
        })
    }
}

/// The next whole number below, where it is not one but for the error of a float.
fn floor(value: f64) -> i64 {
    const FUZZ: f64 = 1e-6;
    (value + FUZZ).floor() as i64
}
