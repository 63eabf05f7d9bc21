//! `POST /v1/messages`: from one account to another, answered once it is durable.

use std::sync::Arc;

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::{HeaderMap, StatusCode},
};
use exporter::channel::Refused;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::ApiError;
use crate::{
    account::AccountId,
    group_commit::Posted,
    relay::{Relay, now},
    store::NewMessage,
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

/// Has a message stored.
pub(super) async fn send(
    State(relay): State<Arc<Relay>>,
    headers: HeaderMap,
    request: Result<Json<Send>, JsonRejection>,
) -> Result<(StatusCode, Json<Accepted>), ApiError> {
    let sender = relay
        .authentication
        .authenticate(&relay.store, &headers)
        .await?;
    relay.limit_message(&sender).map_err(ApiError::TooMany)?;
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
    let (posted, stored) = Posted::new(message);
    relay
        .messages
        .send(posted)
        .map_err(|refused| match refused {
            Refused::Full => ApiError::Busy,
            Refused::Closed => ApiError::Draining,
        })?;
    // It is never left unanswered, so what is left is a panic.
    stored.await.map_err(|_| ApiError::Panic)??;
    Ok((StatusCode::ACCEPTED, Json(Accepted { id })))
}
