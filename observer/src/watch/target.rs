//! One target: its samples, its claim, and what was last found. Its checks are in `judging`.

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, mpsc};

use super::{
    close_look::CloseLook, endpoint::WitnessError, endpoints::Endpoints, kernel::Kernel, lock,
    observation::Observation, sampler::Bell, state::State,
};
use crate::{
    check::{Glance, Lives, Record, Sample, Suspects, pause_before_recheck},
    claim::{Claimant, Reading},
    config::{self, Counts as Counted},
};

/// Most readings that wait for their window to end; at most one a check, so `settle` bounds it.
const READINGS: usize = 8_192;

/// A look that took longer does not say when it was.
const LONGEST_GLANCE: Duration = Duration::from_micros(200);

/// Where connections are so few that hardly one comes within this, the samples say enough.
const LONGEST_BEAT: Duration = Duration::from_millis(20);

/// Until the counts were sampled for the first time.
const FIRST_SAMPLES: Duration = Duration::from_millis(250);

/// A target with everything that is known of it.
pub struct Target {
    /// What the configuration says.
    pub config: config::Target,
    /// Where its sockets are.
    pub endpoints: Endpoints,
    kernel: Arc<Kernel>,
    pub(super) state: Mutex<State>,
    pub(super) sampled: Notify,
    sampler: OnceLock<Bell>,
    pub(super) recheck: Notify,
    pub(super) unexplained: Notify,
}

impl Target {
    /// A target of which nothing is known yet.
    #[must_use]
    pub fn new(config: config::Target, endpoints: Endpoints, kernel: Arc<Kernel>) -> Self {
        Self {
            state: Mutex::new(State::new(&config)),
            config,
            endpoints,
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

    /// How far from the kernel's moment the service may count, as it is now.
    pub(super) fn settle(&self) -> Duration {
        lock(&self.state).settling.now()
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

    /// Asks for a sample that is yet to begin.
    pub(super) fn ring(&self) {
        if let Some(sampler) = self.sampler.get() {
            sampler.ring();
        }
    }

    /// Whom to ask for a sample.
    pub(super) fn sampled_by(&self, sampler: Bell) {
        // A watch is started once: another sampler would find the place taken.
        let _ = self.sampler.set(sampler);
    }

    /// Takes one sample of the counts. Returns whether they are others than at the sample before.
    pub fn sample(&self) -> bool {
        let began = Instant::now();
        let epoch = self.endpoints.epoch();
        // Before the counts: each end that is in the lives is in the counts as well.
        let lives = self.read_lives();
        let read = self.endpoints.count(self.config.counts);
        let finished = Instant::now();
        let is_of_one_epoch = epoch == self.endpoints.epoch();
        let mut state = lock(&self.state);
        state.note_epoch(epoch);
        let has_changed = match read {
            // Neither of the one nor of the other: the next one will be.
            Ok(_) if !is_of_one_epoch => true,
            Ok((tally, counts)) => {
                let before = state.samples.last().map(|last| last.counts);
                state.last.tally = Some(tally);
                let sample = Sample {
                    began,
                    finished,
                    counts,
                };
                state.samples.push(sample, lives);
                before != Some(counts)
            }
            Err(error) => {
                state.last.tally = None;
                state.samples.clear();
                // The survey meets the same error, and logs it; it looks for a place by itself.
                if !matches!(error, WitnessError::Absent) {
                    self.endpoints.survey_soon();
                }
                true
            }
        };
        drop(state);
        self.sampled.notify_waiters();
        has_changed
    }

    /// Counts between two samples what opened and ended, where that costs little.
    pub(super) fn glance(&self) {
        let began = Instant::now();
        let epoch = self.endpoints.epoch();
        // Without the accept queue, for which the sockets would have to be listed.
        let Ok((_, counts)) = self.endpoints.count(match self.config.counts {
            Counted::Accepted => Counted::Established,
            counted => counted,
        }) else {
            // The next sample meets the same error, and tells.
            return;
        };
        let took = began.elapsed();
        let mut state = lock(&self.state);
        if took < LONGEST_GLANCE && state.epoch == epoch && epoch == self.endpoints.epoch() {
            state.samples.glance(Glance {
                at: began + took / 2,
                opened: counts.opened,
                ended: counts.ended,
            });
        }
    }

    /// Plans close looks for a claim that is to be read at `due` or a little later; returns when.
    fn look_closely(self: &Arc<Self>, due: Instant) -> Instant {
        let has_programs = self.endpoints.has_programs();
        let Some(sampler) = self.sampler.get().filter(|_| has_programs) else {
            return due;
        };
        let (lags, rate) = {
            let state = lock(&self.state);
            (state.learner.nearest_lags(), state.samples.rate())
        };
        let longest = self.config.interval / 2;
        let planned = CloseLook::plan(&lags, due, rate, LONGEST_BEAT, longest);
        let Some((look, read)) = planned.filter(|_| self.config.is_level()) else {
            return due;
        };
        sampler.look(self, look);
        read
    }

    /// How long those lived that have ended, where the programs count that: connections from
    /// ESTABLISHED to CLOSE, WebSockets from their upgrade to the first sign of their end.
    fn read_lives(&self) -> Option<Lives> {
        let kernel = &self.kernel;
        let durations = self.endpoints.durations(|index| match self.config.counts {
            Counted::Websocket => kernel.websocket_durations(index),
            Counted::Established | Counted::Accepted | Counted::Outgoing => kernel.durations(index),
        })?;
        let buckets = durations.buckets.first_chunk()?;
        Some(Lives(*buckets))
    }

    /// Reads the claim at every interval, from `offset` later than at once, and sooner where a drift
    /// is unsettled.
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
        let mut last = None;
        loop {
            tokio::select! {
                _ = beat.tick() => {}
                () = self.recheck.notified() => {
                    let pause = pause_before_recheck(self.settle(), self.config.interval);
                    tokio::time::sleep(pause).await;
                }
            }
            let due = self.look_closely(Instant::now());
            tokio::time::sleep_until(due.into()).await;
            let reading = claimant.read().await;
            let sampled = reading.sampled();
            // What Prometheus has is the same until it scrapes again: said twice, it is no second
            // word of the service.
            if sampled.is_some() && sampled == last {
                continue;
            }
            last = sampled;
            if readings.send(reading).await.is_err() {
                return;
            }
        }
    }

    /// Where the readings go until they can be judged.
    #[must_use]
    pub fn readings() -> (mpsc::Sender<Reading>, mpsc::Receiver<Reading>) {
        mpsc::channel(READINGS)
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
}
