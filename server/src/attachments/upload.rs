//! Uploads: a client's body in parts of bounded size, each of which can be sent to S3 again.

use std::{sync::Arc, time::Instant};

use aws_sdk_s3::{
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use bytes::{Bytes, BytesMut};
use exporter::{Stopwatch, breaker::Admission};
use sha2::{Digest as _, Sha256};
use tokio::sync::SemaphorePermit;
use uuid::Uuid;

use super::{Attachments, S3Error};

/// Size of a part: the smallest that S3 allows, 5 MiB. An upload holds one in memory.
const PART: usize = 5 * 1024 * 1024;

/// What was stored.
pub(crate) struct Uploaded {
    /// Its key.
    pub(crate) id: Uuid,
    /// Unit: bytes.
    pub(crate) size: u64,
    /// In hexadecimal digits.
    pub(crate) sha256: String,
}

/// An upload under way. Dropped before its end, it leaves nothing in S3.
pub(crate) struct Upload {
    attachments: Arc<Attachments>,
    id: Uuid,
    buffer: BytesMut,
    size: u64,
    digest: Sha256,
    multipart: Option<Multipart>,
    stopwatch: Option<Stopwatch>,
}

impl Attachments {
    /// Waits for room for an upload; the permit is to be held until its end.
    pub(crate) async fn permit_upload(&self) -> Result<SemaphorePermit<'_>, S3Error> {
        drop(self.breaker.admit(Instant::now())?);
        self.uploads
            .acquire()
            .await
            .map_err(|error| S3Error::Failed(error.to_string()))
    }

    /// Starts an upload.
    pub(crate) fn upload(self: &Arc<Self>) -> Upload {
        Upload {
            attachments: Arc::clone(self),
            id: Uuid::now_v7(),
            buffer: BytesMut::new(),
            size: 0,
            digest: Sha256::new(),
            multipart: None,
            stopwatch: Some(self.metrics.time_upload()),
        }
    }
}

impl Upload {
    /// Takes the next bytes of the body; sends a part when there is one.
    pub(crate) async fn write(&mut self, bytes: &Bytes) -> Result<(), S3Error> {
        self.digest.update(bytes);
        self.size += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        while self.buffer.len() >= PART {
            let part = self.buffer.split_to(PART).freeze();
            let sent = self.send_part(part).await;
            self.check(sent)?;
        }
        Ok(())
    }

    /// The key that its object has.
    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    /// The bytes taken so far.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The body is complete: makes the object.
    pub(crate) async fn finish(mut self) -> Result<Uploaded, S3Error> {
        let rest = std::mem::take(&mut self.buffer).freeze();
        let completed = self.complete(rest).await;
        self.check(completed)?;
        if let Some(stopwatch) = self.stopwatch.take() {
            stopwatch.finish("ok");
        }
        let digest = std::mem::take(&mut self.digest).finalize();
        let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Uploaded {
            id: self.id,
            size: self.size,
            sha256,
        })
    }

    /// Ends the measurement at the first failure of S3.
    fn check(&mut self, result: Result<(), S3Error>) -> Result<(), S3Error> {
        if result.is_err()
            && let Some(stopwatch) = self.stopwatch.take()
        {
            stopwatch.finish("failed");
        }
        result
    }

    async fn complete(&mut self, rest: Bytes) -> Result<(), S3Error> {
        let attachments = Arc::clone(&self.attachments);
        let Attachments {
            client,
            bucket,
            breaker,
            ..
        } = &*attachments;
        if self.multipart.is_none() {
            let admission = breaker.admit(Instant::now())?;
            let request = client.put_object().bucket(bucket).key(self.id.to_string());
            let put = request.body(ByteStream::from(rest)).send().await;
            return settle(&admission, put).map(drop);
        }
        if !rest.is_empty() {
            self.send_part(rest).await?;
        }
        let Some(multipart) = &mut self.multipart else {
            return Ok(());
        };
        let parts = CompletedMultipartUpload::builder().set_parts(Some(multipart.parts.clone()));
        let admission = breaker.admit(Instant::now())?;
        let request = client
            .complete_multipart_upload()
            .bucket(bucket)
            .key(self.id.to_string())
            .upload_id(&multipart.upload_id)
            .multipart_upload(parts.build());
        settle(&admission, request.send().await)?;
        multipart.is_complete = true;
        Ok(())
    }

    async fn send_part(&mut self, part: Bytes) -> Result<(), S3Error> {
        let attachments = Arc::clone(&self.attachments);
        let Attachments {
            client,
            bucket,
            breaker,
            ..
        } = &*attachments;
        let key = self.id.to_string();
        if self.multipart.is_none() {
            let admission = breaker.admit(Instant::now())?;
            let request = client.create_multipart_upload().bucket(bucket).key(&key);
            let created = settle(&admission, request.send().await)?;
            self.multipart = Some(Multipart {
                attachments: Arc::clone(&attachments),
                key: key.clone(),
                upload_id: created.upload_id.unwrap_or_default(),
                parts: Vec::new(),
                is_complete: false,
            });
        }
        let Some(multipart) = &mut self.multipart else {
            return Ok(());
        };
        // The limit on attachments keeps the number of parts far below 2^31.
        let number = i32::try_from(multipart.parts.len() + 1).unwrap_or(i32::MAX);
        let admission = breaker.admit(Instant::now())?;
        let request = client
            .upload_part()
            .bucket(bucket)
            .key(key)
            .upload_id(&multipart.upload_id)
            .part_number(number)
            .body(ByteStream::from(part));
        let sent = settle(&admission, request.send().await)?;
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .build();
        multipart.parts.push(part);
        Ok(())
    }
}

pub(super) fn settle<T, E: Into<S3Error>>(
    admission: &Admission<'_>,
    result: Result<T, E>,
) -> Result<T, S3Error> {
    admission.record(result.is_ok(), Instant::now());
    result.map_err(Into::into)
}

/// A multipart upload that S3 knows of; aborted unless it is completed.
struct Multipart {
    attachments: Arc<Attachments>,
    key: String,
    upload_id: String,
    parts: Vec<CompletedPart>,
    is_complete: bool,
}

impl Drop for Multipart {
    fn drop(&mut self) {
        if self.is_complete {
            return;
        }
        let Attachments { client, bucket, .. } = &*self.attachments;
        let request = client.abort_multipart_upload().bucket(bucket);
        let request = request.key(&self.key).upload_id(&self.upload_id);
        tokio::spawn(async move {
            if let Err(error) = request.send().await {
                let error = S3Error::from(error);
                tracing::warn!(%error, "an unfinished upload stays in S3");
            }
        });
    }
}
