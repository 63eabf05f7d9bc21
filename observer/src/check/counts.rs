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
    /// Sockets that closed and had sent bytes of which the witness saw none; decides nothing by
    /// itself.
    pub unheard_closed: u64,
    /// Connections in the accept queue, which the service cannot know yet, as measured after
    /// `opened` was read; 0 where the gauge counts them.
    pub waiting: u64,
    /// Connections that are open by these counts, and that an honest service has long ceased to
    /// count: see `closing`. Known at the end of a window only.
    pub orphans: u64,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: &Self) -> Self {
        Self {
            arrived: self.arrived.wrapping_add(other.arrived),
            opened: self.opened.wrapping_add(other.opened),
            ended: self.ended.wrapping_add(other.ended),
            closed: self.closed.wrapping_add(other.closed),
            doubtful_entered: self.doubtful_entered.wrapping_add(other.doubtful_entered),
            doubtful_left: self.doubtful_left.wrapping_add(other.doubtful_left),
            lost_entered: self.lost_entered.wrapping_add(other.lost_entered),
            lost_left: self.lost_left.wrapping_add(other.lost_left),
            unheard_closed: self.unheard_closed.wrapping_add(other.unheard_closed),
            waiting: self.waiting.wrapping_add(other.waiting),
            orphans: self.orphans.wrapping_add(other.orphans),
        }
    }

    /// The same connections, of which each may or may not be the service's.
    #[must_use]
    pub const fn all_doubtful(self) -> Self {
        Self {
            arrived: self.arrived,
            opened: 0,
            ended: 0,
            closed: 0,
            doubtful_entered: self.doubtful_entered.wrapping_add(self.opened),
            doubtful_left: self.doubtful_left.wrapping_add(self.closed),
            lost_entered: 0,
            lost_left: 0,
            ..self
        }
    }

    /// Opened and not closed for good.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }

    /// Sockets that may or may not be of this kind.
    #[must_use]
    pub const fn doubtful(&self) -> u64 {
        self.doubtful_entered.saturating_sub(self.doubtful_left)
    }

    /// Whether there was never any connection, of whatever kind.
    #[must_use]
    pub const fn was_never_opened(&self) -> bool {
        self.arrived == 0
    }
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

impl Sample {
    /// When it was taken, as nearly as that is known.
    fn moment(&self) -> Instant {
        self.began + self.finished.saturating_duration_since(self.began) / 2
    }
}

/// What had opened and ended at a moment: a sample that says no more, and costs less.
#[derive(Clone, Copy, Debug)]
pub struct Glance {
    /// When, as nearly as that is known.
    pub at: Instant,
    /// Opened.
    pub opened: u64,
    /// Showed the earliest sign of their end.
    pub ended: u64,
}

impl From<&Sample> for Glance {
    fn from(sample: &Sample) -> Self {
        Self {
            at: sample.moment(),
            opened: sample.counts.opened,
            ended: sample.counts.ended,
        }
    }
}

/// What two samples say of a count at a moment between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Between {
    /// The count, if it grew evenly.
    pub(super) count: f64,
    /// By how much it may be another, as a variance: if each that was counted between the samples
    /// came at any moment, as likely as at any other.
    pub(super) between: f64,
}

/// What had opened and ended at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Then {
    /// Opened.
    pub(super) opened: Between,
    /// Showed the earliest sign of their end.
    pub(super) ended: Between,
}

/// Connections that have ended, by how long they lived: monotonic counts, read before the counts of
/// the same sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lives(pub [u64; Lives::BUCKETS]);

impl Lives {
    /// Enough for the longest window: lives of up to 2^43 ns, more than two hours.
    pub const BUCKETS: usize = 24;

    /// What is in a bucket lived for less than this: 2^(20 + bucket) ns.
    const fn bound(bucket: usize) -> Duration {
        Duration::from_nanos(1 << (20 + bucket))
    }
}

/// Connections that ended between two samples, by how long they lived.
#[derive(Clone, Debug)]
struct Ends {
    /// When the earlier sample was begun: none of them ended before.
    since: Instant,
    /// When the later sample was finished.
    until: Instant,
    by_life: [u32; Lives::BUCKETS],
}

/// The samples of the last while, oldest first.
#[derive(Clone, Debug)]
pub struct Samples {
    samples: VecDeque<Sample>,
    /// Taken between the samples, where a check is to know the counts more closely.
    glances: VecDeque<Glance>,
    /// Where there were any.
    ends: VecDeque<Ends>,
    lives: Option<Lives>,
    keep: Duration,
}

impl Samples {
    /// Most samples kept: at one every 100 ms, 10 minutes.
    const MOST: usize = 6_000;
    /// Most glances kept: those of a few checks that are made one after the other.
    const MOST_GLANCES: usize = 16_384;
    /// Between the moment at which a program takes the length of a life and that at which it has
    /// counted it.
    const DELAY: Duration = Duration::from_millis(10);

