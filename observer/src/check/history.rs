//! What the last checks of a target found, bounded: for people who look back, and for `shape`.

use std::{collections::VecDeque, time::SystemTime};

use super::{
    counts::Counts,
    interval::Interval,
    verdict::{Blind, Bounds, Finding, Verdict},
};

/// The window of a check: from `settle` before the claim was asked for until `settle` after it came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Its begin, for people.
    pub begins: SystemTime,
    /// Its end, for people.
    pub ends: SystemTime,
    /// The counts of the last sample before it began.
    pub before: Counts,
    /// The counts of the first sample after it had ended.
    pub after: Counts,
}

/// One check, as it is remembered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// When the claim was read.
    pub at: SystemTime,
    /// The claim, if there was one. Unit: connections.
    pub claim: Option<i64>,
    /// What an honest service could have said, if that is known.
    pub interval: Option<Interval>,
    /// What the kernel was asked over which time.
    pub window: Option<Window>,
    /// What came of it.
    pub finding: Finding,
    /// Connections in the accept queue, as far as they are known.
    pub waiting: u64,
    /// Open connections with HTTP responses only, as far as they are known.
    pub http: u64,
}

impl Record {
    /// The verdict.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.finding.verdict
    }

    /// What this check alone leaves of the drift.
    #[must_use]
    pub const fn own(&self) -> Option<Bounds> {
        match (self.finding.blind, self.claim, self.interval) {
            (None, Some(claim), Some(interval)) => Some(Bounds::of(claim, interval)),
            _ => None,
        }
    }

    /// Whether the service is another one from here on.
    #[must_use]
    pub const fn is_restart(&self) -> bool {
        matches!(
            self.finding.blind,
            Some(Blind::Restarted | Blind::NoNamespace | Blind::NotListening)
        )
    }
}

/// The last checks, oldest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    records: VecDeque<Record>,
}

impl History {
    /// Most checks remembered: an hour of them at the default interval of 5 s.
    pub const MOST: usize = 720;

    /// Remembers one more check, and forgets the oldest where there are too many.
    pub fn push(&mut self, record: Record) {
        if self.records.len() == Self::MOST {
            self.records.pop_front();
        }
        self.records.push_back(record);
    }

    /// The checks, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Record> + ExactSizeIterator {
        self.records.iter()
    }
}
