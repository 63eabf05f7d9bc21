//! Services whose claim is no gauge: counters, a JSON document, a text.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{BOUND, Service};
use crate::port::free_address;
use crate::process::Process;

/// NATS with its monitoring port, and a port for WebSockets: all are in one number.
const NATS: &str = "\
listen: PUBLIC
http: MANAGEMENT
websocket { listen: \"SECOND\", no_tls: true }
";

impl Service {
    /// Prometheus, which counts the connections that its listener has accepted and closed; `claim`
    /// is what is made of both.
    ///
    /// # Errors
    /// It does not come up; the text has its log.
    pub async fn prometheus(claim: &str) -> Result<Self> {
        let public = free_address()?;
        let folder = tempfile::tempdir().context("make a temporary directory")?;
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, "global: {}\n").context("write Prometheus' configuration")?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={public}"))
            .arg("--log.level=warn");
        let process = Process::start(&mut command)?;
        let mut service = Self {
            name: "prometheus",
            public,
            gauge_url: format!("http://{public}/metrics"),
            claim: ("claim", claim.to_owned()),
            counts: "established",
            netns: "self".to_owned(),
            process,
            command,
            ready: format!("http://{public}/-/ready"),
            _beside: Vec::new(),
            _folder: Some(folder),
            _cable: None,
        };
        service.wait().await?;
        Ok(service)
    }

    /// NATS, and where it takes WebSockets besides, which it counts as well.
    ///
    /// # Errors
    /// It does not come up; the text has its log.
    pub async fn nats() -> Result<(Self, SocketAddr)> {
        let (public, management, second) = (free_address()?, free_address()?, free_address()?);
        let folder = tempfile::tempdir().context("make a temporary directory")?;
        let file = folder.path().join("nats.conf");
        let text = NATS
            .replace("PUBLIC", &public.to_string())
            .replace("MANAGEMENT", &management.to_string())
            .replace("SECOND", &second.to_string());
        std::fs::write(&file, text).context("write the configuration of NATS")?;
        let mut command = Command::new("nats-server");
        command.arg("-c").arg(&file);
        let process = Process::start(&mut command)?;
        let url = format!("http://{management}/varz");
        let mut service = Self {
            name: "nats",
            public,
            gauge_url: url.clone(),
            claim: ("claim-path", "$.connections".to_owned()),
            counts: "established",
            netns: "self".to_owned(),
            process,
            command,
            ready: url,
            _beside: Vec::new(),
            _folder: Some(folder),
            _cable: None,
        };
        service.process.wait_for_url(&service.ready, BOUND).await?;
        Ok((service, second))
    }

    /// nginx as of [`Self::nginx`], whose own page of text is the claim, on the port that is watched.
    ///
    /// # Errors
    /// It does not come up; the text has the log.
    pub async fn nginx_status() -> Result<Self> {
        let nginx = Self::nginx().await?;
        Ok(Self {
            name: "nginx status",
            gauge_url: nginx.ready.clone(),
            claim: ("claim-pattern", r"^Active connections: (\d+)".to_owned()),
            // The exporter is a client, and its connection is nobody's here.
            _beside: Vec::new(),
            ..nginx
        })
    }
}
