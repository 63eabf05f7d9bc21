//! The workspace's `server`, started on free ports with a data directory of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::load::Target;
use crate::observer::BOUND;
use crate::process::Process;
use crate::{http, port, scrape};

/// A server that runs, and an account of it.
#[derive(Debug)]
pub struct Relay {
    /// The process.
    pub process: Process,
    port: u16,
    management: SocketAddr,
    token: String,
    _data: TempDir,
}

impl Relay {
    /// Starts it on a public address of any port; it pings its clients every second.
    ///
    /// # Errors
    /// It does not come up; the text has its log.
    pub async fn start(on: IpAddr) -> Result<Self> {
        let data = TempDir::new().context("make a temporary directory")?;
        let port = port::free()?;
        let management = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?));
        let mut process = Process::spawn(
            "server",
            [
                format!("--public-address={}", SocketAddr::new(on, port)),
                format!("--management-address={management}"),
                format!("--data-dir={}", data.path().display()),
                "--ping-interval=1s".to_owned(),
            ],
        )?;
        let ready = format!("http://{management}/readyz");
        process.wait_for_url(&ready, BOUND).await?;
        let loopback: IpAddr = match on {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        let accounts = format!("http://{}/v1/accounts", SocketAddr::new(loopback, port));
        let answer = http::post(&accounts, &serde_json::json!({})).await?;
        ensure!(answer.status == 201, "{}: {}", answer.status, answer.body);
        let account: serde_json::Value =
            serde_json::from_str(&answer.body).context("parse the account")?;
        let token = account["token"].as_str().context("the account's token")?;
        Ok(Self {
            process,
            port,
            management,
            token: token.to_owned(),
            _data: data,
        })
    }

    /// Its public port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its public port as the observer's `listen` has it, on any address.
    pub fn listen(&self) -> String {
        format!(":{}", self.port)
    }

    /// Where its gauges are.
    pub fn gauge_url(&self) -> String {
        format!("http://{}/metrics", self.management)
    }

    /// Its gateway, for clients of its account that come to `address`.
    pub fn gateway(&self, address: impl Into<IpAddr>) -> Target {
        let address = SocketAddr::new(address.into(), self.port);
        Target::new(address, "/v1/gateway").bearer(&self.token)
    }

    /// The value of one of its gauges that has no labels.
    ///
    /// # Errors
    /// It does not answer, or has no such gauge.
    pub async fn gauge(&self, name: &str) -> Result<f64> {
        scrape::fetch(&self.gauge_url()).await?.value(name, &[])
    }
}
