//! How far from the kernel's moment a service may count an event: as declared, or as learnt.
//!
//! ```text
//!            enough checks have told a lag
//!  longest ──────────────────────────────────► learnt ─┐ they tell another one
//!     ▲                                          │ ▲   │
//!     │   a drift is shown that is not likely,   │ └───┘
//!     └── or the service is another ◄────────────┘
//! ```
//!
//! What is learnt is the shortest lag that explains the claims nearly as well as any, and no longest
//! one: a closing that is later than all before it must not be taken for a drift. So there is a margin, and a drift that such a
//! short window shows is held against the service only if the lags that explain the claims leave it
//! as well. Else the service may have become slower: the window is the longest again, and the same
//! check is judged with that. If it agrees then, the next window that is learnt is longer than the
//! one that was too short.
//!
//! It reads no clock, and knows nothing of how a lag is learnt.

use std::time::Duration;

use super::{
    likely::Likely,
    verdict::{Bounds, Finding},
};

/// The time before a claim and after it within which the service may have counted an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settling {
    longest: Duration,
    is_learning: bool,
    /// Shorter than the longest.
    learnt: Option<Duration>,
    /// A shorter one was too short, or would be nothing that a scrape could tell.
    shortest: Duration,
    /// What was learnt until a drift was shown that is not likely.
    doubted: Option<Duration>,
}

impl Settling {
    /// What is declared where the lag is learnt: no service that is later is right at once.
    pub const LONGEST: Duration = Duration::from_secs(10);
    /// How many checks must have told the lag.
    const CHECKS: u32 = 20;
    /// In times of that lag. Where lags are spread evenly it is at most half of the longest one; where
    /// most are short and a few long, the longest may be more than this.
    const MARGIN: u32 = 4;
    /// Added to it, and the least there is: threads and timers are so late by themselves.
    const LEAST: Duration = Duration::from_millis(100);

    /// Always the same.
    #[must_use]
    pub const fn declared(settle: Duration) -> Self {
        Self {
            longest: settle,
            is_learning: false,
            learnt: None,
            shortest: Duration::ZERO,
            doubted: None,
        }
    }

    /// The longest at first, then by the lag that is learnt.
    #[must_use]
    pub const fn learning(longest: Duration) -> Self {
        Self {
            is_learning: true,
            shortest: Self::LEAST,
            ..Self::declared(longest)
        }
    }

    /// What holds now.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.learnt.unwrap_or(self.longest)
    }

    /// Whether it is as long as it was declared to be at most.
    #[must_use]
    pub const fn is_longest(&self) -> bool {
        self.learnt.is_none()
    }

    /// Notes what was found at a check, and what is likely since.
    pub fn note(&mut self, finding: &Finding, likely: Option<&Likely>) {
        if finding.blind.is_some_and(|reason| reason.voids_evidence()) {
            return self.forget();
        }
        // What is shown within the longest as well is no lag.
        let is_agreement = finding.resolution().is_some();
        if let Some(too_short) = self.doubted.take().filter(|_| is_agreement) {
            self.shortest = too_short * 2;
        }
        let known = likely.filter(|likely| self.is_learning && likely.checks >= Self::CHECKS);
        if let Some(Likely { within, .. }) = known {
            let enough = *within * Self::MARGIN + Self::LEAST;
            let learnt = enough.max(self.shortest);
            self.learnt = (learnt < self.longest).then_some(learnt);
        }
    }

    /// Nothing that was learnt holds for the service that is there now.
    pub fn forget(&mut self) {
        if self.is_learning {
            *self = Self::learning(self.longest);
        }
    }

    /// The service may be slower than was learnt: it is, if the longest leaves no drift.
    pub fn lengthen(&mut self) {
        self.doubted = self.learnt.take();
    }
}

