//! What the last checks of a target found, bounded: for people who look back, and for `shape`.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use super::{
    counts::Counts,
    interval::{Allowance, Interval},
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
    /// By how much they may be off.
    pub allowance: Allowance,
}

/// What makes an interval wide, with how many connections or events there were of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Widening {
    /// Connections came and went within the window.
    Churn(u64),
    /// Connections that may or may not be of the kind that is counted.
    Unclassified(u64),
    /// Connections whose peer has gone, and which are not closed.
    Closing(u64),
    /// Events that the programs were not shown.
    Missing(u64),
    /// Sockets that are no connections of their own.
    Subflows(u64),
}

impl Window {
    /// What makes the interval of this window wide: the greatest of its causes.
    #[must_use]
    pub fn widening(&self) -> Widening {
        let (before, after) = (&self.before, &self.after);
        let Allowance {
            missing,
            unseen,
            subflows,
        } = self.allowance;
        let opened = after.opened.saturating_sub(before.opened);
        let ended = after.ended.saturating_sub(before.ended);
        let doubtful = after.doubtful_entered.saturating_sub(before.doubtful_left);
        let closing = before.ended.saturating_sub(before.closed);
        let causes = [
            (opened + ended, Widening::Churn(opened + ended)),
            (doubtful + unseen, Widening::Unclassified(doubtful + unseen)),
            (closing, Widening::Closing(closing)),
            (2 * missing, Widening::Missing(missing)),
            (subflows, Widening::Subflows(subflows)),
        ];
        let [first, rest @ ..] = causes;
        let greater = |most: (u64, Widening), other: (u64, Widening)| match other.0 > most.0 {
            true => other,
            false => most,
        };
        rest.into_iter().fold(first, greater).1
    }

    /// How long it is.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.ends.duration_since(self.begins).unwrap_or_default()
    }
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
    /// Open connections with HTTP responses only, as far as they are known, where those are not to be
    /// counted.
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
        match (self.finding.is_weighed(), self.claim, self.interval) {
            (true, Some(claim), Some(interval)) => Some(Bounds::of(claim, interval)),
            _ => None,
        }
    }

    /// Whether the service was not there.
    const fn is_absence(&self) -> bool {
        matches!(
            self.finding.blind,
            Some(Blind::TargetDown | Blind::NoNamespace | Blind::NotListening)
        )
    }

    /// Whether the service is another one from here on, if there was one before.
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
    was_absent: bool,
    origin: Option<Origin>,
}

/// The first check ever that compared something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// What it left of the drift by itself.
    pub(super) own: Bounds,
    /// Whether the service was there from the first look on, before the observer.
    pub(super) was_there: bool,
}

impl History {
    /// Most checks remembered: an hour of them at the default interval of 5 s.
    pub const MOST: usize = 720;

    /// Remembers one more check, and forgets the oldest where there are too many.
    pub fn push(&mut self, record: Record) {
        if self.records.len() == Self::MOST {
            self.records.pop_front();
        }
        self.was_absent |= record.is_absence();
        let was_there = !self.was_absent;
        self.origin = self
            .origin
            .or_else(|| record.own().map(|own| Origin { own, was_there }));
        self.records.push_back(record);
    }

    /// The first check ever that compared something, however long ago.
    pub(super) const fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// The checks, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Record> + ExactSizeIterator {
        self.records.iter()
    }
}
