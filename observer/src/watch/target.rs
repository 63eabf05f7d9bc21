//! One target: its samples, its claim, its judge, and what was last found.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, Weak},
    time::{Duration, Instant, SystemTime},
};

use observer_ebpf::Tally;
use tokio::sync::{Notify, mpsc};

use super::{
    counted::project, dumps::Listeners, endpoint::WitnessError, health::Watched, kernel::Kernel,
    lock, observation::Observation, sampler::Bell,
};
use crate::{
    check::{
        Blind, Check, Counts, Finding, History, Interval, Judge, Record, Rule, Sample, Samples,
        Shape, Suspects, Verdict, Window,
    },
    claim::{Claimant, Outcome, Reading},
    config::{self, Bound, Counts as Counted},
};

/// Most readings that wait for their window to end; at most one a check, so `settle` bounds it.
const READINGS: usize = 8_192;

/// Until the counts were sampled for the first time.
const FIRST_SAMPLES: Duration = Duration::from_millis(250);

/// A target with everything that is known of it.
pub struct Target {
    /// What the configuration says.
    pub config: config::Target,
    /// Where its sockets are.
    pub watched: Arc<Watched>,
    kernel: Arc<Kernel>,
    state: Mutex<State>,
    sampled: Notify,
    sampler: OnceLock<Bell>,
    recheck: Notify,
    unexplained: Notify,
}

struct State {
    samples: Samples,
    epoch: u64,
    judge: Judge,
    violated: Option<Instant>,
    closing: HashMap<u64, Instant>,
    /// The cookies of the sockets that listened when there last were any.
    listening: Vec<u64>,
    history: History,
    last: Observation,
}

impl Target {
    /// A target of which nothing is known yet.
    #[must_use]
    pub fn new(config: config::Target, watched: Arc<Watched>, kernel: Arc<Kernel>) -> Self {
        // A window, which time stamps put into the past, the time until it is decided, and slack.
        let fresh = config.freshness.age;
        let keep = config.settle * 2 + config.scrape_timeout + fresh + Duration::from_secs(5);
        Self {
            state: Mutex::new(State {
                samples: Samples::new(keep),
                epoch: 0,
                judge: Judge::new(config.confirm),
                violated: None,
                closing: HashMap::new(),
                listening: Vec::new(),
                history: History::default(),
                last: Observation::none(),
            }),
            config,
            watched,
            kernel,
            sampled: Notify::new(),
            sampler: OnceLock::new(),
            recheck: Notify::new(),
            unexplained: Notify::new(),
        }
    }

    /// What was last observed.
    #[must_use]
    pub fn observation(&self) -> Observation {
        lock(&self.state).last.clone()
    }

    /// The last checks, oldest first.
    #[must_use]
    pub fn history(&self) -> Vec<Record> {
        lock(&self.state).history.iter().copied().collect()
    }

    /// What all targets share of the kernel.
    #[must_use]
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Whether a program sees what the service sends, so that its connections have a class.
    #[must_use]
    pub fn are_classified(&self) -> bool {
        self.kernel.blind_to_websockets().is_none()
    }

    /// Whom to ask for a sample.
    pub(super) fn sampled_by(&self, sampler: Bell) {
        // A watch is started once: another sampler would find the place taken.
        let _ = self.sampler.set(sampler);
    }

    /// Takes one sample of the counts. Returns whether they are others than at the sample before.
    pub fn sample(&self) -> bool {
        let began = Instant::now();
        let read = self.read_counts();
        let finished = Instant::now();
        let epoch = self.watched.epoch();
        let mut state = lock(&self.state);
        if state.epoch != epoch {
            state.epoch = epoch;
            state.samples.clear();
        }
        let has_changed = match read {
            Ok((tally, counts)) => {
                let before = state.samples.last().map(|last| last.counts);
                state.last.tally = Some(tally);
                state.samples.push(Sample {
                    began,
                    finished,
                    counts,
                });
                before != Some(counts)
            }
            Err(error) => {
                state.last.tally = None;
                state.samples.clear();
                // The survey meets the same error, and logs it; it looks for a place by itself.
                if !matches!(error, WitnessError::Absent) {
                    self.watched.survey_soon();
                }
                true
            }
        };
        drop(state);
        self.sampled.notify_waiters();
        has_changed
    }

