//! What the observer says over HTTP, as JSON: every type that is serialised, and who asks for it.

mod bounded;
mod client;
mod history;
mod likely;
mod reasoning;
mod sentence;
mod suspects;

use std::{borrow::Cow, collections::BTreeMap, time::SystemTime};

use serde::{Deserialize, Serialize};

use crate::{
    config::{Counts, MAX_TARGETS},
    sockets::MOST as MAX_SOCKETS,
    watch::target::Target,
};

pub use client::{Client, ClientError};
pub use history::{CheckReport, HistoryReport};
pub use likely::{LagReport, LikelyReport};
pub use reasoning::{CountsReport, Reasoning};
pub use suspects::{SuspectReport, SuspectsReport};

/// A word of the observer's own: known here, unless another observer has said it.
pub type Word = Cow<'static, str>;

/// `GET /api/v1/targets`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetList {
    /// Every target, as configured.
    #[serde(deserialize_with = "bounded::at_most::<MAX_TARGETS, _, _>")]
    pub targets: Vec<TargetReport>,
}

/// `GET /api/v1/targets/{name}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetReport {
    /// The target's name.
    pub name: String,
    /// What others call it; older observers do not say it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// One sentence: what the gauge says, what the kernel saw, by how much, since when.
    pub sentence: String,
    /// `agree`, `over`, `under`, `unsettled` or `blind`.
    pub verdict: Word,
    /// Why nothing can be said, where the verdict is `blind`.
    pub reason: Option<Word>,
    /// What failed in the last scrape.
    pub failure: Option<String>,
    /// The claim. Unit: connections.
    pub claim: Option<f64>,
    /// Fewest connections that an honest service could have claimed at the last check.
    pub low: Option<i64>,
    /// Most connections that an honest service could have claimed at the last check.
    pub high: Option<i64>,
    /// The part of the drift that is sure; 0 where none is.
    pub drift: Option<i64>,
    /// Least drift that the recent checks together leave possible.
    pub drift_low: Option<i64>,
    /// Greatest drift that the recent checks together leave possible.
    pub drift_high: Option<i64>,
    /// Widest drift that would still have agreed, where the gauge was not found to be wrong.
    pub resolution: Option<u64>,
    /// The drift that is likely, by the lag that was learnt; a weaker word than the verdict.
    pub likely: Option<LikelyReport>,
    /// How late the service counts, as learnt; none where it is not known.
    pub lag: Option<LagReport>,
    /// How far from the kernel's moment the service may count, as declared or as learnt; older observers
    /// do not say it.
    pub settle_seconds: Option<f64>,
    /// When the drift was first seen, RFC 3339.
    pub since: Option<String>,
    /// When the last check was read that showed the drift by itself, RFC 3339.
    pub last_shown: Option<String>,
    /// How the drift behaves over time, where one stands.
    pub shape: Option<Word>,
    /// The likely cause of a drift of that shape.
    pub cause: Option<Word>,
    /// When the claim of the last check was read, RFC 3339.
    pub checked_at: Option<String>,
    /// What the gauge is taken to count.
    pub counts: Word,
    /// `ebpf` or `sock-diag`.
    pub backend: Word,
    /// Where the service listens.
    pub listen: String,
    /// Checks since the observer was started.
    pub checks: u64,
    /// Open connections by class, where they are known.
    pub connections: Option<Connections>,
    /// Connections that wait in the accept queue.
    pub unaccepted: Option<u64>,
    /// Connections that left ESTABLISHED longer than `settle` ago and are not closed.
    pub held: Option<u64>,
    /// Sockets by which the two witnesses differ; 0 where they agree.
    pub witness_disagreement: Option<i64>,
    /// Which sockets it is likely about; none where nothing is suspected.
    pub suspects: Option<SuspectsReport>,
    /// Why the last check came out as it did.
    pub reasoning: Option<Reasoning>,
}

/// Open connections by class: a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// ESTABLISHED, and upgraded to WebSocket; unknown where no program sees what is sent.
    pub websocket: Option<u64>,
    /// ESTABLISHED, with HTTP responses only; unknown where no program sees what is sent.
    pub http: Option<u64>,
    /// ESTABLISHED, and nothing more is known.
    pub unclassified: u64,
    /// No longer ESTABLISHED and not closed.
    pub closing: u64,
}

/// `GET /api/v1/targets/{name}/sockets`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SocketList {
    /// Open sockets of the target.
    pub total: usize,
    /// Of those, the ones that were asked for; the list may be shorter than that.
    pub matching: usize,
    /// The list.
    #[serde(deserialize_with = "bounded::at_most::<MAX_SOCKETS, _, _>")]
    pub sockets: Vec<SocketReport>,
}

