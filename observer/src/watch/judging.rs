//! The checks of a target: each reading is held against the kernel's counts as soon as its window
//! has ended, and what comes of it is published.
//!
//! What follows from what is `check`'s. Where that wants the witnesses compared first, they are, and
//! the same check is judged again.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{sync::mpsc, time::timeout_at};

use super::{
    dumps::Listeners, endpoints::Together, health::REST, lock, state::State, target::Target,
    unheard::Heard,
};
use crate::{
    check::{
        Allowance, Blind, Facts, Finding, Interval, Opened, Record, Rule, Sample, Shape, Verdict,
        Window,
    },
    claim::{Outcome, Reading},
    config::{ClaimType, Counts as Counted},
};

/// How long a check waits for a comparison of the witnesses before it is left unsettled.
pub(super) const COMPARED_WITHIN: Duration = Duration::from_secs(20);

/// What was read for one check.
struct Observed {
    reading: Reading,
    /// When the claim was asked for, for people.
    at: SystemTime,
    /// How far the window reaches on both sides of the reading.
    settle: Duration,
    listeners: Option<Listeners>,
    is_restarted: bool,
    /// Sockets that have been closing for longer than that.
    held: Option<u64>,
    heard: Heard,
    subflows: u64,
    /// What was opened in the window, where the claim counts that.
    opened: Option<Opened>,
    /// The samples on both sides of the window, and how many connections came and went in it.
    samples: Option<(Sample, Sample, u64)>,
    /// The epoch of these samples.
    epoch: u64,
}

/// What was made of it.
struct Judged {
    finding: Finding,
    interval: Option<Interval>,
    window: Option<Window>,
}

impl Target {
    /// Judges each reading as soon as its window has ended.
    pub async fn judge(self: Arc<Self>, mut readings: mpsc::Receiver<Reading>) {
        while let Some(reading) = readings.recv().await {
            let (mut observed, mut judged) = self.check(reading).await;
            if judged.finding.rule == Rule::LongestFirst {
                lock(&self.state).settling.lengthen();
                (observed, judged) = self.check(observed.reading).await;
            }
            let verdict = judged.finding.verdict;
            self.publish(observed, judged);
            // Soon rather than at the next interval: a quiet moment may be short. One at a time, or
            // an unsettled drift would make ever more checks.
            if verdict == Verdict::Unsettled && readings.is_empty() {
                self.recheck.notify_one();
            }
        }
    }

    /// Judges a reading with the `settle` that there is now.
    async fn check(&self, reading: Reading) -> (Observed, Judged) {
        let settle = self.settle();
        let ends = reading.finished + settle;
        tokio::time::sleep_until(ends.into()).await;
        loop {
            let sampled = self.sampled.notified();
            if self.is_sampled(ends) {
                break;
            }
            self.ring();
            sampled.await;
        }
        // It dumps sockets, which blocks for as long as there are some.
        let observed = tokio::task::block_in_place(|| {
            let mut observed = self.observe(reading, settle);
            match self.config.claim_type {
                ClaimType::Gauge => observed.subflows = self.subflows(&observed),
                ClaimType::Counter => observed.opened = self.opened(&observed),
            }
            observed
        });
        let judged = self.weigh_compared(&observed).await;
        (observed, judged)
    }

    fn is_sampled(&self, ends: Instant) -> bool {
        let state = lock(&self.state);
        // Samples that cannot be taken are a reason to be blind, not to wait.
        state.last.tally.is_none() || state.samples.after(ends).is_some()
    }

    /// Reads what the kernel says besides its counts, and notes what it has lost.
    fn observe(&self, reading: Reading, settle: Duration) -> Observed {
        let listeners = self.endpoints.note_listeners().ok();
        let closing = self.endpoints.closing(self.config.counts).ok();
        let dumped = Instant::now();
        if closing.as_ref().is_some_and(|closing| closing.are_too_few) {
            // Counted as closing for good, they would make the interval wider, and hide a drift.
            self.endpoints.survey_soon();
        }
        // After the last sample of the window: what was lost until then is known.
        self.endpoints.note_losses();
        let heard = self.listen(&reading);
        let begins = reading.started.checked_sub(settle);
        let ends = reading.finished + settle;
        let state = &mut *lock(&self.state);
        state.note_epoch(self.endpoints.epoch());
        let held = closing.map(|closing| {
            state.closing.note(&closing.sockets, dumped);
            state.closing.held(settle, dumped)
        });
        Observed {
            at: SystemTime::now() - reading.started.elapsed(),
            settle,
            is_restarted: state.note_service(listeners.as_ref(), &reading.outcome),
            held,
            samples: begins.and_then(|begins| {
                let samples = &state.samples;
                let (before, mut after) = (samples.before(begins)?, *samples.after(ends)?);
                // Without a dump after the window it is not known which of them were still open.
                after.counts.orphans = held.map_or(0, |_| state.closing.orphans(begins));
                Some((*before, after, samples.surely_young(before, &after)))
            }),
            epoch: state.epoch,
            heard,
            subflows: 0,
            opened: None,
            listeners,
            reading,
        }
    }