    /// Keeps samples for at least `keep`, up to a bound on their number.
    #[must_use]
    pub const fn new(keep: Duration) -> Self {
        Self {
            samples: VecDeque::new(),
            glances: VecDeque::new(),
            ends: VecDeque::new(),
            lives: None,
            keep,
        }
    }

    /// Adds the newest sample and forgets those that are too old. `lives` is what had ended by then,
    /// where that is known.
    ///
    /// One of those stays: after a pause in sampling it is the only one before a window, which is
    /// wider with it and could not be decided without.
    pub fn push(&mut self, sample: Sample, lives: Option<Lives>) {
        while let Some(second) = self.samples.get(1)
            && (sample.began.duration_since(second.finished) > self.keep
                || self.samples.len() >= Self::MOST)
        {
            self.samples.pop_front();
        }
        if let (Some(last), Some(was), Some(is)) = (self.samples.back(), self.lives, lives)
            && was != is
        {
            let grown = |bucket: usize| is.0[bucket].saturating_sub(was.0[bucket]);
            self.ends.push_back(Ends {
                since: last.began,
                until: sample.finished,
                by_life: std::array::from_fn(|bucket| {
                    u32::try_from(grown(bucket)).unwrap_or(u32::MAX)
                }),
            });
        }
        self.lives = lives;
        self.samples.push_back(sample);
        while let (Some(ends), Some(oldest)) = (self.ends.front(), self.samples.front())
            && ends.until <= oldest.finished
        {
            self.ends.pop_front();
        }
    }

    /// Adds what was counted between two samples.
    pub fn glance(&mut self, glance: Glance) {
        let is_old = |first: &Glance| glance.at.duration_since(first.at) > self.keep;
        while self.glances.len() >= Self::MOST_GLANCES || self.glances.front().is_some_and(is_old) {
            self.glances.pop_front();
        }
        self.glances.push_back(glance);
    }

    /// How many opened in a second, as of the last samples.
    #[must_use]
    pub fn rate(&self) -> f64 {
        /// So many samples.
        const LATEST: usize = 50;
        let earliest = self.samples.len().saturating_sub(LATEST);
        let (Some(first), Some(last)) = (self.samples.get(earliest), self.samples.back()) else {
            return 0.0;
        };
        let (first, last) = (Glance::from(first), Glance::from(last));
        let opened = last.opened.saturating_sub(first.opened) as f64;
        let time = last.at.duration_since(first.at).as_secs_f64();
        if time > 0.0 { opened / time } else { 0.0 }
    }

    /// Forgets everything: what was counted before no longer adds up with what is counted from now.
    pub fn clear(&mut self) {
        self.samples.clear();
        self.glances.clear();
        self.ends.clear();
        self.lives = None;
    }

    /// Of what had ended by the later of two samples, how much was surely opened after the earlier
    /// one. The rest may have been; by the buckets of the lives it cannot be told.
    ///
    /// One that ended after a moment and lived for less than the time since the earlier sample was
    /// opened after that sample.
    #[must_use]
    pub fn surely_young(&self, earlier: &Sample, later: &Sample) -> u64 {
        let within = self.ends.iter().filter(|ends| ends.until <= later.finished);
        let young = within.map(|ends| {
            let age = ends.since.saturating_duration_since(earlier.finished);
            let lives = ends.by_life.iter().enumerate();
            lives
                .filter(|(bucket, _)| Lives::bound(*bucket) + Self::DELAY <= age)
                .map(|(_, count)| u64::from(*count))
                .sum::<u64>()
        });
        young.sum()
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

    /// What had opened and ended at `moment`; nothing where that is not between two samples.
    pub(super) fn at(&self, moment: Instant) -> Option<Then> {
        let behind = self
            .samples
            .partition_point(|sample| sample.moment() <= moment);
        let mut later = Glance::from(self.samples.get(behind)?);
        let mut earlier = Glance::from(self.samples.get(behind.checked_sub(1)?)?);
        let behind = self.glances.partition_point(|glance| glance.at <= moment);
        let nearer =
            |glance: Option<&Glance>, sample: Glance, is_nearer: fn(Instant, Instant) -> bool| {
                let glance = glance.filter(|glance| is_nearer(glance.at, sample.at));
                glance.copied().unwrap_or(sample)
            };
        later = nearer(self.glances.get(behind), later, |one, other| one < other);
        let before = behind
            .checked_sub(1)
            .and_then(|last| self.glances.get(last));
        earlier = nearer(before, earlier, |one, other| one > other);
        let whole = later.at.duration_since(earlier.at);
        let part = moment.duration_since(earlier.at);
        let share = part.as_secs_f64() / whole.as_secs_f64();
        let between = |earlier: u64, later: u64| {
            let grown = later.saturating_sub(earlier) as f64;
            Between {
                count: earlier as f64 + grown * share,
                between: grown * share * (1.0 - share),
            }
        };
        Some(Then {
            opened: between(earlier.opened, later.opened),
            ended: between(earlier.ended, later.ended),
        })
    }

    /// The newest sample.
    #[must_use]
    pub fn last(&self) -> Option<&Sample> {
        self.samples.back()
    }
}
