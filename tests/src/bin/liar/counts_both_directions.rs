//! A lying server: a proxy counts its clients' connections and those that it makes for them.
//!
//! Both are sessions to the table whose length is the gauge.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::routing::get;
use tests::liar::{self, Gauge, Ports};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

pub(crate) async fn run() -> Result<()> {
    let ports = liar::arguments::<Ports>();
    let gauge = Gauge::default();
    let read = gauge.clone();
    let public = liar::listen(ports.public_address).await?;
    let page = liar::listen(ports.management_address).await?;
    let behind = liar::listen((Ipv4Addr::LOCALHOST, 0).into()).await?;
    let upstream = behind.local_addr().context("the upstream's address")?;
    let hello = Router::new().route("/", get(async || "hello\n"));
    let management = liar::management(move || liar::page(&[("", read.get())]));
    tokio::spawn(relay(public, upstream, gauge));
    tokio::try_join!(
        axum::serve(behind, hello).into_future(),
        axum::serve(page, management).into_future(),
    )
    .context("serve")?;
    Ok(())
}

async fn relay(public: TcpListener, upstream: SocketAddr, gauge: Gauge) {
    loop {
        let (mut client, _) = liar::accept(&public).await;
        let downstream = gauge.enter();
        let gauge = gauge.clone();
        tokio::spawn(async move {
            if let Ok(mut server) = TcpStream::connect(upstream).await {
                let _upstream = gauge.enter();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
            drop(downstream);
        });
    }
}
