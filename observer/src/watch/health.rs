//! The witnesses of an endpoint: who surveys them and when, and what came of it.
//!
//! What a survey or a loss means is `check::trust`'s; here it is fed. Looking changes nothing: the
//! losses are noted by the task that judges, the surveys by the task that makes them.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, futures::Notified};

use super::{
    endpoint::{Endpoint, WitnessError},
    kernel::Kernel,
    lock,
    place::PlaceError,
    reconcile::Survey,
};
use crate::{
    blocking::Places,
    check::{Blind, Surveyed, Trust},
    probe::chain,
};

/// Surveys at once, over all endpoints: each holds a list of every socket.
static SURVEYS: Places = Places::new(4);

/// Least time between two surveys while the witnesses agree.
const BEAT: Duration = Duration::from_secs(30);
/// The same while the programs were not shown something lately: what has left no trace by the next
/// survey is not found.
const DOUBTFUL_BEAT: Duration = Duration::from_secs(5);
/// Least time between two surveys while the witnesses agree, in times of what the first took: with
/// very many sockets, of which some always come or go, one may take a second.
const REST: u32 = 100;
/// The same while the programs were not shown something lately.
const DOUBTFUL_REST: u32 = 10;
/// Between two surveys while they do not.
const UNTRUSTED_BEAT: Duration = Duration::from_millis(500);
/// Between two looks at whether a namespace's name still stands for the same one.
const LOOK: Duration = Duration::from_secs(1);

/// An endpoint with the state of its witnesses.
pub struct Watched {
    /// Where the sockets are.
    pub endpoint: Endpoint,
    kernel: Arc<Kernel>,
    state: Mutex<Health>,
    wanted: Notify,
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
    /// How long the last survey took.
    took: Duration,
}

impl Health {
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
            took: self.took + other.took,
        }
    }
}

impl Watched {
    /// An endpoint that is not seeded yet.
    #[must_use]
    pub fn new(endpoint: Endpoint, kernel: Arc<Kernel>) -> Self {
        Self {
            endpoint,
            kernel,
            state: Mutex::default(),
            wanted: Notify::new(),
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
        self.wanted.notify_one();
    }

    /// Waits until the next survey has ended, from when it is called.
    pub(super) fn next_survey(&self) -> Notified<'_> {
        self.surveyed.notified()
    }

    /// Notes what was lost until now; what is new is looked for.
    pub(super) fn note_losses(&self) {
        let losses = self.losses();
        let grew = {
            let trust = &mut lock(&self.state).trust;
            let was_in_doubt = trust.is_in_doubt();
            trust.lost(losses) && trust.is_seeded() && !was_in_doubt
        };
        if grew {
            self.survey_soon();
        }
    }

    /// Events and sockets of this endpoint that were lost since the observer was started.
    fn losses(&self) -> u64 {
        let map_full = self.endpoint.tally().map_or(0, |tally| tally.map_full);
        map_full + self.kernel.lost_events()
    }

    /// Seeds, then surveys at a beat and whenever asked, for as long as it is polled.
    pub async fn run(self: Arc<Self>) {
        loop {
            let this = Arc::clone(&self);
            // Dumps and map walks block: they do not belong on the runtime's own threads.
            SURVEYS.run(move || this.survey()).await;
            self.surveyed.notify_waiters();
            self.wait().await;
        }
    }

    /// Waits for the next survey: for its beat, for a wish, or for the endpoint to move.
    async fn wait(self: &Arc<Self>) {
        let beat = {
            let health = lock(&self.state);
            if !health.trust.is_trusted() {
                UNTRUSTED_BEAT
            } else if health.trust.is_in_doubt() {
                DOUBTFUL_BEAT.max(health.took * DOUBTFUL_REST)
            } else {
                BEAT.max(health.took * REST)
            }
        };
        let beat = tokio::time::sleep(beat);
        tokio::pin!(beat);
        let mut look = tokio::time::interval_at(tokio::time::Instant::now() + LOOK, LOOK);
        loop {
            tokio::select! {
                () = &mut beat => return,
                () = self.wanted.notified() => return,
                _ = look.tick(), if self.endpoint.may_move() => {
                    let this = Arc::clone(self);
                    if SURVEYS.run(move || this.endpoint.has_moved()).await {
                        return;
                    }
                }
            }
        }
    }

    /// Goes to where the sockets are now; returns whether they can be seen.
    fn follow(&self) -> bool {
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
                false
            }
        }
    }

    fn survey(&self) {
        if !self.follow() {
            return;
        }
        let began = Instant::now();
        self.kernel.audit();
        let losses = self.losses();
        let (is_first, is_in_doubt) = {
            let trust = &mut lock(&self.state).trust;
            trust.lost(losses);
            (!trust.is_seeded(), trust.is_in_doubt())
        };
        let surveyed = if is_first {
            self.endpoint.seed()
        } else if is_in_doubt {
            self.endpoint.reconcile_sockets()
        } else {
            self.endpoint.reconcile()
        };
        let mut health = lock(&self.state);
        health.took = began.elapsed();
        let before = health.trust.blind();
        match surveyed {
            Ok(survey) => {
                health.repairs += survey.repairs;
                health.trust.surveyed(&Surveyed {
                    began,
                    finished: Instant::now(),
                    losses,
                    disagreement: survey.disagreement,
                    repairs: survey.repairs,
                });
                report(self.endpoint.listen().port, before, &health, &survey);
                health.survey = Some(survey);
            }
            Err(error) => {
                health.trust.failed(began);
                if before.is_none() {
                    log_failure(&error);
                }
            }
        }
    }
}

fn log_absence(endpoint: &Endpoint, error: &PlaceError, absence: &str) {
    let (listen, netns) = (endpoint.listen(), endpoint.netns());
    let hint = error.hint();
    tracing::warn!(%listen, %netns, error = absence, hint, "its sockets cannot be seen");
}

fn report(port: u16, before: Option<Blind>, health: &Health, survey: &Survey) {
    if survey.repairs > 0 {
        tracing::warn!(
            port,
            repairs = survey.repairs,
            "the map of sockets was repaired"
        );
    }
    match (before, health.trust.blind()) {
        (Some(was), None) => {
            tracing::info!(port, was = was.name(), "the witnesses agree");
        }
        (None, Some(_)) => {
            tracing::warn!(
                port,
                disagreement = survey.disagreement,
                "the witnesses disagree: no verdict until they agree"
            );
        }
        _ => {}
    }
}

fn log_failure(error: &WitnessError) {
    tracing::warn!(error = chain(error), "the witnesses cannot be compared");
}