/// Whether a drift that a window of a learnt length shows may be a lag that is longer than that: where
/// the lags that explain the claims best leave none of its sign.
#[must_use]
pub(super) fn may_be_lag(shown: Bounds, likely: Option<&Likely>) -> bool {
    let sign = shown.sure().signum();
    sign != 0 && likely.is_none_or(|likely| likely.bounds.sure().signum() != sign)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::check::{Blind, Verdict, verdict::Rule};

    const MS: Duration = Duration::from_millis(1);

    const AGREED: Finding = Finding {
        verdict: Verdict::Agree,
        rule: Rule::Within,
        blind: None,
        drift: Some(Bounds { low: -1, high: 1 }),
        ..Finding::blind(Blind::NotSeeded)
    };
    const OVER: Finding = Finding {
        verdict: Verdict::Over,
        rule: Rule::Confirmed,
        drift: Some(Bounds { low: 5, high: 5 }),
        ..AGREED
    };

    fn likely(within: Duration, checks: u32) -> Likely {
        Likely {
            drift: 0,
            bounds: Bounds { low: -1, high: 1 },
            lag: None,
            within,
            checks,
        }
    }

    #[test]
    fn what_is_declared_stays_whatever_is_learnt() {
        let mut settling = Settling::declared(MS * 300);
        settling.note(&AGREED, Some(&likely(MS, 600)));
        settling.lengthen();
        assert_eq!(settling.now(), MS * 300);
    }

    #[test]
    fn a_lag_is_taken_with_a_margin_once_enough_checks_have_told_it() {
        let mut settling = Settling::learning(Settling::LONGEST);
        settling.note(&AGREED, Some(&likely(MS * 50, 19)));
        assert!(settling.is_longest());
        settling.note(&AGREED, Some(&likely(MS * 50, 20)));
        assert_eq!(settling.now(), MS * 300);
        settling.note(&AGREED, Some(&likely(MS * 500, 21)));
        assert_eq!(settling.now(), MS * 2_100);
        settling.note(&AGREED, Some(&likely(MS * 9_000, 22)));
        assert_eq!(settling.now(), Settling::LONGEST);
    }

    #[test]
    fn what_was_learnt_holds_while_nothing_is_likely() {
        let mut settling = Settling::learning(Settling::LONGEST);
        settling.note(&AGREED, Some(&likely(MS * 50, 20)));
        settling.note(&AGREED, None);
        assert_eq!(settling.now(), MS * 300);
    }

    #[test]
    fn a_service_that_became_slower_gets_the_longest_and_then_more_than_before() {
        let mut settling = Settling::learning(Settling::LONGEST);
        for expected in [100, 200, 400, 800] {
            settling.note(&AGREED, Some(&likely(Duration::ZERO, 20)));
            assert_eq!(settling.now(), MS * expected);
            settling.lengthen();
            settling.note(&AGREED, None);
            assert_eq!(settling.now(), Settling::LONGEST);
        }
    }

    #[test]
    fn a_drift_that_the_longest_shows_as_well_is_no_sign_of_a_slower_service() {
        let mut settling = Settling::learning(Settling::LONGEST);
        for _ in 0..3 {
            settling.note(&AGREED, Some(&likely(Duration::ZERO, 20)));
            assert_eq!(settling.now(), MS * 100);
            settling.lengthen();
            assert_eq!(settling.now(), Settling::LONGEST);
            settling.note(&OVER, None);
        }
    }

    #[test]
    fn another_service_is_learnt_anew() {
        let mut settling = Settling::learning(Settling::LONGEST);
        settling.note(&AGREED, Some(&likely(MS * 50, 20)));
        settling.note(&Finding::blind(Blind::TargetDown), None);
        assert_eq!(settling.now(), MS * 300);
        settling.note(&Finding::blind(Blind::Restarted), None);
        assert_eq!(settling, Settling::learning(Settling::LONGEST));
    }

    #[test]
    fn a_drift_is_believed_only_if_it_is_likely_too() {
        let over = Bounds { low: 2, high: 9 };
        let known = |low, high| Likely {
            bounds: Bounds { low, high },
            ..likely(MS, 20)
        };
        assert!(may_be_lag(over, None));
        assert!(may_be_lag(over, Some(&known(0, 9))));
        assert!(may_be_lag(over, Some(&known(-3, -1))));
        assert!(!may_be_lag(over, Some(&known(1, 9))));
        let within = Bounds { low: -2, high: 9 };
        assert!(!may_be_lag(within, None));
    }

    proptest! {
        #[test]
        fn it_is_never_beyond_the_longest_nor_below_what_was_too_short(
            lags in prop::collection::vec((0_u64..20_000, any::<bool>()), 1..40),
        ) {
            let mut settling = Settling::learning(Settling::LONGEST);
            let mut too_short = Duration::ZERO;
            for (lag, is_slower) in lags {
                settling.note(&AGREED, Some(&likely(MS * lag as u32, 20)));
                let now = settling.now();
                prop_assert!(now <= Settling::LONGEST && now > too_short);
                if is_slower && !settling.is_longest() {
                    too_short = too_short.max(now);
                    settling.lengthen();
                    settling.note(&AGREED, None);
                }
            }
        }
    }
}