    /// Looks for sockets that have sent bytes of which the programs saw none: each may be a WebSocket.
    ///
    /// After the window, so that one that was open in it is found here or was counted when it closed.
    /// At every check whose claim is beyond what the programs know of; else paced, since it lists
    /// every socket.
    fn listen(&self, reading: &Reading) -> Heard {
        if self.config.counts != Counted::Websocket || !self.endpoints.has_programs() {
            return Heard::default();
        }
        let began = Instant::now();
        let (last, known) = {
            let state = lock(&self.state);
            let known = state.last.tally.map_or(0, |tally| {
                let websockets = tally.upgraded.saturating_sub(tally.websocket_closed);
                websockets + tally.unknown_entered.saturating_sub(tally.unknown_left)
            });
            (state.listened, known)
        };
        let is_beyond = match &reading.outcome {
            Outcome::Claimed(claim) => {
                self.config.claim_type == ClaimType::Gauge && claim.value > known as f64
            }
            Outcome::Down(_) | Outcome::Missing(_) => false,
        };
        if let Some((heard, then, took)) = last
            && !is_beyond
            && then.elapsed() < took * REST
        {
            return heard;
        }
        let Ok(heard) = self.endpoints.heard() else {
            // The survey meets the same error, and logs it.
            self.endpoints.survey_soon();
            let tally = lock(&self.state).last.tally;
            return tally.map_or_else(Heard::default, |tally| Heard::of_none(&tally));
        };
        lock(&self.state).listened = Some((heard, began, began.elapsed()));
        heard
    }

    /// How many open sockets are subflows, where the claim is too small without: it takes a list of
    /// every socket.
    fn subflows(&self, observed: &Observed) -> u64 {
        let fewest = observed.samples.map(|(before, after, young)| {
            let interval = Interval::between(&before, &after, young);
            interval.low
        });
        match (&observed.reading.outcome, fewest) {
            (Outcome::Claimed(claim), Some(fewest)) if claim.value < fewest as f64 => {
                let subflows = self.endpoints.subflows();
                subflows.unwrap_or(fewest.unsigned_abs())
            }
            _ => 0,
        }
    }

    /// What was opened in the window; nothing where that is not known.
    fn opened(&self, observed: &Observed) -> Option<Opened> {
        let (before, after, _) = observed.samples?;
        let subflows = self.endpoints.subflows_so_far().ok()?;
        Some(Opened {
            before,
            after,
            subflows,
        })
    }

    /// Judges a check, after a comparison of the witnesses where it takes one.
    async fn weigh_compared(&self, observed: &Observed) -> Judged {
        let give_up = tokio::time::Instant::now() + COMPARED_WITHIN;
        loop {
            // From here on the end of a survey is noticed.
            let surveyed = self.endpoints.next_surveys();
            let judged = self.weigh(observed);
            if judged.finding.rule != Rule::WitnessesFirst {
                return judged;
            }
            self.endpoints.survey_soon();
            if timeout_at(give_up, surveyed).await.is_err() {
                return judged;
            }
        }
    }

