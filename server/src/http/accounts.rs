//! `POST /v1/accounts`: a new account and the only sight of its token.

use std::sync::Arc;

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::Serialize;

use super::error::ApiError;
use crate::{
    accept::Peer,
    account::{AccountId, Token},
    relay::{Relay, now},
};

/// The answer: the token cannot be shown again, only its hash is kept.
#[derive(Serialize)]
pub(super) struct Created {
    id: String,
    token: String,
}

/// Creates an account.
pub(super) async fn create(
    State(relay): State<Arc<Relay>>,
    Extension(Peer(peer)): Extension<Peer>,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    relay.limit_account(peer.ip()).map_err(ApiError::TooMany)?;
    let (id, token) = (AccountId::generate(), Token::generate()?);
    relay
        .store
        .create_account(&id, &token.hash(), now())
        .await?;
    let created = Created {
        id: id.to_string(),
        token: token.reveal(),
    };
    Ok((StatusCode::CREATED, Json(created)))
}
