//! From checks to a verdict: a violation must stand, and evidence adds up.

use std::{collections::VecDeque, fmt, time::SystemTime};

use super::interval::Interval;

/// What the observer says of a gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The claim is what an honest service can say.
    Agree,
    /// The gauge surely says too much.
    Over,
    /// The gauge surely says too little.
    Under,
    /// The last check found a drift that has not stood for long enough.
    Unsettled,
    /// Nothing can be said, for a reason.
    Blind,
}

impl Verdict {
    /// All of them, in the order in which they are published.
    pub const ALL: [Self; 5] = [
        Self::Agree,
        Self::Over,
        Self::Under,
        Self::Unsettled,
        Self::Blind,
    ];

    /// Its name in metrics, in the API and in text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agree => "agree",
            Self::Over => "over",
            Self::Under => "under",
            Self::Unsettled => "unsettled",
            Self::Blind => "blind",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blind {
    /// The service's metrics cannot be scraped.
    TargetDown,
    /// The service answers, and its exposition holds no usable claim.
    ClaimMissing,
    /// The sockets that were open before are not all known yet, or too few samples were taken.
    NotSeeded,
    /// The two witnesses count differently.
    WitnessesDisagree,
    /// A socket or an event was lost.
    Lost,
    /// The network namespace of the service is not there, or cannot be entered.
    NoNamespace,
    /// Nothing listens there and nothing is connected.
    NotListening,
    /// The service was restarted within the window of the check.
    Restarted,
    /// This backend cannot tell the kind of connection that the gauge counts.
    CannotTell,
}

impl Blind {
    /// All of them, in the order in which they are published.
    pub const ALL: [Self; 9] = [
        Self::TargetDown,
        Self::ClaimMissing,
        Self::NotSeeded,
        Self::WitnessesDisagree,
        Self::Lost,
        Self::NoNamespace,
        Self::NotListening,
        Self::Restarted,
        Self::CannotTell,
    ];

    /// Its name in metrics and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TargetDown => "target_down",
            Self::ClaimMissing => "claim_missing",
            Self::NotSeeded => "not_seeded",
            Self::WitnessesDisagree => "witnesses_disagree",
            Self::Lost => "lost",
            Self::NoNamespace => "no_namespace",
            Self::NotListening => "not_listening",
            Self::Restarted => "restarted",
            Self::CannotTell => "cannot_tell",
        }
    }

    /// Whether what earlier checks found may no longer hold.
    const fn voids_evidence(self) -> bool {
        !matches!(self, Self::TargetDown | Self::ClaimMissing)
    }
}

/// What the drift, claim less truth, can be: both ends included. Unit: connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Least.
    pub low: i64,
    /// Greatest.
    pub high: i64,
}

impl Bounds {
    /// What one claim and what it was held against leave of the drift.
    #[must_use]
    pub const fn of(claim: i64, interval: Interval) -> Self {
        Self {
            low: claim.saturating_sub(interval.high),
            high: claim.saturating_sub(interval.low),
        }
    }

    /// What both leave; nothing if they contradict each other.
    #[must_use]
    pub fn and(self, other: Self) -> Option<Self> {
        let both = Self {
            low: self.low.max(other.low),
            high: self.high.min(other.high),
        };
        (both.low <= both.high).then_some(both)
    }

    /// The part of the drift that is sure: the bound that is nearer to 0, or 0 between them.
    #[must_use]
    pub const fn sure(self) -> i64 {
        if self.low > 0 {
            self.low
        } else if self.high < 0 {
            self.high
        } else {
            0
        }
    }
}

/// One check: a claim and what it was held against.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// The claim. Unit: connections.
    pub claim: i64,
    /// What an honest service could have said.
    pub interval: Interval,
    /// When the claim was read, for people.
    pub at: SystemTime,
}

/// The rule that decided a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Nothing could be compared.
    NothingToCompare,
    /// An honest service can say this, at this check and at the recent ones together.
    Within,
    /// This check shows a drift, and fewer have shown it than must.
    ShownTooSeldom,
    /// This check neither shows nor contradicts the drift that others have, and fewer have shown
    /// it than must.
    NotContradicted,
    /// Enough checks have shown the drift, and none has contradicted it since.
    Confirmed,
    /// The witnesses were not compared yet since the drift was first seen.
    WitnessesFirst,
}

impl Rule {
    /// Its name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NothingToCompare => "nothing_to_compare",
            Self::Within => "within",
            Self::ShownTooSeldom => "shown_too_seldom",
            Self::NotContradicted => "not_contradicted",
            Self::Confirmed => "confirmed",
            Self::WitnessesFirst => "witnesses_first",
        }
    }
}