    fn weigh(&self, observed: &Observed) -> Judged {
        let trust = self.endpoints.trust();
        let state = &mut *lock(&self.state);
        let reading = &observed.reading;
        let samples = observed.samples.filter(|_| observed.epoch == trust.epoch());
        let window = samples.map(|(before, after, _)| Window {
            begins: observed.at - observed.settle,
            ends: observed.at + reading.duration() + observed.settle,
            before: before.counts,
            after: after.counts,
            allowance: Allowance {
                missing: trust.missing(before.began),
                unseen: observed.heard.unheard_since(before.counts.unheard_closed),
                subflows: observed.subflows,
            },
        });
        let measured = samples
            .zip(window)
            .and_then(|((before, after, young), window)| {
                let interval = Interval::between(&before, &after, young);
                state.measure(
                    self.config.bound,
                    interval,
                    &window,
                    observed.opened.as_ref(),
                )
            });
        let is_first = state.openings.is_some() && observed.opened.is_some() && measured.is_none();
        let claim = match &reading.outcome {
            Outcome::Claimed(claim) => Ok(claim.value as i64),
            Outcome::Down(_) => Err(Blind::TargetDown),
            Outcome::Missing(_) => Err(Blind::ClaimMissing),
        };
        let finding = state.judge.judge(&Facts {
            blind: self
                .blindness(observed, state, &trust)
                .or((is_first && claim.is_ok()).then_some(Blind::FirstReading)),
            claim,
            measured,
            read: reading.started,
            at: observed.at,
            ends: reading.finished + observed.settle,
            agreed: trust.agreed(),
            learnt: (!state.settling.is_longest()).then_some(state.last.likely),
        });
        Judged {
            finding,
            interval: measured.map(|measured| measured.interval),
            window,
        }
    }

    /// Why nothing can be said whatever the service claims.
    fn blindness(&self, observed: &Observed, state: &State, trust: &Together) -> Option<Blind> {
        let is_blind_to_class = self.config.counts == Counted::Websocket
            && self.kernel().blind_to_websockets().is_some();
        if is_blind_to_class {
            return Some(Blind::CannotTell);
        }
        let tally = state.last.tally;
        let is_empty = tally.is_none_or(|tally| tally.opened == tally.closed);
        let listeners = observed.listeners.as_ref();
        let is_deserted = self.config.counts != Counted::Outgoing
            && listeners.is_some_and(|listeners| listeners.cookies.is_empty());
        trust
            .blind()
            .or(observed.heard.is_deaf().then_some(Blind::EgressUnseen))
            .or((is_empty && is_deserted).then_some(Blind::NotListening))
            .or(observed.is_restarted.then_some(Blind::Restarted))
    }

    /// Remembers a check and what was found.
    fn publish(&self, observed: Observed, judged: Judged) {
        let Observed {
            reading,
            at,
            listeners,
            held,
            heard,
            opened,
            ..
        } = observed;
        let Judged {
            finding,
            interval,
            window,
        } = judged;
        let state = &mut *lock(&self.state);
        let counted = window.zip(held).filter(|_| self.config.is_level());
        if let (Some(opened), Some(window)) = (opened, window) {
            state.note_opened(&reading.outcome, &finding, interval, &opened, &window);
        }
        let likely = state.learn(&finding, &reading, counted);
        state.settling.note(&finding, likely.as_ref());
        let last = &mut state.last;
        last.likely = likely;
        last.settle = state.settling.now();
        last.log_change(&self.config.name, &finding);
        last.is_up = Some(reading.outcome.is_up());
        last.scrape = Some(reading.duration());
        last.note_claim(&reading.outcome);
        let record = Record {
            at,
            claim: last.claim.map(|claim| claim as i64),
            interval,
            window,
            finding,
            waiting: listeners.as_ref().map_or(0, |seen| seen.queue_length),
            http: match (self.config.counts, last.tally) {
                (Counted::Websocket, Some(tally)) => {
                    tally.http_entered.saturating_sub(tally.http_left)
                }
                _ => 0,
            },
        };
        state.history.push(record);
        last.record = Some(record);
        last.shape = match finding.verdict {
            Verdict::Over | Verdict::Under if self.config.claim_type == ClaimType::Gauge => {
                Shape::of(&state.history)
            }
            _ => None,
        };
        let was_unexplained = last.is_unexplained();
        last.interval = interval;
        last.listeners = listeners;
        last.held = held;
        last.heard = heard;
        last.finding = finding;
        last.checked_at = Some(at);
        if last.is_unexplained() {
            self.unexplained.notify_one();
        } else if was_unexplained {
            last.suspects = None;
        }
        for (count, verdict) in last.checks.iter_mut().zip(Verdict::ALL) {
            *count += u64::from(verdict == finding.verdict);
        }
    }
}
