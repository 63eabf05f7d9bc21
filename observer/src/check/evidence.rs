//! What the recent checks leave of the drift, and for how long that counts.
//!
//! ```text
//!            a check shows a drift                 shown by `confirm` checks,
//!  nothing ─────────────────────────► unsettled ── `confirm_for` apart ──────► confirmed
//!     ▲                                   │                                        │
//!     └── contradicted, or not shown      │         contradicted, or not shown     │
//!         again for LAPSE ◄───────────────┘         again for MEMORY ◄─────────────┘
//! ```
//!
//! While the drift does not change, every check bounds it, and all of them together bound it more
//! narrowly than any: a small drift in busy traffic is found at its quieter moments. An honest
//! service is within the interval of each check, so 0 is within the bounds of all. A check that
//! contradicts those before means that the drift has changed, and counts alone.
//!
//! Evidence has a time, and not a number of checks: ten checks a second and one an hour come to the
//! same. It reads no clock.

use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime},
};

use super::verdict::{Bounds, Rule, Verdict};

/// What makes a drift a verdict: both have to be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// How many checks must show it, each by itself.
    pub checks: u32,
    /// How much time must lie between the first of them and the last.
    pub time: Duration,
}

/// The evidence of one target's checks.
#[derive(Clone, Debug)]
pub struct Evidence {
    confirmation: Confirmation,
    /// Oldest first: no two contradict each other.
    slots: VecDeque<Slot>,
    standing: Option<Standing>,
}

/// What the checks of a short while leave of the drift.
#[derive(Clone, Copy, Debug)]
struct Slot {
    began: Instant,
    latest: Instant,
    checks: u32,
    /// What those leave that show no drift by themselves.
    quiet: Option<Bounds>,
    /// What those leave that do.
    showing: Option<Bounds>,
}

/// A drift that was shown, and not contradicted since.
#[derive(Clone, Copy, Debug)]
struct Standing {
    is_over: bool,
    since: SystemTime,
    /// When the first check that showed it was read, and the last.
    first: Instant,
    last: Instant,
    last_at: SystemTime,
    shown: u32,
    /// Checks since the last that showed it.
    unshown: u32,
    is_confirmed: bool,
}

/// What one check and the evidence before it come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighed {
    /// Agree, over, under or unsettled.
    pub verdict: Verdict,
    /// Why.
    pub rule: Rule,
    /// What all of them leave of the drift.
    pub together: Bounds,
}

impl Evidence {
    /// How long a check counts, and how long a verdict stands that is neither shown again nor
    /// contradicted: a drift that was healed while nobody could see it, in traffic too busy to
    /// contradict what was once found, would be a verdict for ever.
    pub const MEMORY: Duration = Duration::from_secs(3_600);
    /// How long a drift waits to be shown again before it is a verdict, or four times the time that
    /// it has to stand, if that is more: two late answers of an honest service that are further
    /// apart are two accidents.
    pub const LAPSE: Duration = Duration::from_secs(60);
    /// Checks so near to each other are kept as one.
    const SLOT: Duration = Duration::from_secs(5);

    /// Nothing is known yet.
    #[must_use]
    pub const fn new(confirmation: Confirmation) -> Self {
        Self {
            confirmation,
            slots: VecDeque::new(),
            standing: None,
        }
    }