/// One open socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SocketReport {
    /// The peer's address and port.
    pub peer: String,
    /// The local address and port.
    pub local: String,
    /// TCP state, as `ss` names it.
    pub state: String,
    /// `websocket`, `http`, `unclassified` or `closing`.
    pub class: String,
    /// Whether the BPF programs track it; without programs none is.
    pub is_tracked: bool,
    /// Whether the service has accepted it.
    pub is_accepted: bool,
    /// Since ESTABLISHED; unknown for a socket that is older than the observer.
    pub age_seconds: Option<f64>,
    /// Since it became a WebSocket.
    pub upgraded_seconds: Option<f64>,
    /// Since anything came from the peer.
    pub silence_seconds: Option<f64>,
    /// Smoothed round-trip time.
    pub rtt_seconds: Option<f64>,
    /// Payload that came from the peer.
    pub bytes_received: Option<u64>,
    /// Payload that the peer has acknowledged.
    pub bytes_acked: Option<u64>,
    /// Bytes that the service has not read.
    pub recv_queue: u32,
    /// Bytes that the peer has not acknowledged.
    pub send_queue: u32,
    /// The kernel's socket cookie: `ss -e` shows it as `sk:`, in hexadecimal.
    pub cookie: u64,
}

impl Connections {
    /// What is open, of a target's counts.
    #[must_use]
    pub fn of(tally: &observer_ebpf::Tally, are_classified: bool) -> Self {
        // The counts are not read at one moment: a difference may be short of 0 for an instant.
        let open = |opened: u64, ended: u64| opened.saturating_sub(ended);
        let established = open(tally.opened, tally.left);
        let closing = open(tally.left, tally.closed);
        if !are_classified {
            return Self {
                websocket: None,
                http: None,
                unclassified: established,
                closing,
            };
        }
        let websocket = open(tally.upgraded, tally.websocket_left);
        let http = open(tally.http_entered, tally.http_left);
        Self {
            websocket: Some(websocket),
            http: Some(http),
            unclassified: open(established, websocket + http),
            closing,
        }
    }
}

impl TargetReport {
    /// Whether the gauge is likely wrong, and not surely.
    #[must_use]
    pub fn is_likely_wrong(&self) -> bool {
        let is_sure = matches!(&*self.verdict, "over" | "under");
        !is_sure && self.likely.is_some_and(|likely| likely.is_off())
    }

    /// Its place among others, the worst first: wrong, suspected, likely wrong, what cannot be judged.
    #[must_use]
    pub fn rank(&self) -> u8 {
        match &*self.verdict {
            "over" | "under" => 0,
            "unsettled" => 1,
            _ if self.is_likely_wrong() => 2,
            "blind" => 3,
            _ => 4,
        }
    }

    /// What is known of a target now.
    #[must_use]
    pub fn of(target: &Target) -> Self {
        let observation = target.observation();
        let bounds = observation.finding.drift;
        let (config, health) = (&target.config, target.endpoints.health());
        Self {
            name: config.name.clone(),
            labels: config.labels.iter().cloned().collect(),
            sentence: sentence::sentence(target, &observation),
            verdict: observation.finding.verdict.name().into(),
            reason: observation.finding.blind.map(|reason| reason.name().into()),
            failure: observation.failure.clone(),
            claim: observation.claim,
            low: observation.interval.map(|interval| interval.low),
            high: observation.interval.map(|interval| interval.high),
            drift: bounds.map(|bounds| bounds.sure()),
            drift_low: bounds.map(|bounds| bounds.low),
            drift_high: bounds.map(|bounds| bounds.high),
            resolution: observation.finding.resolution(),
            likely: observation.likely.map(LikelyReport::from),
            lag: observation
                .likely
                .and_then(|likely| likely.lag)
                .map(LagReport::from),
            settle_seconds: Some(observation.settle.as_secs_f64()),
            since: observation.finding.since.map(rfc3339),
            last_shown: observation.finding.last_shown.map(rfc3339),
            shape: observation.shape.map(|shape| shape.name().into()),
            cause: observation.shape.map(|shape| shape.cause().into()),
            checked_at: observation.checked_at.map(rfc3339),
            counts: counts_name(config.counts).into(),
            backend: target.kernel().backend().into(),
            listen: config.listen.to_string(),
            checks: observation.checks.iter().sum(),
            connections: observation
                .tally
                .map(|tally| Connections::of(&tally, target.are_classified())),
            unaccepted: observation
                .listeners
                .map(|listeners| listeners.queue_length),
            held: observation.held,
            witness_disagreement: health.survey.map(|survey| survey.disagreement),
            suspects: observation.suspects.as_ref().map(SuspectsReport::of),
            reasoning: observation
                .record
                .map(|record| Reasoning::of(&record, config)),
        }
    }
}

/// The configuration's word for what is counted.
#[must_use]
pub const fn counts_name(counts: Counts) -> &'static str {
    match counts {
        Counts::Websocket => "websocket",
        Counts::Established => "established",
        Counts::Accepted => "accepted",
        Counts::Outgoing => "outgoing",
    }
}

/// A time as people and programs read it.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
