//! Counts of one kind of connection, and samples of them over time.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Monotonic counts of the connections that a gauge claims to count.
///
/// Unit: connections since the witness began. Each is a lower bound of the true count when the read
/// ended and an upper bound when it began, whatever the machine did meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections of any kind that were opened; decides nothing, and tells causes apart.
    pub arrived: u64,
    /// Opened: for WebSockets, upgraded.
    pub opened: u64,
    /// Showed the earliest sign of their end.
    pub ended: u64,
    /// Showed the last sign of their end: CLOSE.
    pub closed: u64,
    /// Sockets that may or may not be of this kind became so.
    pub doubtful_entered: u64,
    /// Sockets that were doubtful and are no longer.
    pub doubtful_left: u64,
    /// Connections whose end may have been missed became so.
    pub lost_entered: u64,
    /// Connections whose end may have been missed, and are known again.
    pub lost_left: u64,
    /// Connections in the accept queue, which the service cannot know yet, as measured after
    /// `opened` was read; 0 where the gauge counts them.
    pub waiting: u64,
}

/// Counts with the time that it took to read them.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Before the first count was read.
    pub began: Instant,
    /// After the last count was read.
    pub finished: Instant,
    /// What was read.
    pub counts: Counts,
}

/// The samples of the last while, oldest first.
#[derive(Clone, Debug)]
pub struct Samples {
    samples: VecDeque<Sample>,
    keep: Duration,
}

impl Samples {
    /// Most samples kept: at one every 100 ms, 10 minutes.
    const MOST: usize = 6_000;

    /// Keeps samples for at least `keep`, up to a bound on their number.
    #[must_use]
    pub const fn new(keep: Duration) -> Self {
        Self {
            samples: VecDeque::new(),
            keep,
        }
    }

    /// Adds the newest sample and forgets those that are too old.
    ///
    /// One of those stays: after a pause in sampling it is the only one before a window, which is
    /// wider with it and could not be decided without.
    pub fn push(&mut self, sample: Sample) {
        while let Some(second) = self.samples.get(1)
            && (sample.began.duration_since(second.finished) > self.keep
                || self.samples.len() >= Self::MOST)
        {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// Forgets everything: what was counted before no longer adds up with what is counted from now.
    pub fn clear(&mut self) {
        self.samples.clear();
    }

    /// The last sample that was complete by `moment`.
    #[must_use]
    pub fn before(&self, moment: Instant) -> Option<&Sample> {
        let behind = self
            .samples
            .partition_point(|sample| sample.finished <= moment);
        self.samples.get(behind.checked_sub(1)?)
    }

    /// The first sample that was begun at `moment` or later.
    #[must_use]
    pub fn after(&self, moment: Instant) -> Option<&Sample> {
        let behind = self.samples.partition_point(|sample| sample.began < moment);
        self.samples.get(behind)
    }

    /// The newest sample.
    #[must_use]
    pub fn last(&self) -> Option<&Sample> {
        self.samples.back()
    }
}
