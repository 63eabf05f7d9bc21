//! `POST /v1/attachments` and `GET /v1/attachments/{id}`: bytes, streamed both ways.
//!
//! A client chooses neither name nor type: what comes down is always a download of bytes, so that
//! nothing uploaded can run in a browser.

use std::{error::Error, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::time::timeout;
use tower_http::timeout::TimeoutError;
use uuid::Uuid;

use super::error::ApiError;
use crate::{
    account::AccountId,
    attachments::Uploaded,
    relay::{Relay, now},
    store::Attachment,
};

/// The answer to an upload.
#[derive(Serialize)]
pub(super) struct Created {
    id: Uuid,
    size: u64,
    sha256: String,
}

/// Takes an attachment.
pub(super) async fn upload(
    State(relay): State<Arc<Relay>>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    let owner = relay
        .authentication
        .authenticate(&relay.store, &headers)
        .await?;
    let limit = relay.config.attachment_limit;
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    if declared
        .and_then(|length| length.parse().ok())
        .is_some_and(|length: u64| length > limit)
    {
        return Err(ApiError::TooLarge);
    }
    // A body that trickles would keep its place among the uploads from others for days.
    let patience = relay.config.upload_timeout.get();
    let stored = timeout(patience, store(&relay, &owner, body)).await;
    let Uploaded { id, size, sha256 } = stored.map_err(|_| ApiError::SlowBody)??;
    let created = Created {
        id,
        size,
        sha256: sha256.clone(),
    };
    let attachment = Attachment {
        id,
        owner,
        size,
        sha256,
        created_at: now(),
    };
    // If the client leaves now, the object has no row, and is removed with what is too old.
    if !relay.store.create_attachment(&attachment).await? {
        return Err(ApiError::SlowBody);
    }
    Ok((StatusCode::CREATED, Json(created)))
}

async fn store(relay: &Relay, owner: &AccountId, body: Body) -> Result<Uploaded, ApiError> {
    // Its own share first: one that waits for that holds no place of all.
    let _share = relay.uploads.take(owner).await;
    let _permit = relay.attachments.permit_upload().await?;
    let mut upload = relay.attachments.upload();
    relay.store.begin_upload(&upload.id(), now()).await?;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            if is_timeout(&error) {
                ApiError::SlowBody
            } else {
                ApiError::BrokenBody
            }
        })?;
        if upload.size() + chunk.len() as u64 > relay.config.attachment_limit {
            return Err(ApiError::TooLarge);
        }
        upload.write(&chunk).await?;
    }
    Ok(upload.finish().await?)
}

/// Whether the surrounding time-out on bodies ended this one.
fn is_timeout(error: &axum::Error) -> bool {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = source {
        if error.is::<TimeoutError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Gives an attachment to its owner or one of its recipients.
pub(super) async fn download(
    State(relay): State<Arc<Relay>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let account = relay
        .authentication
        .authenticate(&relay.store, &headers)
        .await?;
    let id = Uuid::try_parse(&id).map_err(|_| ApiError::NotFound)?;
    if !relay.store.may_fetch(&id, &account).await? {
        return Err(ApiError::NotFound);
    }
    let download = relay.attachments.download(&id).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, download.remaining().to_string()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{id}\""),
        ),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; sandbox".to_owned(),
        ),
        (header::CACHE_CONTROL, "private, no-store".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((headers, Body::new(download)).into_response())
}
