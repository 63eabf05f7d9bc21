//! Every way in which a session ends, and its label in the metrics.

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client sent a close frame.
    ClosedByPeer,
    /// The client's end is gone without one: FIN, RST or no acknowledgement.
    PeerGone,
    /// A ping was not answered.
    PingTimeout,
    /// The client does not read.
    SlowConsumer,
    /// A message is larger than allowed.
    TooBig,
    /// The client broke the WebSocket protocol.
    Protocol,
    /// A text is not UTF-8.
    NotText,
    /// The client sent a binary message.
    Binary,
    /// The client sent a text that is no frame of the gateway, or acks without end.
    NotUnderstood,
    /// The client sends more frames than allowed.
    TooManyFrames,
    /// A newer session of the same account took this one's place.
    Replaced,
    /// The server is about to stop.
    Draining,
    /// The session's task was dropped or panicked.
    Aborted,
}

impl Ending {
    /// The value of the label `reason`.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::ClosedByPeer => "closed_by_peer",
            Self::PeerGone => "peer_gone",
            Self::PingTimeout => "ping_timeout",
            Self::SlowConsumer => "slow_consumer",
            Self::TooBig => "too_big",
            Self::Protocol => "protocol",
            Self::NotText => "not_text",
            Self::Binary => "binary",
            Self::NotUnderstood => "not_understood",
            Self::TooManyFrames => "too_many_frames",
            Self::Replaced => "replaced",
            Self::Draining => "draining",
            Self::Aborted => "aborted",
        }
    }
}
