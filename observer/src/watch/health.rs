//! The witnesses of an endpoint: when they are due to be compared, and what came of it.
//!
//! What a survey or a loss means is `check::trust`'s; here it is fed. Looking changes nothing: the
//! losses are noted by the task that judges, the surveys by the task that makes them.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, futures::Notified};

use super::{
    endpoint::{Endpoint, WitnessError},
    kernel::Kernel,
    lock,
    look::Survey,
    place::PlaceError,
    reconcile::{Depth, Outcome},
};
use crate::{
    check::{Blind, Surveyed, Trust},
    config::Listen,
    probe::chain,
};

/// Least time between two surveys while the witnesses agree.
const BEAT: Duration = Duration::from_secs(30);
/// The same while the programs were not shown something lately: what has left no trace by the next
/// survey is not found.
const DOUBTFUL_BEAT: Duration = Duration::from_secs(5);
/// Least time between two surveys while the witnesses agree, and between two other looks at every
/// socket, in times of what the first took: with very many sockets, of which some always come or go,
/// one may take a second.
pub(super) const REST: u32 = 100;
/// The same while the programs were not shown something lately.
const DOUBTFUL_REST: u32 = 10;
/// Between two surveys while they do not.
const UNTRUSTED_BEAT: Duration = Duration::from_millis(500);
/// Share of its beat after which an endpoint takes part in a survey that another one is due for.
const EARLY: f64 = 0.9;

/// An endpoint with the state of its witnesses.
pub struct Watched {
    /// Where the sockets are.
    pub endpoint: Endpoint,
    kernel: Arc<Kernel>,
    state: Mutex<Health>,
    /// A survey is wanted.
    is_wanted: AtomicBool,
    /// Rings then.
    bell: Arc<Notify>,
    surveyed: Notify,
}

/// What is known of an endpoint's witnesses.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Whether the counts can be trusted.
    pub trust: Trust,
    /// The last survey.
    pub survey: Option<Survey>,
    /// Repairs of the map of sockets since the observer was started.
    pub repairs: u64,
    /// Why the sockets are nowhere to be seen, where the reason is [`Blind::NoNamespace`].
    pub absence: Option<String>,
    /// Why the witnesses could not be compared the last time, if they could not.
    pub failure: Option<String>,
    /// How long the last survey took.
    took: Duration,
    /// When it ended.
    ended: Option<Instant>,
}

/// What an endpoint is compared for.
pub(super) struct Asked {
    /// How much of it.
    pub(super) depth: Depth,
    /// Events that had been lost before.
    losses: u64,
}

impl Health {
    /// When the next survey is due, and when it may be made early; none before the first.
    fn due(&self) -> Option<(Instant, Instant)> {
        let beat = if !self.trust.is_trusted() {
            UNTRUSTED_BEAT
        } else if self.trust.is_in_doubt() {
            DOUBTFUL_BEAT.max(self.took * DOUBTFUL_REST)
        } else {
            BEAT.max(self.took * REST)
        };
        let ended = self.ended?;
        Some((ended + beat, ended + beat.mul_f64(EARLY)))
    }

    /// What is known of two endpoints of one target together.
    pub(super) fn and(self, other: Self) -> Self {
        let both = self.survey.zip(other.survey);
        Self {
            // The one that is worse.
            trust: match self.trust.is_trusted() {
                true => other.trust,
                false => self.trust,
            },
            survey: both.map(|(one, other)| one.and(other)),
            repairs: self.repairs + other.repairs,
            absence: self.absence.or(other.absence),
            failure: self.failure.or(other.failure),
            took: self.took.max(other.took),
            ended: self.ended.min(other.ended),
        }
    }
}

impl Watched {
    /// An endpoint that is not seeded yet; `bell` rings when a survey is wanted.
    #[must_use]
    pub fn new(endpoint: Endpoint, kernel: Arc<Kernel>, bell: Arc<Notify>) -> Self {
        Self {
            endpoint,
            kernel,
            state: Mutex::default(),
            is_wanted: AtomicBool::new(false),
            bell,
            surveyed: Notify::new(),
        }
    }

    /// What is known now.
    #[must_use]
    pub fn health(&self) -> Health {
        lock(&self.state).clone()
    }