/// What is said after a check.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// The verdict.
    pub verdict: Verdict,
    /// Why this verdict and no other.
    pub rule: Rule,
    /// How many checks have shown the drift by themselves.
    pub shown: u32,
    /// Why nothing can be said, where nothing can.
    pub blind: Option<Blind>,
    /// What the last check and those before it that it does not contradict leave of the drift.
    pub drift: Option<Bounds>,
    /// When the first of the checks was read that found this drift.
    pub since: Option<SystemTime>,
}

impl Finding {
    /// Nothing can be said, and nothing is known of a drift.
    #[must_use]
    pub const fn blind(reason: Blind) -> Self {
        Self {
            verdict: Verdict::Blind,
            rule: Rule::NothingToCompare,
            shown: 0,
            blind: Some(reason),
            drift: None,
            since: None,
        }
    }
}

/// Judges the checks of one target, one after the other.
#[derive(Clone, Debug)]
pub struct Judge {
    confirm: u32,
    /// What the recent checks left of the drift, oldest first: no two contradict each other.
    evidence: VecDeque<Bounds>,
    standing: Option<Standing>,
}

/// A violation that stands.
#[derive(Clone, Copy, Debug)]
struct Standing {
    is_over: bool,
    since: SystemTime,
    shown: u32,
}

impl Judge {
    /// Checks whose evidence counts: an hour of them at the default interval of 5 s.
    ///
    /// Without an end to it, a drift that was healed while nobody could see it, in traffic too busy
    /// to contradict what was once found, would be a verdict for ever.
    pub const RECENT: usize = 720;

    /// A judge for whom a violation must be shown by `confirm` checks.
    #[must_use]
    pub const fn new(confirm: u32) -> Self {
        Self {
            confirm,
            evidence: VecDeque::new(),
            standing: None,
        }
    }

    /// Nothing can be said of this check.
    pub fn blind(&mut self, reason: Blind) -> Finding {
        if reason.voids_evidence() {
            self.evidence.clear();
            self.standing = None;
        }
        Finding {
            shown: self.standing.map_or(0, |standing| standing.shown),
            since: self.standing.map(|standing| standing.since),
            ..Finding::blind(reason)
        }
    }

    /// Judges one check.
    ///
    /// While the drift does not change, every check bounds it, and all of them together bound it
    /// more narrowly than any: a small drift in busy traffic is found at its quieter moments. An
    /// honest service is within the interval of each, so 0 is within the bounds of all. A check
    /// that contradicts those before means that the drift has changed, and counts alone.
    pub fn judge(&mut self, check: &Check) -> Finding {
        let own = Bounds::of(check.claim, check.interval);
        let together = self.add(own);
        let (verdict, rule) = match together.sure() {
            0 => {
                self.standing = None;
                (Verdict::Agree, Rule::Within)
            }
            sure => self.stands(sure > 0, own.sure() != 0, check.at),
        };
        Finding {
            verdict,
            rule,
            shown: self.standing.map_or(0, |standing| standing.shown),
            blind: None,
            drift: Some(together),
            since: self.standing.map(|standing| standing.since),
        }
    }

    /// Adds what one check leaves of the drift, and returns what all of them leave together.
    fn add(&mut self, own: Bounds) -> Bounds {
        if self.evidence.len() == Self::RECENT {
            self.evidence.pop_front();
        }
        let together = self
            .evidence
            .iter()
            .try_fold(own, |left, earlier| left.and(*earlier));
        if together.is_none() {
            self.evidence.clear();
        }
        self.evidence.push_back(own);
        together.unwrap_or(own)
    }

    /// A drift is sure; `is_own` if this check alone shows it.
    fn stands(&mut self, is_over: bool, is_own: bool, at: SystemTime) -> (Verdict, Rule) {
        let standing = match &mut self.standing {
            Some(standing) if standing.is_over == is_over => standing,
            other => other.insert(Standing {
                is_over,
                since: at,
                shown: 0,
            }),
        };
        // A check that only fails to contradict confirms nothing: one late answer of an honest
        // service, followed by busy traffic, must not become a verdict.
        standing.shown = standing.shown.saturating_add(u32::from(is_own));
        match (standing.shown >= self.confirm, is_own) {
            (true, _) if is_over => (Verdict::Over, Rule::Confirmed),
            (true, _) => (Verdict::Under, Rule::Confirmed),
            (false, true) => (Verdict::Unsettled, Rule::ShownTooSeldom),
            (false, false) => (Verdict::Unsettled, Rule::NotContradicted),
        }
    }
}
