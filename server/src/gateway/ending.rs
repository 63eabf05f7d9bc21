//! Every way in which a session ends: its label in the metrics and its close code.

use axum::extract::ws::{CloseFrame, close_code};
use tungstenite::error::{CapacityError, Error as SocketError, ProtocolError};

/// The close code of a session whose place was taken, from the range for private use: a client that
/// reads it should not connect again by itself, or two of them replace each other without end.
const REPLACED: u16 = 4409;

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
    /// The database did not give the session its messages.
    Unavailable,
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
            Self::Unavailable => "unavailable",
            Self::Draining => "draining",
            Self::Aborted => "aborted",
        }
    }

    /// The close frame that tells the client, where it may still listen.
    pub(super) fn close_frame(self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::ClosedByPeer | Self::PeerGone | Self::SlowConsumer | Self::Aborted => {
                return None;
            }
            Self::PingTimeout => (close_code::POLICY, "ping not answered"),
            Self::TooBig => (close_code::SIZE, "message too big"),
            Self::Protocol => (close_code::PROTOCOL, "protocol error"),
            Self::NotText => (close_code::INVALID, "text is not UTF-8"),
            Self::Binary => (close_code::UNSUPPORTED, "frames are JSON text"),
            Self::NotUnderstood => (close_code::POLICY, "frame not understood"),
            Self::TooManyFrames => (close_code::POLICY, "too many frames"),
            Self::Replaced => (REPLACED, "replaced by a newer session"),
            Self::Unavailable => (close_code::AGAIN, "try again later"),
            Self::Draining => (close_code::RESTART, "service restart"),
        };
        Some(CloseFrame {
            code,
            reason: reason.into(),
        })
    }
}

impl From<axum::Error> for Ending {
    fn from(error: axum::Error) -> Self {
        let Ok(error) = error.into_inner().downcast::<SocketError>() else {
            return Self::Protocol;
        };
        match *error {
            SocketError::Capacity(CapacityError::MessageTooLong { .. }) => Self::TooBig,
            SocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::PeerGone,
            SocketError::Utf8(_) => Self::NotText,
            SocketError::Protocol(_) => Self::Protocol,
            _ => Self::PeerGone,
        }
    }
}