    /// Grows whenever counts from before no longer add up with counts from then on.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        lock(&self.state).trust.epoch()
    }

    /// Whether what was open before is known.
    #[must_use]
    pub fn is_seeded(&self) -> bool {
        lock(&self.state).trust.is_seeded()
    }

    /// Asks for a survey now.
    pub fn survey_soon(&self) {
        self.is_wanted.store(true, Ordering::Release);
        self.bell.notify_one();
    }

    /// Waits until the next survey has ended, from when it is called.
    pub(super) fn next_survey(&self) -> Notified<'_> {
        self.surveyed.notified()
    }

    /// What it is to count has changed: an address within it has come or gone. What is open is taken in
    /// anew.
    pub(super) fn begin_anew(&self) {
        lock(&self.state).trust.moved();
        self.survey_soon();
    }

    /// When the next survey is due: now where it is wanted, or was never made.
    pub(super) fn due(&self, now: Instant) -> Instant {
        let due = lock(&self.state).due();
        match due {
            Some((due, _)) if !self.is_wanted.load(Ordering::Acquire) => due,
            _ => now,
        }
    }

    /// Whether it takes part in a survey that is made now for another endpoint.
    pub(super) fn is_nearly_due(&self, now: Instant) -> bool {
        let due = lock(&self.state).due();
        self.is_wanted.load(Ordering::Acquire) || due.is_none_or(|(_, early)| early <= now)
    }

    /// Notes what was lost until now; what is new is looked for.
    pub(super) fn note_losses(&self) {
        let losses = self.losses(self.kernel.lost_events());
        let grew = {
            let trust = &mut lock(&self.state).trust;
            let was_in_doubt = trust.is_in_doubt();
            trust.lost(losses) && trust.is_seeded() && !was_in_doubt
        };
        if grew {
            self.survey_soon();
        }
    }

    /// Events and sockets of this endpoint that were lost since the observer was started: those that
    /// may be anybody's, and its own.
    fn losses(&self, lost_events: u64) -> u64 {
        let map_full = self.endpoint.tally().map_or(0, |tally| tally.map_full);
        map_full + lost_events
    }

    /// Goes to where the sockets are now; returns whether they can be seen. What was wished for until
    /// now is met by the survey that follows.
    pub(super) fn follow(&self) -> bool {
        self.is_wanted.store(false, Ordering::Release);
        let moved = self.endpoint.follow();
        let mut health = lock(&self.state);
        match moved {
            Ok(false) => true,
            Ok(true) => {
                let netns = self.endpoint.netns();
                if let Some(absence) = health.absence.take() {
                    tracing::info!(%netns, was = absence, "the network namespace is there");
                } else if health.survey.is_some() {
                    tracing::info!(%netns, "the name stands for another network namespace");
                }
                health.survey = None;
                health.trust.moved();
                true
            }
            Err(error) => {
                let absence = chain(&error);
                if health.absence.as_ref() != Some(&absence) {
                    log_absence(&self.endpoint, &error, &absence);
                }
                health.survey = None;
                health.trust.absent();
                health.absence = Some(absence);
                health.ended = Some(Instant::now());
                false
            }
        }
    }

    /// Before it is compared: notes what was lost, and says how much of it is to be compared.
    pub(super) fn begin(&self, lost_events: u64) -> Asked {
        let losses = self.losses(lost_events);
        let trust = &mut lock(&self.state).trust;
        trust.lost(losses);
        let depth = if !trust.is_seeded() {
            Depth::Seed
        } else if trust.is_in_doubt() {
            Depth::Sockets
        } else {
            Depth::Counts
        };
        Asked { depth, losses }
    }

    /// Takes in what came of the comparison that was begun at this time.
    pub(super) fn end(&self, asked: &Asked, began: Instant, outcome: Outcome) {
        let finished = Instant::now();
        let mut health = lock(&self.state);
        health.took = finished - began;
        health.ended = Some(finished);
        let before = health.trust.blind();
        match outcome {
            Ok(survey) => {
                health.repairs += survey.repairs;
                health.trust.surveyed(&Surveyed {
                    began,
                    finished,
                    losses: asked.losses,
                    disagreement: survey.disagreement,
                    repairs: survey.repairs,
                });
                report(self.endpoint.listen(), before, &health, &survey);
                health.failure = None;
                health.survey = Some(survey);
            }
            Err(error) => {
                health.trust.failed(began);
                let failure = chain(&error);
                // What has just gone is told of as that.
                let is_absent = matches!(*error, WitnessError::Absent);
                if !is_absent && health.failure.as_ref() != Some(&failure) {
                    log_failure(self.endpoint.listen(), &failure);
                }
                health.failure = Some(failure);
            }
        }
    }

    /// Wakes who waits for a survey.
    pub(super) fn wake(&self) {
        self.surveyed.notify_waiters();
    }
}

fn log_absence(endpoint: &Endpoint, error: &PlaceError, absence: &str) {
    let (listen, netns) = (endpoint.listen(), endpoint.netns());
    let hint = error.hint();
    tracing::warn!(%listen, %netns, error = absence, hint, "its sockets cannot be seen");
}

fn report(listen: &Listen, before: Option<Blind>, health: &Health, survey: &Survey) {
    if survey.repairs > 0 {
        tracing::warn!(
            %listen,
            repairs = survey.repairs,
            "the map of sockets was repaired"
        );
    }
    match (before, health.trust.blind()) {
        (Some(was), None) => {
            tracing::info!(%listen, was = was.name(), "the witnesses agree");
        }
        (None, Some(_)) => {
            tracing::warn!(
                %listen,
                disagreement = survey.disagreement,
                "the witnesses disagree: no verdict until they agree"
            );
        }
        _ => {}
    }
}

fn log_failure(listen: &Listen, error: &str) {
    tracing::warn!(%listen, error, "the witnesses cannot be compared");
}
