//! `GET /v1/gateway`: the handshake of a WebSocket.
//!
//! Knows who may connect and how large frames may be. What a session does then stands in `gateway`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};

use super::{error::ApiError, origin};
use crate::{accept::Peer, authentication::SUBPROTOCOL, gateway::Session, relay::Relay};

/// Size of a session's buffers, in bytes. An idle session holds one of each.
const BUFFER: usize = 1024;

/// Checks who asks and whether there is room, then upgrades.
pub(super) async fn connect(
    State(relay): State<Arc<Relay>>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|rejection| {
        let reason = rejection.body_text();
        ApiError::Handshake(rejection.into_response().status(), reason)
    })?;
    if !origin::is_allowed(&headers, &relay.config.allowed_origins.0) {
        return Err(ApiError::Origin);
    }
    let account = relay
        .authentication
        .authenticate(&relay.store, &headers)
        .await?;
    // Without a database a session has nothing to say: better to refuse it, and say when to come back.
    relay.store.check()?;
    let reservation = relay.hub.reserve(account)?;
    let upgrade = upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(relay.config.message_limit.saturating_mul(8).max(8 * BUFFER))
        .max_message_size(relay.config.frame_limit)
        .max_frame_size(relay.config.frame_limit);
    // The reservation moves into the task: if the upgrade fails, both are dropped, and the gauge
    // has not moved, because the session is opened only on a socket that exists.
    Ok(upgrade.on_upgrade(move |socket| {
        let (registration, messages) = reservation.open(peer);
        Session::new(socket, registration, relay).run(messages)
    }))
}
