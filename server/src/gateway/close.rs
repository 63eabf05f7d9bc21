//! The two ends of a session as WebSockets have them: the close code of each ending, and the ending
//! that each failure of a socket is.

use axum::extract::ws::{CloseFrame, close_code};
use tungstenite::error::{CapacityError, Error as SocketError, ProtocolError};

use crate::sessions::Ending;

/// The close code of a session whose place was taken, from the range for private use: a client that
/// reads it should not connect again by itself, or two of them replace each other without end.
const REPLACED: u16 = 4409;

impl Ending {
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
