//! A lying server: a connection is counted down once its last answer is written.
//!
//! To a client that has left first nothing can be written.

use anyhow::{Context as _, Result};
use tests::liar::{self, Gauge, Ports};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) async fn run() -> Result<()> {
    let ports = liar::arguments::<Ports>();
    let gauge = Gauge::default();
    let read = gauge.clone();
    let public = liar::listen(ports.public_address).await?;
    let page = liar::listen(ports.management_address).await?;
    let management = liar::management(move || liar::page(&[("", read.get())]));
    tokio::spawn(accept(public, gauge));
    axum::serve(page, management).await.context("serve")
}

async fn accept(public: TcpListener, gauge: Gauge) {
    loop {
        let (stream, _) = liar::accept(&public).await;
        gauge.increment();
        tokio::spawn(serve(stream, gauge.clone()));
    }
}

async fn serve(mut stream: TcpStream, gauge: Gauge) {
    let mut buffer = [0; 1024];
    while let Ok(1..) = stream.read(&mut buffer).await {}
    if stream.write_all(b"goodbye\n").await.is_ok() {
        gauge.decrement();
    }
}