    /// Nothing of what was found still holds.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.standing = None;
    }

    /// Adds what one check leaves of the drift. `read` is when its claim was read, and `at` the same
    /// for people.
    pub fn weigh(&mut self, own: Bounds, read: Instant, at: SystemTime) -> Weighed {
        self.forget(read);
        let together = self.add(own, read);
        let (verdict, rule) = match together.sure() {
            0 => {
                self.standing = None;
                (Verdict::Agree, Rule::Within)
            }
            sure => self.stand(sure > 0, own.sure() != 0, read, at),
        };
        Weighed {
            verdict,
            rule,
            together,
        }
    }

    /// Forgets what is too old. Some checks count however old they are, where they are the last that
    /// there are: one an hour is enough.
    fn forget(&mut self, now: Instant) {
        let enough = self.confirmation.checks;
        if let Some(standing) = self.standing {
            let patience = match standing.is_confirmed {
                true => Self::MEMORY,
                false => Self::LAPSE.max(self.confirmation.time * 4),
            };
            let is_old = now.saturating_duration_since(standing.last) > patience;
            if is_old && standing.unshown >= enough {
                self.standing = None;
                for slot in &mut self.slots {
                    slot.showing = None;
                }
            }
        }
        let mut newer: u32 = self.slots.iter().map(|slot| slot.checks).sum();
        while let Some(oldest) = self.slots.front() {
            newer -= oldest.checks;
            let is_old = now.saturating_duration_since(oldest.latest) > Self::MEMORY;
            if !is_old || newer < enough {
                break;
            }
            self.slots.pop_front();
        }
    }

    /// Adds what one check leaves of the drift, and returns what all of them leave together.
    fn add(&mut self, own: Bounds, read: Instant) -> Bounds {
        let together = self
            .slots
            .iter()
            .flat_map(Slot::bounds)
            .try_fold(own, Bounds::and);
        if together.is_none() {
            self.slots.clear();
        }
        let is_near = |slot: &&mut Slot| read.saturating_duration_since(slot.began) < Self::SLOT;
        if let Some(slot) = self.slots.back_mut().filter(is_near) {
            slot.add(own, read);
        } else {
            self.slots.push_back(Slot::of(own, read));
        }
        together.unwrap_or(own)
    }

    /// A drift is sure; `is_own` if this check alone shows it.
    fn stand(
        &mut self,
        is_over: bool,
        is_own: bool,
        read: Instant,
        at: SystemTime,
    ) -> (Verdict, Rule) {
        let standing = match &mut self.standing {
            Some(standing) if standing.is_over == is_over => standing,
            other => other.insert(Standing {
                is_over,
                since: at,
                first: read,
                last: read,
                last_at: at,
                shown: 0,
                unshown: 0,
                is_confirmed: false,
            }),
        };
        // A check that only fails to contradict confirms nothing: one late answer of an honest
        // service, followed by busy traffic, must not become a verdict.
        if is_own {
            standing.shown = standing.shown.saturating_add(1);
            standing.unshown = 0;
            (standing.last, standing.last_at) = (read, at);
        } else {
            standing.unshown = standing.unshown.saturating_add(1);
        }
        let stood = standing.last.saturating_duration_since(standing.first);
        let is_enough = standing.shown >= self.confirmation.checks;
        standing.is_confirmed |= is_enough && stood >= self.confirmation.time;
        match (standing.is_confirmed, is_own) {
            (true, _) if is_over => (Verdict::Over, Rule::Confirmed),
            (true, _) => (Verdict::Under, Rule::Confirmed),
            (false, false) => (Verdict::Unsettled, Rule::NotContradicted),
            (false, true) if is_enough => (Verdict::Unsettled, Rule::ShownTooBriefly),
            (false, true) => (Verdict::Unsettled, Rule::ShownTooSeldom),
        }
    }

    /// How much is kept of the checks.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.slots.len()
    }

    /// Whether a drift of this sign is a verdict already.
    #[must_use]
    pub fn has_confirmed(&self, is_over: bool) -> bool {
        self.standing
            .is_some_and(|standing| standing.is_confirmed && standing.is_over == is_over)
    }

    /// How many checks have shown the drift that stands by themselves.
    #[must_use]
    pub fn shown(&self) -> u32 {
        self.standing.map_or(0, |standing| standing.shown)
    }

    /// When the first of the checks was read that found the drift that stands.
    #[must_use]
    pub fn since(&self) -> Option<SystemTime> {
        self.standing.map(|standing| standing.since)
    }

    /// When the last of the checks was read that showed it.
    #[must_use]
    pub fn last_shown(&self) -> Option<SystemTime> {
        self.standing.map(|standing| standing.last_at)
    }
}

impl Slot {
    fn of(own: Bounds, read: Instant) -> Self {
        let mut slot = Self {
            began: read,
            latest: read,
            checks: 0,
            quiet: None,
            showing: None,
        };
        slot.add(own, read);
        slot
    }

    fn bounds(&self) -> impl Iterator<Item = Bounds> {
        self.quiet.into_iter().chain(self.showing)
    }

    /// Adds a check that contradicts none of these.
    fn add(&mut self, own: Bounds, read: Instant) {
        self.latest = read;
        self.checks = self.checks.saturating_add(1);
        let kept = match own.sure() {
            0 => &mut self.quiet,
            _ => &mut self.showing,
        };
        *kept = Some(kept.and_then(|kept| kept.and(own)).unwrap_or(own));
    }
}
