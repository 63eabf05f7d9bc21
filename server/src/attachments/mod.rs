//! Attachments: streamed to and from S3, never whole in memory.
//!
//! Knows S3 and how long it takes. Deliberately knows neither accounts nor names: a key is the
//! attachment's id. What of an upload remains when the process dies, `retention` removes.

mod download;
mod durable;
mod embedded;
mod upload;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Region, RequestChecksumCalculation, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
    error::{DisplayErrorContext, SdkError},
    operation::get_object::GetObjectError,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
pub use embedded::EmbeddedError;
use exporter::breaker::{Breaker, Open, Policy};
use tokio::sync::Semaphore;
pub(crate) use upload::Uploaded;
use uuid::Uuid;

use crate::{config::Config, metrics_service::MetricsService, tasks::Tasks};

/// Longest time for one attempt of one request to S3, a part's upload included.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest time for one request to S3 with all its attempts.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time to open a connection to S3.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A key that no attachment has.
const PROBE: &str = "probe";

/// Whether S3 works, and has no such object.
fn says_missing<R>(error: &SdkError<GetObjectError, R>) -> bool {
    error
        .as_service_error()
        .is_some_and(GetObjectError::is_no_such_key)
}

/// Whether S3 knows who asks: where the keys of a bucket may not be listed, it does not say that one
/// of them is missing either.
fn says_forbidden<R>(error: &SdkError<GetObjectError, R>) -> bool {
    let code = error
        .as_service_error()
        .and_then(|error| error.meta().code());
    code == Some("AccessDenied")
}

/// Why there is no S3 to keep attachments in.
#[derive(Debug, thiserror::Error)]
pub enum AttachmentsError {
    /// The S3 within this process did not start.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// This host trusts nobody, so nobody can be spoken to by TLS.
    #[error(
        "no certificate authority is installed, so S3 cannot be reached by HTTPS: install \
         ca-certificates, or name a file of them in SSL_CERT_FILE"
    )]
    NoCertificateAuthority,
}

/// Why an attachment was not moved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum S3Error {
    /// S3 kept failing and is left alone for a while.
    #[error("attachments are not available")]
    Unavailable(#[from] Open),
    /// S3 has no such object.
    #[error("there is no such object")]
    Missing,
    /// S3 did not do what it was asked; the text is its whole chain of reasons.
    #[error("S3 failed: {0}")]
    Failed(String),
}

impl<E, R> From<SdkError<E, R>> for S3Error
where
    E: std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    fn from(error: SdkError<E, R>) -> Self {
        // The chain is generic in each operation, so its text is what can be carried.
        Self::Failed(DisplayErrorContext(error).to_string())
    }
}

/// The S3 of one relay.
pub(crate) struct Attachments {
    client: Client,
    bucket: String,
    breaker: Breaker,
    uploads: Semaphore,
    metrics: Arc<MetricsService>,
}

impl Attachments {
    /// Connects to the bucket that `config` names, or starts the embedded S3.
    pub(crate) async fn open(
        config: &Config,
        metrics: Arc<MetricsService>,
        tasks: &mut Tasks,
    ) -> Result<Self, AttachmentsError> {
        // The connector for HTTPS panics where the host has no certificate authority.
        let has_authorities = !rustls_native_certs::load_native_certs().certs.is_empty();
        let http = aws_smithy_http_client::Builder::new();
        let http = if has_authorities {
            http.tls_provider(Provider::Rustls(CryptoMode::Ring))
                .build_https()
        } else {
            http.build_http()
        };
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(OPERATION_TIMEOUT)
            .build();
        let (settings, bucket) = if config.attachments_bucket.is_empty() {
            embedded::start(config, tasks).await?
        } else {
            let settings = aws_config::defaults(BehaviorVersion::latest())
                .http_client(http.clone())
                .load()
                .await;
            let endpoint = settings.endpoint_url().unwrap_or("https:");
            if !has_authorities && !endpoint.starts_with("http:") {
                return Err(AttachmentsError::NoCertificateAuthority);
            }
            (
                aws_sdk_s3::config::Builder::from(&settings),
                config.attachments_bucket.clone(),
            )
        };
        let mut settings = settings
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            // Many S3-compatible services refuse the checksums that are only "supported".
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            // Services other than Amazon's seldom have a host name for each bucket.
            .force_path_style(true)
            .build();
        if settings.region().is_none() {
            settings = settings
                .to_builder()
                .region(Region::new("us-east-1"))
                .build();
        }
        let policy = Policy {
            failures: config.breaker_failures,
            cool_down: config.breaker_cool_down.get(),
        };
        Ok(Self {
            client: Client::from_conf(settings),
            bucket,
            breaker: metrics.breaker("s3", policy),
            uploads: Semaphore::new(config.uploads_limit),
            metrics,
        })
    }

    /// Whether S3 is known to work.
    pub(crate) fn is_available(&self) -> bool {
        self.breaker.check(Instant::now()).is_ok()
    }

    /// Asks an S3 that was left alone, each time that is due; its breaker sees the answers. Never ends.
    pub(crate) async fn probe(&self) {
        loop {
            self.breaker.due().await;
            let Ok(admission) = self.breaker.admit(Instant::now()) else {
                continue;
            };
            let request = self.client.get_object().bucket(&self.bucket).key(PROBE);
            let answered = match request.send().await {
                Ok(_) => Ok(()),
                Err(error) if says_missing(&error) || says_forbidden(&error) => Ok(()),
                Err(error) => Err(S3Error::from(error)),
            };
            admission.record(answered.is_ok(), Instant::now());
            if let Err(error) = answered {
                tracing::debug!(%error, "S3 is still not available");
            }
        }
    }

    /// Removes an object, if it is there.
    pub(crate) async fn delete(&self, id: &Uuid) -> Result<(), S3Error> {
        let admission = self.breaker.admit(Instant::now())?;
        let request = self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key(id.to_string());
        upload::settle(&admission, request.send().await).map(drop)
    }
}
