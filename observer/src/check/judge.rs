//! From what is known at a check to what is said: which reason goes before which, and what has to be
//! known before anybody is blamed.
//!
//! The order is that of how much is lost: where the counts mean nothing, the claim is not looked at;
//! where there is no claim, nothing is weighed; what is weighed is said only if it excludes
//! something, and held against somebody only if the witnesses were compared since.

use std::time::{Duration, Instant, SystemTime};

use super::{
    counts::Counts,
    evidence::{Confirmation, Evidence, Weighed},
    interval::{Allowance, Interval},
    likely::Likely,
    settling::may_be_lag,
    verdict::{Blind, Bounds, Finding, Rule, Verdict},
};

/// What the operator has set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// When a drift is a verdict.
    pub confirmation: Confirmation,
    /// Beyond this agreement says too little.
    pub too_wide: TooWide,
}

/// From which resolution on an agreement says too little: a share of what is open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TooWide {
    /// 0.5 is half of it.
    pub share: f64,
    /// Whether a connection may turn out to be of another kind than the one that is counted.
    pub has_kinds: bool,
}

impl TooWide {
    /// A drift as small as this may be missed however few connections there are: otherwise a client
    /// or two that come and go would blind a service that has hardly any.
    pub const FEW: u64 = 2;

    /// Whether a drift as wide as `resolution` could be missed, and is too much for what is open.
    ///
    /// Where what a socket is is not known, few are many: of one connection that may or may not be
    /// of the kind that is counted, nothing is known.
    #[must_use]
    pub fn is_beyond(self, resolution: u64, counts: &Counts) -> bool {
        let doubtful = counts.doubtful();
        let open = (counts.open() + doubtful).max(1);
        let few = match self.has_kinds && doubtful > 0 {
            true => 0,
            false => Self::FEW,
        };
        resolution > few && resolution as f64 >= self.share * open as f64
    }
}

/// What the kernel's counts say of one window.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// What an honest service could have said.
    pub interval: Interval,
    /// The counts at its end.
    pub counts: Counts,
    /// By how much they may be off.
    pub allowance: Allowance,
}

/// Everything that is known at one check.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Why the counts mean nothing, if they do.
    pub blind: Option<Blind>,
    /// The claim, or why there is none. Unit: connections.
    pub claim: Result<i64, Blind>,
    /// What an honest service could have said; none where too few samples were taken.
    pub measured: Option<Measured>,
    /// When the claim was read.
    pub read: Instant,
    /// The same, for people.
    pub at: SystemTime,
    /// When the window ended.
    pub ends: Instant,
    /// When the last survey began in which the witnesses agreed.
    pub agreed: Option<Instant>,
    /// Where the window is no longer than the lag that was learnt takes: what is likely of the drift,
    /// if anything.
    pub learnt: Option<Option<Likely>>,
}

/// Judges the checks of one target, one after the other.
#[derive(Clone, Debug)]
pub struct Judge {
    rules: Rules,
    evidence: Evidence,
}

impl Judge {
    /// A judge of a target of which nothing is known yet.
    #[must_use]
    pub const fn new(rules: Rules) -> Self {
        Self {
            rules,
            evidence: Evidence::new(rules.confirmation),
        }
    }

