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

/// By how much the counts may be off although they add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Sockets that the counts may lack, or have too many: events that the programs were not shown.
    pub missing: u64,
    /// Sockets that the counts have as another kind, and that may be of this one.
    pub unseen: u64,
    /// Sockets that are no connections of their own, but further subflows of one (MPTCP, RFC 8684).
    pub subflows: u64,
}

impl Interval {
    /// The interval for a claim that was read between `settle` after `before` and `settle` before
    /// `after`.
    ///
    /// The fewest is what was open all through the window: what had opened before it, less what
    /// showed any sign of an end until after it. Of those that ended, `young` had surely opened only
    /// within it, and take nothing off. At the most, everything that opens until later is counted
    /// already and only what had closed for good is not.
    ///
    /// What waits in the accept queue lowers the fewest and not the most: some of it may have been
    /// aborted there, and is among the closed already. Taken off twice, it would make an honest
    /// claim look like too much.
    ///
    /// What the service had closed before the window, and the kernel not until it ended, is in
    /// neither.
    #[must_use]
    pub fn between(before: &Sample, after: &Sample, young: u64) -> Self {
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
        let stayed = difference(opened, later.ended) + young.cast_signed();
        let low = (stayed - lost - waiting.cast_signed()).max(0);
        let high = difference(later.opened, closed) + doubtful - later.orphans.cast_signed();
        Self {
            low,
            high: high.max(low),
        }
    }

    /// The interval for a claim that counts only some of the connections: none of them at the fewest.
    #[must_use]
    pub const fn at_most(self) -> Self {
        Self { low: 0, ..self }
    }

    /// The same, where the counts may be off.
    ///
    /// A missed opening is one that the claim may have and the counts lack. It takes nothing off the
    /// fewest: whatever became of it, an honest claim has it or not. A missed end is one that the
    /// counts have and the claim may lack; it adds nothing to the most, which had it before. Which
    /// of the two an event was that nobody saw is not known.
    ///
    /// Subflows take off the fewest alone: which of them were open when the window began is not known.
    #[must_use]
    pub fn with(self, allowance: Allowance) -> Self {
        let [missing, unseen, subflows] = [allowance.missing, allowance.unseen, allowance.subflows]
            .map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        Self {
            low: self
                .low
                .saturating_sub(missing)
                .saturating_sub(subflows)
                .max(0),
            high: self.high.saturating_add(missing).saturating_add(unseen),
        }
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
