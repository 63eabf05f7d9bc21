//! Why the last check came out as it did: what was compared with what, over which window.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Word, rfc3339};
use crate::{
    check::{Counts, Record, Rule, Window},
    config,
};

/// The reasoning of one check, as data; `Display` is the same as text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reasoning {
    /// `settle` before the claim was asked for, RFC 3339.
    pub begins: Option<String>,
    /// `settle` after the claim had come, RFC 3339.
    pub ends: Option<String>,
    /// The kernel's counts just before the window began.
    pub before: Option<CountsReport>,
    /// The kernel's counts just after the window had ended.
    pub after: Option<CountsReport>,
    /// The claim. Unit: connections.
    pub claim: Option<i64>,
    /// Fewest that an honest service could have claimed.
    pub low: Option<i64>,
    /// Most that an honest service could have claimed.
    pub high: Option<i64>,
    /// Least drift that this check alone leaves possible.
    pub own_low: Option<i64>,
    /// Greatest drift that this check alone leaves possible.
    pub own_high: Option<i64>,
    /// Least drift that it and the recent ones together leave possible.
    pub together_low: Option<i64>,
    /// Greatest drift that it and the recent ones together leave possible.
    pub together_high: Option<i64>,
    /// How many checks have shown the drift by themselves.
    pub shown: u32,
    /// How many must.
    pub confirm: u32,
    /// The rule that decided.
    pub rule: Word,
    /// What the rule says.
    pub because: Word,
}

/// Monotonic counts of the connections that the gauge is taken to count.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CountsReport {
    /// Opened; for WebSockets, upgraded.
    pub opened: u64,
    /// Showed the earliest sign of their end.
    pub ended: u64,
    /// Showed the last sign of their end.
    pub closed: u64,
    /// Became doubtful: they may or may not be of this kind.
    pub doubtful_entered: u64,
    /// Are doubtful no longer.
    pub doubtful_left: u64,
    /// Became lost: their end may have been missed.
    pub lost_entered: u64,
    /// Are lost no longer.
    pub lost_left: u64,
    /// In the accept queue, where that matters.
    pub waiting: u64,
    /// Not closed, and closed by the service before the window; known after it.
    #[serde(default)]
    pub orphans: u64,
}

impl Reasoning {
    /// Of one check.
    #[must_use]
    pub fn of(record: &Record, config: &config::Target) -> Self {
        let Record {
            claim,
            interval,
            window,
            finding,
            ..
        } = record;
        let (own, together) = (record.own(), finding.drift);
        let counts = |of: fn(&Window) -> &Counts| window.as_ref().map(of).map(CountsReport::of);
        Self {
            begins: window.map(|window| rfc3339(window.begins)),
            ends: window.map(|window| rfc3339(window.ends)),
            before: counts(|window| &window.before),
            after: counts(|window| &window.after),
            claim: *claim,
            low: interval.map(|interval| interval.low),
            high: interval.map(|interval| interval.high),
            own_low: own.map(|bounds| bounds.low),
            own_high: own.map(|bounds| bounds.high),
            together_low: together.map(|bounds| bounds.low),
            together_high: together.map(|bounds| bounds.high),
            shown: finding.shown,
            confirm: config.confirm,
            rule: finding.rule.name().into(),
            because: because(finding.rule).into(),
        }
    }
}

const fn because(rule: Rule) -> &'static str {
    match rule {
        Rule::NothingToCompare => "there is nothing to compare",
        Rule::Within => "an honest service can say this",
        Rule::ShownTooSeldom => "this check shows a drift, and fewer have shown it than must",
        Rule::ShownTooBriefly => {
            "enough checks have shown a drift, in less time than it must stand"
        }
        Rule::TooWide => "an honest service can say this, and nearly anything else",
        Rule::NothingSeen => "no connection was ever seen that the claim could be about",
        Rule::NotContradicted => {
            "this check neither shows nor contradicts a drift that fewer have shown than must"
        }
        Rule::Confirmed => "enough checks have shown the drift, and none has contradicted it since",
        Rule::WitnessesFirst => {
            "the kernel's two witnesses are compared first, before anybody is blamed"
        }
        Rule::LongestFirst => {
            "the service may have become slower than its `settle` that was learnt"
        }
    }
}

impl CountsReport {
    fn of(counts: &Counts) -> Self {
        let Counts {
            opened,
            ended,
            closed,
            doubtful_entered,
            doubtful_left,
            lost_entered,
            lost_left,
            waiting,
            orphans,
            arrived: _,
            unheard_closed: _,
        } = *counts;
        Self {
            opened,
            ended,
            closed,
            doubtful_entered,
            doubtful_left,
            lost_entered,
            lost_left,
            waiting,
            orphans,
        }
    }
}

impl fmt::Display for CountsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            opened,
            ended,
            closed,
            doubtful_entered,
            doubtful_left,
            lost_entered,
            lost_left,
            waiting,
            orphans,
        } = self;
        write!(
            f,
            "opened {opened}, ended {ended}, closed {closed}, \
             doubtful {doubtful_entered} less {doubtful_left}, \
             lost {lost_entered} less {lost_left}, waiting {waiting}, \
             orphans {orphans}"
        )
    }
}

impl fmt::Display for Reasoning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(begins), Some(ends), Some(before), Some(after)) =
            (&self.begins, &self.ends, &self.before, &self.after)
        {
            writeln!(f, "  window    {begins} to {ends}")?;
            writeln!(f, "  before    {before}")?;
            writeln!(f, "  after     {after}")?;
        }
        if let (Some(low), Some(high)) = (self.low, self.high) {
            writeln!(f, "  kernel    {}", range(low, high))?;
        }
        if let Some(claim) = self.claim {
            writeln!(f, "  claim     {claim}")?;
        }
        if let (Some(low), Some(high)) = (self.own_low, self.own_high) {
            writeln!(f, "  drift     {} by this check", range(low, high))?;
        }
        if let (Some(low), Some(high)) = (self.together_low, self.together_high) {
            writeln!(
                f,
                "            {} by the recent checks together",
                range(low, high)
            )?;
        }
        let Self {
            shown,
            confirm,
            because,
            rule,
            ..
        } = self;
        writeln!(f, "  shown     by {shown} checks; {confirm} make a verdict")?;
        writeln!(f, "  rule      {rule}: {because}")
    }
}

fn range(low: i64, high: i64) -> String {
    if low == high {
        low.to_string()
    } else {
        format!("{low} to {high}")
    }
}