    /// Judges one check.
    ///
    /// A check that shows a drift which may be a lag that is longer than was learnt is unsettled, by
    /// [`Rule::LongestFirst`], and has changed nothing: it is to be judged again with the longest.
    ///
    /// A check that shows a drift, where none of that sign is a verdict yet, counts only if the
    /// witnesses were compared after its window, and agreed: until then it is unsettled, by
    /// [`Rule::WitnessesFirst`], and has changed nothing. It may be judged again.
    pub fn judge(&mut self, facts: &Facts) -> Finding {
        if let Some(reason) = facts.blind {
            return self.blind(reason);
        }
        let claim = match facts.claim {
            Ok(claim) => claim,
            Err(reason) => return self.blind(reason),
        };
        let Some(measured) = &facts.measured else {
            return self.blind(Blind::NotSeeded);
        };
        let own = Bounds::of(claim, measured.interval);
        // Nobody is blamed for what was never seen. What left before the observer came and what it
        // was never shown look the same; the first connection tells them apart.
        if own.low > 0 && measured.counts.was_never_opened() {
            return Finding {
                rule: Rule::NothingSeen,
                drift: Some(own),
                ..self.blind(Blind::NothingSeen)
            };
        }
        let is_lag = |likely: Option<Likely>| may_be_lag(own, likely.as_ref());
        if facts.learnt.is_some_and(is_lag) {
            return self.say(Weighed {
                verdict: Verdict::Unsettled,
                rule: Rule::LongestFirst,
                together: own,
            });
        }
        let is_shown = own.sure() != 0 && !self.evidence.has_confirmed(own.sure() > 0);
        if is_shown && facts.agreed.is_none_or(|agreed| agreed < facts.ends) {
            return self.say(Weighed {
                verdict: Verdict::Unsettled,
                rule: Rule::WitnessesFirst,
                together: own,
            });
        }
        let weighed = self.evidence.weigh(own, facts.read, facts.at);
        let finding = self.say(weighed);
        match self.vanity(&weighed, measured) {
            None => finding,
            blind => Finding {
                verdict: Verdict::Blind,
                rule: Rule::TooWide,
                blind,
                ..finding
            },
        }
    }

    /// Why an agreement excludes too little, if it does: for what was lost, or for whatever else.
    fn vanity(&self, weighed: &Weighed, measured: &Measured) -> Option<Blind> {
        let is_beyond = |resolution| self.rules.too_wide.is_beyond(resolution, &measured.counts);
        let resolution = weighed.together.widest();
        if weighed.verdict != Verdict::Agree || !is_beyond(resolution) {
            return None;
        }
        let without_loss = resolution.saturating_sub(measured.allowance.missing);
        Some(match is_beyond(without_loss) {
            true => Blind::TooWide,
            false => Blind::Lost,
        })
    }

    fn say(&self, weighed: Weighed) -> Finding {
        Finding {
            verdict: weighed.verdict,
            rule: weighed.rule,
            blind: None,
            drift: Some(weighed.together),
            ..self.standing()
        }
    }

    fn blind(&mut self, reason: Blind) -> Finding {
        if reason.voids_evidence() {
            self.evidence.clear();
        }
        Finding {
            verdict: Verdict::Blind,
            blind: Some(reason),
            ..self.standing()
        }
    }

    fn standing(&self) -> Finding {
        Finding {
            shown: self.evidence.shown(),
            since: self.evidence.since(),
            last_shown: self.evidence.last_shown(),
            ..Finding::blind(Blind::NotSeeded)
        }
    }
}

/// How long to wait before a drift that is unsettled is looked at again.
///
/// Sooner than at the next interval, since a quiet moment may be short; and not without a pause,
/// since each look asks the service for a page: a quarter of `settle`, so that some looks fall into
/// any quiet moment that is long enough for a window.
#[must_use]
pub fn pause_before_recheck(settle: Duration, interval: Duration) -> Duration {
    const LEAST: Duration = Duration::from_millis(100);
    (settle / 4).max(LEAST).min(interval)
}

/// Whether the service is another one: of its listening sockets, or of its processes, none is the same
/// as one of those that there last were. One of several that comes or goes is a worker.
pub fn is_restart<T>(before: &[T], now: &[T], is_same: impl Fn(&T, &T) -> bool) -> bool {
    let remains = |one| before.iter().any(|other| is_same(one, other));
    !before.is_empty() && !now.is_empty() && !now.iter().any(remains)
}

/// Whether two times are the start of the same process. Some libraries say now, less a time that is
/// rounded to a second, at each scrape. Unit: seconds.
#[must_use]
pub fn is_same_start(one: &f64, other: &f64) -> bool {
    (one - other).abs() <= 2.0
}