    fn read_counts(&self) -> Result<(Tally, Counts), WitnessError> {
        if !self.watched.is_seeded() {
            // What was open before is not zero: it is unknown.
            return Err(WitnessError::Absent);
        }
        let endpoint = &self.watched.endpoint;
        let count = endpoint.count()?;
        // After the counts: what was accepted until now is at least what was opened less these.
        let waiting = match self.config.counts {
            Counted::Accepted => endpoint.listeners()?.queue_length,
            Counted::Established | Counted::Websocket => 0,
        };
        let known = project(&count.tally, self.config.counts);
        let counts = Counts {
            doubtful_entered: known.doubtful_entered.wrapping_add(count.unseen_after),
            doubtful_left: known.doubtful_left.wrapping_add(count.unseen_before),
            waiting,
            ..known
        };
        Ok((count.tally, counts))
    }

    /// Reads the claim at every interval, from `offset` on, and sooner where a drift is unsettled.
    pub async fn scrape(
        self: Arc<Self>,
        mut claimant: Claimant,
        readings: mpsc::Sender<Reading>,
        offset: Duration,
    ) {
        // A window begins `settle` before its claim is read: the first one needs samples from there.
        let first = tokio::time::Instant::now() + self.config.settle + FIRST_SAMPLES + offset;
        let mut beat = tokio::time::interval_at(first, self.config.interval);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => {}
                () = self.recheck.notified() => {}
            }
            if readings.send(claimant.read().await).await.is_err() {
                return;
            }
        }
    }

    /// Where the readings go until they can be judged.
    #[must_use]
    pub fn readings() -> (mpsc::Sender<Reading>, mpsc::Receiver<Reading>) {
        mpsc::channel(READINGS)
    }

    /// Judges each reading as soon as its window has ended.
    pub async fn judge(self: Arc<Self>, mut readings: mpsc::Receiver<Reading>) {
        while let Some(reading) = readings.recv().await {
            let ends = reading.finished + self.config.settle;
            tokio::time::sleep_until(ends.into()).await;
            loop {
                let sampled = self.sampled.notified();
                if self.is_sampled(ends) {
                    break;
                }
                if let Some(sampler) = self.sampler.get().and_then(Weak::upgrade) {
                    // It is full if another waits already, for a sample that is yet to begin.
                    let _ = sampler.try_send(());
                }
                sampled.await;
            }
            // It dumps sockets, which blocks for as long as there are some.
            let verdict = tokio::task::block_in_place(|| self.decide(&reading, ends));
            // At once rather than at the next interval: a quiet moment may be short. One at a time,
            // or an unsettled drift would make ever more checks.
            if verdict == Verdict::Unsettled && readings.is_empty() {
                self.recheck.notify_one();
            }
        }
    }

    fn is_sampled(&self, ends: Instant) -> bool {
        let state = lock(&self.state);
        // Samples that cannot be taken are a reason to be blind, not to wait.
        state.last.tally.is_none() || state.samples.after(ends).is_some()
    }

    fn decide(&self, reading: &Reading, ends: Instant) -> Verdict {
        let health = self.watched.health();
        let listeners = self.watched.endpoint.listeners().ok();
        let closing = self.watched.endpoint.closing().ok();
        if closing.as_ref().is_some_and(|closing| closing.are_too_few) {
            // Counted as closing for good, they would make the interval wider, and hide a drift.
            self.watched.survey_soon();
        }
        let at = SystemTime::now() - reading.started.elapsed();
        let begins = reading.started.checked_sub(self.config.settle);

        let state = &mut *lock(&self.state);
        let restarted = state.note_listeners(listeners.as_ref());
        let held = closing.map(|closing| state.note_closing(&closing.cookies, self.config.settle));
        let counts = begins
            .and_then(|begins| Some((*state.samples.before(begins)?, *state.samples.after(ends)?)));
        let interval = counts.map(|(before, after)| Interval::between(&before, &after));
        let interval = match self.config.bound {
            Bound::Exact => interval,
            Bound::AtMost => interval.map(Interval::at_most),
        };
        let window = counts.map(|(before, after)| Window {
            begins: at - self.config.settle,
            ends: at + reading.duration() + self.config.settle,
            before: before.counts,
            after: after.counts,
        });
        let blind = self.blindness(&health.distrust, &state.last, listeners.as_ref());

        let finding = match (blind, &reading.outcome, interval) {
            (Some(reason), ..) => state.judge.blind(reason),
            (None, ..) if restarted => state.judge.blind(Blind::Restarted),
            (None, Outcome::Down(_), _) => state.judge.blind(Blind::TargetDown),
            (None, Outcome::Missing(_), _) => state.judge.blind(Blind::ClaimMissing),
            (None, Outcome::Claimed(_), None) => state.judge.blind(Blind::NotSeeded),
            (None, Outcome::Claimed(claim), Some(interval)) => {
                let claim = claim.value as i64;
                state.judge.judge(&Check {
                    claim,
                    interval,
                    at,
                })
            }
        };
        let finding = self.hold_back(state, finding, health.agreed);
        state.last.log_change(&self.config.name, &finding);

        let last = &mut state.last;
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
            http: last.tally.map_or(0, |tally| {
                tally.http_entered.saturating_sub(tally.http_left)
            }),
        };
        state.history.push(record);
        last.record = Some(record);
        last.shape = match finding.verdict {
            Verdict::Over | Verdict::Under => Shape::of(&state.history),
            _ => None,
        };
        let was_unexplained = last.is_unexplained();
        last.interval = interval;
        last.listeners = listeners;
        last.held = held;
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
        finding.verdict
    }

    /// Waits until a check finds something that its sockets may explain.
    pub(super) async fn wanted(&self) {
        self.unexplained.notified().await;
    }

    /// Keeps the suspects that were found, unless what they were looked for has changed meanwhile.
    pub(super) fn suspect(&self, suspects: Suspects, was_unexplained: bool) {
        let last = &mut lock(&self.state).last;
        let is_unexplained = last.is_unexplained();
        if is_unexplained == was_unexplained {
            last.suspects = (is_unexplained || suspects.total() > 0).then_some(suspects);
        }
    }

    /// Why nothing can be said whatever the service claims.
    fn blindness(
        &self,
        distrust: &Option<Blind>,
        last: &Observation,
        listeners: Option<&Listeners>,
    ) -> Option<Blind> {
        let is_blind_to_class =
            self.config.counts == Counted::Websocket && self.kernel.blind_to_websockets().is_some();
        if is_blind_to_class {
            return Some(Blind::CannotTell);
        }
        if distrust.is_some() {
            return *distrust;
        }
        let is_empty = last.tally.is_none_or(|tally| tally.opened == tally.closed);
        let is_deserted = listeners.is_some_and(|listeners| listeners.cookies.is_empty());
        (is_empty && is_deserted).then_some(Blind::NotListening)
    }

    /// Blames nobody before the witnesses were found to agree after the first sign of a drift.
    fn hold_back(
        &self,
        state: &mut State,
        mut finding: Finding,
        agreed: Option<Instant>,
    ) -> Finding {
        let is_violation = matches!(
            finding.verdict,
            Verdict::Over | Verdict::Under | Verdict::Unsettled
        );
        if !is_violation {
            state.violated = None;
            return finding;
        }
        let violated = *state.violated.get_or_insert_with(Instant::now);
        let is_checked = agreed.is_some_and(|agreed| agreed >= violated);
        if !is_checked {
            finding.verdict = Verdict::Unsettled;
            finding.rule = Rule::WitnessesFirst;
            self.watched.survey_soon();
        }
        finding
    }
}

impl State {
    /// Whether other sockets listen now than when there last were any.
    fn note_listeners(&mut self, now: Option<&Listeners>) -> bool {
        let Some(now) = now.filter(|now| !now.cookies.is_empty()) else {
            return false;
        };
        let before = std::mem::replace(&mut self.listening, now.cookies.clone());
        !before.is_empty() && before != now.cookies
    }

    /// How many of the closing sockets have been closing for longer than `settle`.
    fn note_closing(&mut self, closing: &[u64], settle: Duration) -> u64 {
        let now = Instant::now();
        let seen: HashMap<u64, Instant> = closing
            .iter()
            .map(|cookie| (*cookie, *self.closing.get(cookie).unwrap_or(&now)))
            .collect();
        self.closing = seen;
        let is_held = |since: &&Instant| now.duration_since(**since) > settle;
        self.closing.values().filter(is_held).count() as u64
    }
}
