//! Whether an endpoint's counts can be trusted: the observer checks itself before it blames anyone.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    endpoint::{Endpoint, WitnessError},
    kernel::Kernel,
    lock,
    place::PlaceError,
    reconcile::Survey,
};
use crate::{blocking::Places, check::Blind, probe::chain};

/// Surveys at once, over all endpoints: each holds a list of every socket.
static SURVEYS: Places = Places::new(4);

/// Least time between two surveys while the witnesses agree.
const BEAT: Duration = Duration::from_secs(30);
/// Least time between two surveys while the witnesses agree, in times of what the first took: with
/// very many sockets, of which some always come or go, one may take a second.
const REST: u32 = 100;
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
}

/// What is known of an endpoint's witnesses.
#[derive(Clone, Debug)]
pub struct Health {
    /// Why the counts cannot be trusted now, if they cannot.
    pub distrust: Option<Blind>,
    /// The last survey.
    pub survey: Option<Survey>,
    /// When the last survey began in which the witnesses agreed.
    pub agreed: Option<Instant>,
    /// Repairs of the map of sockets since the observer was started.
    pub repairs: u64,
    /// Grows whenever counts from before no longer add up with counts from then on.
    pub epoch: u64,
    /// Why the sockets are nowhere to be seen, where the reason is [`Blind::NoNamespace`].
    pub absence: Option<String>,
    /// Losses up to which the witnesses were found to agree again.
    excused_losses: u64,
    /// How long the last survey took.
    took: Duration,
}

impl Watched {
    /// An endpoint that is not seeded yet.
    #[must_use]
    pub fn new(endpoint: Endpoint, kernel: Arc<Kernel>) -> Self {
        Self {
            endpoint,
            kernel,
            state: Mutex::new(Health {
                distrust: Some(Blind::NotSeeded),
                survey: None,
                agreed: None,
                repairs: 0,
                epoch: 0,
                absence: None,
                excused_losses: 0,
                took: Duration::ZERO,
            }),
            wanted: Notify::new(),
        }
    }

    /// The state now, after a look at what was lost.
    #[must_use]
    pub fn health(&self) -> Health {
        let losses = self.losses();
        let mut health = lock(&self.state);
        if losses > health.excused_losses
            && health
                .distrust
                .is_none_or(|blind| blind == Blind::WitnessesDisagree)
        {
            health.distrust = Some(Blind::Lost);
            self.wanted.notify_one();
        }
        health.clone()
    }

    /// Grows whenever counts from before no longer add up with counts from then on.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        lock(&self.state).epoch
    }

    /// Whether what was open before is known.
    #[must_use]
    pub fn is_seeded(&self) -> bool {
        lock(&self.state).survey.is_some()
    }

    /// Asks for a survey now.
    pub fn survey_soon(&self) {
        self.wanted.notify_one();
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
            self.wait().await;
        }
    }

    /// Waits for the next survey: for its beat, for a wish, or for the endpoint to move.
    async fn wait(self: &Arc<Self>) {
        let beat = {
            let health = lock(&self.state);
            match health.distrust {
                None => BEAT.max(health.took * REST),
                Some(_) => UNTRUSTED_BEAT,
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
                if let Some(absence) = health.absence.take() {
                    let netns = self.endpoint.netns();
                    tracing::info!(%netns, was = absence, "the network namespace is there");
                } else if health.survey.is_some() {
                    let netns = self.endpoint.netns();
                    tracing::info!(%netns, "the name stands for another network namespace");
                }
                health.survey = None;
                health.agreed = None;
                health.distrust = Some(Blind::NotSeeded);
                health.epoch += 1;
                true
            }
            Err(error) => {
                let absence = chain(&error);
                if health.absence.as_ref() != Some(&absence) {
                    log_absence(&self.endpoint, &error, &absence);
                }
                health.survey = None;
                health.agreed = None;
                health.distrust = Some(Blind::NoNamespace);
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
        let (is_first, distrust) = {
            let health = lock(&self.state);
            (health.survey.is_none(), health.distrust)
        };
        let surveyed = if is_first {
            self.endpoint.seed()
        } else if distrust == Some(Blind::Lost) {
            self.endpoint.reconcile_sockets()
        } else {
            self.endpoint.reconcile()
        };
        let mut health = lock(&self.state);
        health.took = began.elapsed();
        let before = health.distrust;
        match surveyed {
            Ok(survey) => {
                // A lost event that was no event of this endpoint has left its counts as they were.
                if is_first || survey.repairs > 0 || before == Some(Blind::WitnessesDisagree) {
                    health.epoch += 1;
                }
                health.repairs += survey.repairs;
                health.distrust = if survey.disagreement != 0 {
                    Some(before.unwrap_or(Blind::WitnessesDisagree))
                } else {
                    health.agreed = Some(began);
                    health.excused_losses = losses;
                    None
                };
                report(self.endpoint.listen().port, before, &health, &survey);
                health.survey = Some(survey);
            }
            Err(error) => {
                health.distrust = Some(before.unwrap_or(Blind::WitnessesDisagree));
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
    match (before, health.distrust) {
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
