//! Downloads: a body that is measured to its last byte, its failure or its drop.

use std::{sync::Arc, time::Instant};

use aws_sdk_s3::primitives::SdkBody;
use exporter::transfer::Transfer;
use uuid::Uuid;

use super::{Attachments, S3Error, says_missing};

/// An attachment on its way to a client.
pub(crate) type Download = Transfer<SdkBody>;

impl Attachments {
    /// Asks S3 for an attachment; the body comes as the client reads it.
    pub(crate) async fn download(self: &Arc<Self>, id: &Uuid) -> Result<Download, S3Error> {
        let admission = self.breaker.admit(Instant::now())?;
        let stopwatch = self.metrics.time_download();
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(id.to_string());
        let result = request.send().await;
        let is_missing = result.as_ref().is_err_and(says_missing);
        admission.record(result.is_ok() || is_missing, Instant::now());
        match result {
            Ok(object) => {
                // S3 always says how long an object is.
                let length = object.content_length;
                let length = length.and_then(|length| u64::try_from(length).ok());
                let body = object.body.into_inner();
                Ok(Transfer::new(body, length.unwrap_or(0), stopwatch))
            }
            Err(_) if is_missing => {
                stopwatch.finish("missing");
                Err(S3Error::Missing)
            }
            Err(error) => {
                stopwatch.finish("failed");
                Err(error.into())
            }
        }
    }
}
