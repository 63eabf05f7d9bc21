//! The fewest and the most connections that an honest service can claim at some moment of a window.

use super::counts::{Counts, Sample};

/// What an honest service can say, both ends included.
///
/// Honest is a service that counts every opening and every closing within `settle` of the kernel,
/// before or after it, and not always by the same amount. The extremes of the *open* count in the
/// window are no bound then: at 5,000 connections a second and a decrement that trails by half a
/// second the honest claim is 2,500 above a count that does not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Fewest. Unit: connections; never negative.
    pub low: i64,
    /// Most. Unit: connections.
    pub high: i64,
}

impl Interval {
    /// The interval for a claim that was read between `settle` after `before` and `settle` before
    /// `after`.
    ///
    /// At the fewest, everything that opened since is not counted yet and everything that showed
    /// any sign of an end until later is no longer counted. At the most, everything that opens
    /// until later is counted already and only what had closed for good is not.
    ///
    /// What waits in the accept queue lowers the fewest and not the most: some of it may have been
    /// aborted there, and is among the closed already. Taken off twice, it would make an honest
    /// claim look like too much.
    #[must_use]
    pub fn between(before: &Sample, after: &Sample) -> Self {
        let Counts {
            opened,
            closed,
            doubtful_left,
            lost_left,
            waiting,
            ..
        } = before.counts;
        let later = after.counts;
        let lost = difference(later.lost_entered, lost_left);
        let doubtful = difference(later.doubtful_entered, doubtful_left);
        let low = difference(opened, later.ended) - lost - waiting.cast_signed();
        let high = difference(later.opened, closed) + doubtful;
        Self {
            low: low.max(0),
            high: high.max(0),
        }
    }

    /// The interval for a claim that counts only some of the connections: none of them at the fewest.
    #[must_use]
    pub const fn at_most(self) -> Self {
        Self { low: 0, ..self }
    }

    /// How many connections it leaves open. 0 where nothing opened or closed.
    #[must_use]
    pub const fn width(&self) -> i64 {
        self.high - self.low
    }
}

/// The difference of two counts that were read at different times: it may be negative.
const fn difference(more: u64, less: u64) -> i64 {
    more.wrapping_sub(less).cast_signed()
}
