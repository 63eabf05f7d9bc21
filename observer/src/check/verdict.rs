//! The words of a verdict: what is said after a check, why, and what is left of the drift.

use std::{fmt, time::SystemTime};

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
    /// The claim is within what an honest service could have said, and so would nearly any be.
    TooWide,
    /// Most of what the service sends is not seen: its connections may be of any class.
    EgressUnseen,
    /// The gauge says that there are connections, and none was ever seen.
    NothingSeen,
    /// The claim is a counter that was read for the first time: only what it grows by can be compared.
    FirstReading,
}

impl Blind {
    /// All of them, in the order in which they are published.
    pub const ALL: [Self; 13] = [
        Self::TargetDown,
        Self::ClaimMissing,
        Self::NotSeeded,
        Self::WitnessesDisagree,
        Self::Lost,
        Self::NoNamespace,
        Self::NotListening,
        Self::Restarted,
        Self::CannotTell,
        Self::TooWide,
        Self::EgressUnseen,
        Self::NothingSeen,
        Self::FirstReading,
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
            Self::TooWide => "too_wide",
            Self::EgressUnseen => "egress_unseen",
            Self::NothingSeen => "nothing_seen",
            Self::FirstReading => "first_reading",
        }
    }

    /// Whether what earlier checks found may no longer hold.
    pub(super) const fn voids_evidence(self) -> bool {
        !matches!(
            self,
            Self::TargetDown | Self::ClaimMissing | Self::TooWide | Self::NothingSeen
        )
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

    /// The widest drift that is still possible. Unit: connections; never negative.
    #[must_use]
    pub const fn widest(self) -> u64 {
        let (low, high) = (self.low.unsigned_abs(), self.high.unsigned_abs());
        if low > high { low } else { high }
    }
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
    /// Enough checks have shown the drift, and within too short a time.
    ShownTooBriefly,
    /// This check neither shows nor contradicts the drift that others have, and fewer have shown
    /// it than must.
    NotContradicted,
    /// Enough checks have shown the drift, and none has contradicted it since.
    Confirmed,
    /// The witnesses were not compared yet since this check, which shows a drift.
    WitnessesFirst,
    /// This check shows a drift within a `settle` that was learnt, and it may be a longer lag.
    LongestFirst,
    /// An honest service can say this, and nearly anything else.
    TooWide,
    /// No connection was ever seen that the claim could be about.
    NothingSeen,
}

impl Rule {
    /// Its name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NothingToCompare => "nothing_to_compare",
            Self::Within => "within",
            Self::ShownTooSeldom => "shown_too_seldom",
            Self::ShownTooBriefly => "shown_too_briefly",
            Self::NotContradicted => "not_contradicted",
            Self::Confirmed => "confirmed",
            Self::WitnessesFirst => "witnesses_first",
            Self::LongestFirst => "longest_first",
            Self::TooWide => "too_wide",
            Self::NothingSeen => "nothing_seen",
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
    /// When the last of the checks was read that showed it by itself.
    pub last_shown: Option<SystemTime>,
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
            last_shown: None,
        }
    }

    /// Whether the claim was held against an interval, whatever came of it.
    #[must_use]
    pub const fn is_weighed(&self) -> bool {
        self.blind.is_none() || matches!(self.rule, Rule::TooWide)
    }

    /// The widest drift that would still have agreed, by this check and the earlier ones together;
    /// none where the gauge was found to be wrong, or nothing was compared. Unit: connections.
    #[must_use]
    pub fn resolution(&self) -> Option<u64> {
        let is_agreement = self.verdict == Verdict::Agree || self.rule == Rule::TooWide;
        self.drift.filter(|_| is_agreement).map(Bounds::widest)
    }
}
