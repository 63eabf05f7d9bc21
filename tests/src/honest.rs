//! The relay server as the observer's tests want it: an honest service with one account.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::load::Target;
use crate::process::Process;
use crate::relay::{Account, BOUND, Relay};
use crate::{port, scrape};

/// A server that runs, and an account of it.
#[derive(Debug)]
pub struct Honest {
    /// The server.
    pub relay: Relay,
    account: Account,
    arguments: Vec<String>,
}

impl Honest {
    /// Starts it on a public address of any port; it pings its clients every second.
    ///
    /// # Errors
    /// It does not come up; the text has its log.
    pub async fn start(on: IpAddr) -> Result<Self> {
        Self::start_pinging(on, "1s").await
    }

    /// As [`Self::start`], with another time between two pings, such as `20s`.
    ///
    /// # Errors
    /// As of [`Self::start`].
    pub async fn start_pinging(on: IpAddr, interval: &str) -> Result<Self> {
        let data = TempDir::new().context("make a temporary directory")?;
        let management = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?));
        let arguments = vec![
            format!("--public-address={}", SocketAddr::new(on, port::free()?)),
            format!("--management-address={management}"),
            format!("--data-dir={}", data.path().display()),
            format!("--ping-interval={interval}"),
        ];
        let process = Process::spawn("server", &arguments)?;
        let mut relay = Relay::of(process).await?;
        relay.data = Some(data);
        let account = relay.account().await?;
        Ok(Self {
            relay,
            account,
            arguments,
        })
    }

    /// Stops it and starts it again, with its data, where it was.
    ///
    /// # Errors
    /// It does not stop, or does not come up again.
    pub async fn restart(&mut self) -> Result<()> {
        self.relay.process.terminate(BOUND).await?;
        let data = self.relay.data.take();
        let process = Process::spawn("server", &self.arguments)?;
        self.relay = Relay::of(process).await?;
        self.relay.data = data;
        Ok(())
    }

    /// Its public port.
    pub fn port(&self) -> u16 {
        self.relay.public.port()
    }

    /// Its public port as the observer's `listen` has it, on any address.
    pub fn listen(&self) -> String {
        format!(":{}", self.port())
    }

    /// Where its gauges are.
    pub fn gauge_url(&self) -> String {
        format!("http://{}/metrics", self.relay.management)
    }

    /// Its gateway, for clients of its account that come to `address`.
    pub fn gateway(&self, address: impl Into<IpAddr>) -> Target {
        let address = SocketAddr::new(address.into(), self.port());
        Target::new(address, "/v1/gateway").bearer(&self.account.token)
    }

    /// The value of one of its gauges that has no labels.
    ///
    /// # Errors
    /// It does not answer, or has no such gauge.
    pub async fn gauge(&self, name: &str) -> Result<f64> {
        scrape::fetch(&self.gauge_url()).await?.value(name, &[])
    }
}
