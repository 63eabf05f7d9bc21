//! What changes of a target from check to check.

use std::time::{Duration, Instant};

use super::{dumps::Listeners, judging::COMPARED_WITHIN, observation::Observation, unheard::Heard};
use crate::{
    check::{
        Allowance, Blind, Claimed, ClosingSockets, Confirmation, Finding, History, Interval, Judge,
        Learner, Likely, Measured, Opened, Openings, Rules, Samples, Settling, Slack, TooWide,
        Window, is_restart, is_same_start,
    },
    claim::{Claim, Outcome, Reading},
    config::{self, Bound, ClaimType, Counts as Counted},
};

/// What changes of a target.
pub(super) struct State {
    pub(super) samples: Samples,
    pub(super) epoch: u64,
    pub(super) judge: Judge,
    pub(super) learner: Learner,
    pub(super) settling: Settling,
    pub(super) closing: ClosingSockets,
    /// Where the claim counts openings: by how much it is ahead of the kernel, and the last one.
    pub(super) openings: Option<Openings>,
    pub(super) claimed: Option<Claim>,
    /// The cookies of the sockets that listened when there last were any.
    pub(super) listening: Vec<u64>,
    /// When the processes of the claim's pages were started, as they last said.
    pub(super) starts: Vec<f64>,
    pub(super) history: History,
    /// What the last look found of sockets that were not heard, when it began and how long it took.
    pub(super) listened: Option<(Heard, Instant, Duration)>,
    pub(super) last: Observation,
}

impl State {
    /// Nothing is known yet.
    pub(super) fn new(config: &config::Target) -> Self {
        // The window of a check, which time stamps put into the past, the time until it is decided,
        // and some slack.
        let slack = config.freshness.age + COMPARED_WITHIN + Duration::from_secs(5);
        let keep = config.settle * 2 + config.scrape_timeout + slack;
        let rules = Rules {
            confirmation: Confirmation {
                checks: config.confirm,
                time: config.confirm_for,
            },
            too_wide: TooWide {
                share: match config.bound {
                    Bound::Exact => config.too_wide,
                    // Whatever it says below the most is right, by what it was declared to be.
                    Bound::AtMost => f64::INFINITY,
                },
                has_kinds: config.counts == Counted::Websocket,
            },
        };
        Self {
            samples: Samples::new(keep),
            epoch: 0,
            judge: Judge::new(rules),
            learner: Learner::new(config.settle),
            settling: match config.learns_settle {
                true => Settling::learning(config.settle),
                false => Settling::declared(config.settle),
            },
            closing: ClosingSockets::default(),
            openings: match config.claim_type {
                ClaimType::Gauge => None,
                ClaimType::Counter => Some(Openings::default()),
            },
            claimed: None,
            listening: Vec::new(),
            starts: Vec::new(),
            history: History::default(),
            listened: None,
            last: Observation::none(config.settle),
        }
    }

    /// Forgets the samples of another epoch: their counts do not add up with those of this one.
    pub(super) fn note_epoch(&mut self, epoch: u64) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.samples.clear();
            self.learner.clear();
            self.settling.forget();
            self.forget_openings();
        }
    }

    fn forget_openings(&mut self) {
        if let Some(openings) = &mut self.openings {
            openings.forget();
        }
    }

    /// What the kernel's counts say of a window, for a claim of this type. Nothing of a counter before it
    /// was read once, with counts that have all that there was.
    pub(super) fn measure(
        &mut self,
        bound: Bound,
        interval: Interval,
        window: &Window,
        opened: Option<&Opened>,
    ) -> Option<Measured> {
        let Some(openings) = &mut self.openings else {
            let interval = interval.with(window.allowance);
            return Some(Measured {
                interval: match bound {
                    Bound::Exact => interval,
                    Bound::AtMost => interval.at_most(),
                },
                counts: window.after,
                allowance: window.allowance,
            });
        };
        if window.allowance != Allowance::default() {
            openings.forget();
        }
        Some(Measured {
            interval: openings.interval(opened?)?,
            counts: openings.since(&window.after),
            allowance: window.allowance,
        })
    }

    /// Keeps what a counter has said, if it can be right.
    pub(super) fn note_opened(
        &mut self,
        outcome: &Outcome,
        finding: &Finding,
        interval: Option<Interval>,
        opened: &Opened,
        window: &Window,
    ) {
        let (Some(openings), Outcome::Claimed(claim)) = (&mut self.openings, outcome) else {
            return;
        };
        let is_known = matches!(
            finding.blind,
            None | Some(Blind::FirstReading | Blind::TooWide)
        );
        let claim = claim.value as i64;
        let can_be = interval.is_none_or(|open| open.low <= claim && claim <= open.high);
        if is_known && can_be && window.allowance == Allowance::default() {
            openings.note(claim, opened);
        }
    }

    /// What is likely after a check. With its window, how many connections the service held then.
    pub(super) fn learn(
        &mut self,
        finding: &Finding,
        reading: &Reading,
        counted: Option<(Window, u64)>,
    ) -> Option<Likely> {
        let claim = match &reading.outcome {
            Outcome::Claimed(claim) => Some(claim.value as i64),
            Outcome::Down(_) | Outcome::Missing(_) => None,
        };
        let claimed = claim.zip(counted).map(|(claim, (window, held))| Claimed {
            claim,
            moment: reading.started + reading.duration() / 2,
            samples: &self.samples,
            slack: Slack::of(&window.after, window.allowance, held),
        });
        self.learner.note(finding, claimed.as_ref())
    }

    /// Whether the service is another one than when there last was one, by its listening sockets, by
    /// what its pages say of their processes, or by counters that have begun anew.
    pub(super) fn note_service(
        &mut self,
        listeners: Option<&Listeners>,
        outcome: &Outcome,
    ) -> bool {
        let mut is_restarted = false;
        let mut has_changed = false;
        if let Some(now) = listeners.filter(|now| !now.cookies.is_empty()) {
            is_restarted |= is_restart(&self.listening, &now.cookies, u64::eq);
            // What waited there was opened, and nobody will count it.
            let is_gone = |cookie| !now.cookies.contains(cookie);
            has_changed |= self.listening.iter().any(is_gone);
            self.listening.clone_from(&now.cookies);
        }
        if let Outcome::Claimed(claim) = outcome {
            if !claim.starts.is_empty() {
                is_restarted |= is_restart(&self.starts, &claim.starts, is_same_start);
                has_changed |= self.starts.len() != claim.starts.len();
                let mut pairs = self.starts.iter().zip(&claim.starts);
                has_changed |= pairs.any(|(one, other)| !is_same_start(one, other));
                self.starts.clone_from(&claim.starts);
            }
            if self.openings.is_some() {
                let earlier = self.claimed.replace(claim.clone());
                is_restarted |= earlier.is_some_and(|earlier| claim.was_reset_since(&earlier));
            }
        }
        if is_restarted || has_changed {
            self.forget_openings();
        }
        is_restarted
    }
}
