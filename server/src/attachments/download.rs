//! Downloads: a body that is measured to its last byte, its failure or its drop.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use aws_sdk_s3::primitives::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use uuid::Uuid;

use super::{Attachments, S3Error, says_missing};
use crate::metrics_service::Stopwatch;

/// An attachment on its way to a client.
pub(crate) struct Download {
    body: SdkBody,
    /// Bytes still to come. A server stops asking once it has them all, so the end is known here.
    remaining: u64,
    stopwatch: Option<Stopwatch>,
}

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
                let remaining = object
                    .content_length
                    .and_then(|length| u64::try_from(length).ok());
                let body = object.body.into_inner();
                let mut download = Download {
                    body,
                    remaining: remaining.unwrap_or(0),
                    stopwatch: Some(stopwatch),
                };
                download.finish_if_complete();
                Ok(download)
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

impl Download {
    /// Bytes still to come.
    pub(crate) fn remaining(&self) -> u64 {
        self.remaining
    }

    fn finish_if_complete(&mut self) {
        if self.remaining == 0 {
            self.finish("ok");
        }
    }

    fn finish(&mut self, outcome: &'static str) {
        if let Some(stopwatch) = self.stopwatch.take() {
            stopwatch.finish(outcome);
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = <SdkBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                self.remaining = self.remaining.saturating_sub(length);
                self.finish_if_complete();
            }
            // An end before the last byte is a failure as well.
            Some(Err(_)) | None => self.finish("failed"),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}
