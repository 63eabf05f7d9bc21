//! A lying server: it counts what it has accepted, and it stops accepting when it is busy.
//!
//! A pool of ten workers accepts. The clients that find none are connected all the same, as far as
//! the kernel and they themselves are concerned.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use tests::liar::{self, Gauge, Ports};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Workers.
const WORKERS: usize = 10;

pub(crate) async fn run() -> Result<()> {
    let ports = liar::arguments::<Ports>();
    let gauge = Gauge::default();
    let listener = liar::listen(ports.public_address).await?;
    let page = liar::listen(ports.management_address).await?;
    let read = gauge.clone();
    let management = liar::management(move || liar::page(&[("", read.get())]));
    tokio::spawn(accept(listener, gauge));
    axum::serve(page, management).await.context("serve")
}

async fn accept(listener: TcpListener, gauge: Gauge) -> Result<()> {
    let workers = Arc::new(Semaphore::new(WORKERS));
    loop {
        let worker = Arc::clone(&workers).acquire_owned().await?;
        let (stream, _) = liar::accept(&listener).await;
        let entered = gauge.enter();
        tokio::spawn(async move {
            if let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await {
                while let Some(Ok(_)) = socket.next().await {}
            }
            drop((entered, worker));
        });
    }
}
