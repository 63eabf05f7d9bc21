//! One WebSocket, from its upgrade to its end.
//!
//! Knows frames, pings and every way in which a session ends. Deliberately knows no SQL; it stops
//! being counted the moment it ends, whatever courtesy the socket is still shown.

use std::{sync::Arc, time::Duration};

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::{Instant, sleep_until, timeout};
use tungstenite::error::{CapacityError, Error as SocketError, ProtocolError};

use super::hub::Registration;
use crate::relay::Relay;

/// Longest wait for the client's side of the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

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
            Self::Draining => "draining",
            Self::Aborted => "aborted",
        }
    }

    /// The close frame that tells the client, where it may still listen.
    fn close_frame(self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::ClosedByPeer | Self::PeerGone | Self::SlowConsumer | Self::Aborted => {
                return None;
            }
            Self::PingTimeout => (close_code::POLICY, "ping not answered"),
            Self::TooBig => (close_code::SIZE, "message too big"),
            Self::Protocol => (close_code::PROTOCOL, "protocol error"),
            Self::NotText => (close_code::INVALID, "text is not UTF-8"),
            Self::Binary => (close_code::UNSUPPORTED, "frames are JSON text"),
            Self::Draining => (close_code::RESTART, "service restart"),
        };
        Some(CloseFrame {
            code,
            reason: reason.into(),
        })
    }
}

/// Serves a session until it ends, then takes leave of the client.
pub(super) async fn run(mut socket: WebSocket, registration: Registration, relay: Arc<Relay>) {
    let ending = converse(&mut socket, &registration, &relay).await;
    match ending.close_frame() {
        Some(frame) => {
            let sent = timeout(CLOSE_TIMEOUT, socket.send(Message::Close(Some(frame)))).await;
            registration.end(ending);
            if matches!(sent, Ok(Ok(()))) {
                // Read on, so that what the client still sends does not turn the close into a reset.
                let _ = timeout(CLOSE_TIMEOUT, async {
                    while let Some(Ok(_)) = socket.next().await {}
                })
                .await;
            }
        }
        None => {
            if ending == Ending::ClosedByPeer {
                // The answering close frame is queued already; what matters is that it was tried.
                let _ = timeout(CLOSE_TIMEOUT, socket.flush()).await;
            }
            registration.end(ending);
        }
    }
}

async fn converse(socket: &mut WebSocket, registration: &Registration, relay: &Relay) -> Ending {
    let config = &relay.config;
    let handle = registration.handle();
    let mut is_ping_unanswered = false;
    let mut timer = std::pin::pin!(sleep_until(Instant::now() + config.ping_interval.get()));
    loop {
        tokio::select! {
            received = socket.next() => {
                if let Err(ending) = receive(received, relay) {
                    return ending;
                }
                if is_ping_unanswered {
                    // Whatever it sent, the client is there.
                    is_ping_unanswered = false;
                    timer.as_mut().reset(Instant::now() + config.ping_interval.get());
                }
            }
            () = handle.wake.notified() => {
                if let Some(ending) = handle.ending() {
                    return ending;
                }
            }
            () = &mut timer => {
                if is_ping_unanswered {
                    return Ending::PingTimeout;
                }
                let ping = Message::Ping(bytes::Bytes::new());
                match timeout(config.write_timeout.get(), socket.send(ping)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Ending::PeerGone,
                    Err(_) => return Ending::SlowConsumer,
                }
                is_ping_unanswered = true;
                timer.as_mut().reset(Instant::now() + config.pong_timeout.get());
            }
        }
    }
}

fn receive(received: Option<Result<Message, axum::Error>>, relay: &Relay) -> Result<(), Ending> {
    match received {
        None => Err(Ending::PeerGone),
        Some(Err(error)) => Err(ending_of(error)),
        Some(Ok(Message::Close(_))) => Err(Ending::ClosedByPeer),
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
        Some(Ok(Message::Binary(_))) => {
            relay.metrics.count_message_received();
            Err(Ending::Binary)
        }
        Some(Ok(Message::Text(_))) => {
            relay.metrics.count_message_received();
            Ok(())
        }
    }
}

fn ending_of(error: axum::Error) -> Ending {
    let Ok(error) = error.into_inner().downcast::<SocketError>() else {
        return Ending::Protocol;
    };
    match *error {
        SocketError::Capacity(CapacityError::MessageTooLong { .. }) => Ending::TooBig,
        SocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ending::PeerGone,
        SocketError::Utf8(_) => Ending::NotText,
        SocketError::Protocol(_) => Ending::Protocol,
        _ => Ending::PeerGone,
    }
}
