//! A TCP server whose gauge is wrong by as much as it is told, or late by as much.
//!
//! With none of its flags it is honest, and fast: it reads until the end of a connection and keeps
//! no other account than the gauge. What is true is in the books of who connects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use tests::liar::{self, Gauge, Ports};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    ports: Ports,
    /// What is added to the gauge for good.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    offset: i64,
    /// Of so many closings one is not counted; 0 for none.
    #[arg(long, default_value_t = 0)]
    leak_every: u64,
    /// How much later than it happens each opening and closing is counted. Unit: milliseconds.
    #[arg(long, default_value_t = 0)]
    lag: u64,
}

/// What every connection needs.
struct Bookkeeping {
    gauge: Gauge,
    closings: AtomicU64,
    leak_every: u64,
    lag: Duration,
}

impl Bookkeeping {
    async fn opened(&self) {
        sleep(self.lag).await;
        self.gauge.increment();
    }

    async fn closed(&self) {
        sleep(self.lag).await;
        let closings = self.closings.fetch_add(1, Ordering::SeqCst) + 1;
        if self.leak_every == 0 || !closings.is_multiple_of(self.leak_every) {
            self.gauge.decrement();
        }
    }
}

pub(crate) async fn run() -> Result<()> {
    let Arguments {
        ports,
        offset,
        leak_every,
        lag,
    } = liar::arguments();
    let gauge = Gauge::default();
    gauge.set(offset);
    let books = Arc::new(Bookkeeping {
        gauge: gauge.clone(),
        closings: AtomicU64::new(0),
        leak_every,
        lag: Duration::from_millis(lag),
    });
    let public = liar::listen(ports.public_address).await?;
    let page = liar::listen(ports.management_address).await?;
    let management = liar::management(move || liar::page(&[("", gauge.get())]));
    let serve = async {
        loop {
            let (stream, _) = liar::accept(&public).await;
            tokio::spawn(serve(stream, Arc::clone(&books)));
        }
    };
    tokio::select! {
        served = axum::serve(page, management).into_future() => served.context("serve"),
        () = serve => Ok(()),
    }
}

async fn serve(mut stream: TcpStream, books: Arc<Bookkeeping>) {
    let counted = tokio::spawn({
        let books = Arc::clone(&books);
        async move { books.opened().await }
    });
    let mut buffer = [0; 1024];
    while let Ok(1..) = stream.read(&mut buffer).await {}
    drop(stream);
    // An opening is counted before its own closing.
    let _ = counted.await;
    books.closed().await;
}
