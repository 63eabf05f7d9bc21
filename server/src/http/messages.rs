//! `POST /v1/messages`: from one account to another, answered once it is durable.

use std::sync::Arc;

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::{HeaderMap, StatusCode},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::ApiError;
use crate::{
    account::AccountId,
    bus::Event,
    relay::{Relay, now},
    store::{NewMessage, Stored},
};

/// The request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Send {
    to: String,
    body: String,
    attachment: Option<Uuid>,
}

/// The answer.
#[derive(Serialize)]
pub(super) struct Accepted {
    id: Uuid,
}

/// Stores a message and tells the bus.
pub(super) async fn send(
    State(relay): State<Arc<Relay>>,
    headers: HeaderMap,
    request: Result<Json<Send>, JsonRejection>,
) -> Result<(StatusCode, Json<Accepted>), ApiError> {
    let sender = relay
        .authentication
        .authenticate(&relay.store, &headers)
        .await?;
    relay.limit_message(&sender)?;
    let Json(Send {
        to,
        body,
        attachment,
    }) = request?;
    let recipient = AccountId::parse(&to).ok_or(ApiError::NoRecipient)?;
    if body.len() > relay.config.message_limit {
        return Err(ApiError::TooLarge);
    }
    let id = Uuid::now_v7();
    let message = NewMessage {
        id,
        recipient,
        sender,
        body,
        attachment,
        sent_at: now(),
    };
    // In a task of its own: a client that leaves now must not leave a message that is stored but
    // of which no session hears.
    let task = tokio::spawn(async move { store(&relay, message).await });
    // The task is never cancelled, so what is left is a panic.
    task.await.map_err(|_| ApiError::Panic)??;
    Ok((StatusCode::ACCEPTED, Json(Accepted { id })))
}

async fn store(relay: &Relay, message: NewMessage) -> Result<(), ApiError> {
    match relay
        .store
        .store_message(message, relay.config.pending_limit.into())
        .await?
    {
        Stored::Message(message) => {
            relay.bus.publish(Event::Stored(Arc::new(message))).await;
            Ok(())
        }
        Stored::NoRecipient => Err(ApiError::NoRecipient),
        Stored::NoAttachment => Err(ApiError::NoAttachment),
        Stored::Full => Err(ApiError::RecipientFull),
    }
}
