//! `GET /api/v1/targets/{name}/history`: what the last checks found.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Word, bounded::at_most, rfc3339};
use crate::{
    check::{History, Record},
    watch::target::Target,
};

/// The last checks of a target, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HistoryReport {
    /// The target's name.
    pub name: String,
    /// At most [`History::MOST`].
    #[serde(deserialize_with = "at_most::<{ History::MOST }, _, _>")]
    pub checks: Vec<CheckReport>,
}

/// One check.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckReport {
    /// When the claim was read, RFC 3339.
    pub at: String,
    /// The claim. Unit: connections.
    pub claim: Option<i64>,
    /// Fewest connections that an honest service could have claimed.
    pub low: Option<i64>,
    /// Most connections that an honest service could have claimed.
    pub high: Option<i64>,
    /// Least drift that this check and those before it together left possible.
    pub drift_low: Option<i64>,
    /// Greatest drift that this check and those before it together left possible.
    pub drift_high: Option<i64>,
    /// `agree`, `over`, `under`, `unsettled` or `blind`.
    pub verdict: Word,
    /// Why nothing could be said, where the verdict is `blind`.
    pub reason: Option<Word>,
    /// The rule that decided.
    pub rule: Word,
}

impl HistoryReport {
    /// What is remembered of a target.
    #[must_use]
    pub fn of(target: &Target) -> Self {
        Self::since(target, None)
    }

    /// Of that, the checks whose claim was read after a time.
    #[must_use]
    pub fn since(target: &Target, after: Option<SystemTime>) -> Self {
        // As text, since that is what was handed out: it is less exact than the time itself.
        let after = after.map(rfc3339);
        let is_after = |check: &CheckReport| after.as_ref().is_none_or(|after| check.at > *after);
        let checks = target.history();
        Self {
            name: target.config.name.clone(),
            checks: checks
                .iter()
                .map(CheckReport::of)
                .filter(is_after)
                .collect(),
        }
    }
}

impl CheckReport {
    fn of(record: &Record) -> Self {
        let Record {
            at,
            claim,
            interval,
            finding,
            ..
        } = record;
        Self {
            at: rfc3339(*at),
            claim: *claim,
            low: interval.map(|interval| interval.low),
            high: interval.map(|interval| interval.high),
            drift_low: finding.drift.map(|bounds| bounds.low),
            drift_high: finding.drift.map(|bounds| bounds.high),
            verdict: finding.verdict.name().into(),
            reason: finding.blind.map(|reason| reason.name().into()),
            rule: finding.rule.name().into(),
        }
    }
}
