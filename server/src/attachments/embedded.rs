//! The S3 within this process: files in the data directory, served on a loopback port.
//!
//! It makes the S3 client the only path to attachments, with or without a real S3. Its keys are
//! made anew at each start, so no other user of this host can ask it for anything.

use std::{io, net::Ipv4Addr, path::PathBuf};

use aws_sdk_s3::config::{Builder, Credentials, Region};
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use tokio::net::TcpListener;

use super::durable::{self, Durable};
use crate::{account::Token, config::Config, tasks::Tasks};

const BUCKET: &str = "attachments";

/// Why the embedded S3 cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Its directory cannot be made, or not be made to last.
    #[error("cannot create the directory of attachments {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The directory cannot be used.
    #[error("cannot use the directory of attachments: {0}")]
    FileSystem(String),
    /// No loopback port is free.
    #[error("cannot listen on the loopback address")]
    Listen(#[source] io::Error),
    /// The kernel has no randomness to give.
    #[error("cannot make the embedded S3's keys")]
    Keys(#[source] getrandom::Error),
}

/// Starts the S3, whose data directory is this process's alone, and returns a client's settings for
/// it, and its bucket.
pub(super) async fn start(
    config: &Config,
    tasks: &mut Tasks,
) -> Result<(Builder, String), EmbeddedError> {
    let path = config.data_dir.join("s3");
    let prepared = durable::prepare(&path, BUCKET).await;
    prepared.map_err(|source| EmbeddedError::Directory {
        path: path.clone(),
        source,
    })?;
    // The crate's error is no `std::error::Error`; its text is what can be carried.
    let files = Durable::open(path).map_err(EmbeddedError::FileSystem)?;
    let key = || {
        Token::generate()
            .map(Token::reveal)
            .map_err(EmbeddedError::Keys)
    };
    let (access_key, secret_key) = (key()?, key()?);
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single(
        access_key.clone(),
        secret_key.clone(),
    ));
    let service = service.build();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .map_err(EmbeddedError::Listen)?;
    let address = listener.local_addr().map_err(EmbeddedError::Listen)?;
    tasks.spawn("serves the embedded S3", async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // No descriptor is free: the client's connections wait in the accept queue.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            };
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service.clone());
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "connection to the embedded S3 ended");
                }
            });
        }
    });
    let credentials = Credentials::new(access_key, secret_key, None, None, "embedded");
    let settings = Builder::new()
        .credentials_provider(credentials)
        .region(Region::new("us-east-1"))
        .endpoint_url(format!("http://{address}"));
    Ok((settings, BUCKET.to_owned()))
}
