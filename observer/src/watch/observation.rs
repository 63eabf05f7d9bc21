//! What was last observed of a target: everything that the API and the metrics say of it.

use std::time::{Duration, SystemTime};

use observer_ebpf::Tally;

use super::{dumps::Listeners, unheard::Heard};
use crate::check::{Blind, Finding, Interval, Likely, Record, Shape, Suspects, Verdict};
use crate::claim::Outcome;

/// What was last observed of a target, for the API and the metrics.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The counts, if they could be read.
    pub tally: Option<Tally>,
    /// The listening sockets.
    pub listeners: Option<Listeners>,
    /// Sockets that left ESTABLISHED longer than `settle` ago and that the service has not closed:
    /// their peer has gone, and it holds on to them.
    pub held: Option<u64>,
    /// Which sockets have sent bytes that the programs saw.
    pub heard: Heard,
    /// The claim, if the last reading had one. Unit: connections.
    pub claim: Option<f64>,
    /// A number of the claim that is negative, as no number of connections is.
    pub negative: Option<String>,
    /// Whether the last scrape gave an exposition; none before the first.
    pub is_up: Option<bool>,
    /// How long the last scrape took.
    pub scrape: Option<Duration>,
    /// Why there is no claim.
    pub failure: Option<String>,
    /// What an honest service could have said at the last check.
    pub interval: Option<Interval>,
    /// What was found.
    pub finding: Finding,
    /// What is likely besides, by the lag that was learnt.
    pub likely: Option<Likely>,
    /// How far from the kernel's moment the service may count, from the last check on.
    pub settle: Duration,
    /// How the drift behaves over time, where one stands.
    pub shape: Option<Shape>,
    /// The last check, as it is remembered.
    pub record: Option<Record>,
    /// The sockets that are suspected, as of the last look.
    pub suspects: Option<Suspects>,
    /// When the claim of the last check was read.
    pub checked_at: Option<SystemTime>,
    /// Checks so far, by verdict, in the order of [`Verdict::ALL`].
    pub checks: [u64; Verdict::ALL.len()],
}

impl Observation {
    /// Nothing was observed yet.
    pub(crate) fn none(settle: Duration) -> Self {
        Self {
            tally: None,
            listeners: None,
            held: None,
            heard: Heard::default(),
            claim: None,
            negative: None,
            is_up: None,
            scrape: None,
            failure: None,
            interval: None,
            finding: Finding::blind(Blind::NotSeeded),
            likely: None,
            settle,
            shape: None,
            record: None,
            suspects: None,
            checked_at: None,
            checks: [0; Verdict::ALL.len()],
        }
    }

    /// Whether there is something that the sockets themselves may explain: a drift, or connections
    /// that are held.
    #[must_use]
    pub fn is_unexplained(&self) -> bool {
        let is_drift = matches!(
            self.finding.verdict,
            Verdict::Over | Verdict::Under | Verdict::Unsettled
        );
        is_drift || self.held.is_some_and(|held| held > 0)
    }

    /// Whether the gauge says too little, or seems to.
    #[must_use]
    pub fn is_under(&self) -> bool {
        let is_drift = matches!(self.finding.verdict, Verdict::Under | Verdict::Unsettled);
        is_drift && self.finding.drift.is_some_and(|drift| drift.sure() < 0)
    }

    /// Keeps the claim of a reading, or why there is none.
    pub(super) fn note_claim(&mut self, outcome: &Outcome) {
        (self.claim, self.negative, self.failure) = match outcome {
            Outcome::Claimed(claim) => (Some(claim.value), claim.negative.clone(), None),
            Outcome::Down(failure) | Outcome::Missing(failure) => {
                (None, None, Some(failure.to_string()))
            }
        };
    }

    /// Logs that something else is found from now on.
    pub(super) fn log_change(&self, target: &str, is: &Finding) {
        let was = &self.finding;
        if (was.verdict, was.blind) == (is.verdict, is.blind) {
            return;
        }
        let drift = is.drift.map_or(0, |bounds| bounds.sure());
        let reason = is.blind.map(Blind::name);
        tracing::info!(
            target,
            verdict = is.verdict.name(),
            was = was.verdict.name(),
            drift,
            reason,
            "verdict"
        );
    }
}
