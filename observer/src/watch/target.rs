//! One target: its samples, its claim, and what was last found. Its checks are in `judging`.

use std::{
    sync::{Arc, Mutex, OnceLock, Weak},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, mpsc};

use super::{
    endpoint::WitnessError, endpoints::Endpoints, judging::COMPARED_WITHIN, kernel::Kernel, lock,
    observation::Observation, sampler::Bell, unheard::Heard,
};
use crate::{
    check::{
        ClosingSockets, Confirmation, History, Judge, Lives, Record, Rules, Sample, Samples,
        Suspects, TooWide, pause_before_recheck,
    },
    claim::{Claimant, Reading},
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
    pub endpoints: Endpoints,
    kernel: Arc<Kernel>,
    pub(super) state: Mutex<State>,
    pub(super) sampled: Notify,
    sampler: OnceLock<Bell>,
    pub(super) recheck: Notify,
    pub(super) unexplained: Notify,
}

/// What changes of a target.
pub(super) struct State {
    pub(super) samples: Samples,
    pub(super) epoch: u64,
    pub(super) judge: Judge,
    pub(super) closing: ClosingSockets,
    /// The cookies of the sockets that listened when there last were any.
    pub(super) listening: Vec<u64>,
    pub(super) history: History,
    /// What the last look found of sockets that were not heard, when it began and how long it took.
    pub(super) listened: Option<(Heard, Instant, Duration)>,
    pub(super) last: Observation,
}

impl Target {
    /// A target of which nothing is known yet.
    #[must_use]
    pub fn new(config: config::Target, endpoints: Endpoints, kernel: Arc<Kernel>) -> Self {
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
            state: Mutex::new(State {
                samples: Samples::new(keep),
                epoch: 0,
                judge: Judge::new(rules),
                closing: ClosingSockets::default(),
                listening: Vec::new(),
                history: History::default(),
                listened: None,
                last: Observation::none(),
            }),
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
        if let Some(sampler) = self.sampler.get().and_then(Weak::upgrade) {
            // It is full if another waits already, for a sample that is yet to begin.
            let _ = sampler.try_send(());
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

    /// How long those lived that have ended, where the programs count that: connections from
    /// ESTABLISHED to CLOSE, WebSockets from their upgrade to the first sign of their end.
    fn read_lives(&self) -> Option<Lives> {
        let kernel = &self.kernel;
        let durations = self.endpoints.durations(|index| match self.config.counts {
            Counted::Websocket => kernel.websocket_durations(index),
            Counted::Established | Counted::Accepted => kernel.durations(index),
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
        loop {
            tokio::select! {
                _ = beat.tick() => {}
                () = self.recheck.notified() => {
                    let Self { config, .. } = &*self;
                    let pause = pause_before_recheck(config.settle, config.interval);
                    tokio::time::sleep(pause).await;
                }
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
