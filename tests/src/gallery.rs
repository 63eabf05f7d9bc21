//! A lying server that runs, on ports of its own.
//!
//! What it lies about is a module of the program `liar`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::port::free_address;
use crate::process::{Process, Signal};

const BOUND: Duration = Duration::from_secs(45);

/// One of the liars.
#[derive(Debug)]
pub struct Liar {
    /// Where clients connect.
    pub public: SocketAddr,
    /// Where its page is.
    pub management: SocketAddr,
    /// It itself.
    pub process: Process,
    arguments: Vec<String>,
}

impl Liar {
    /// Starts the liar called `name`, and waits for its page.
    ///
    /// # Errors
    /// It does not come up; the text has its log.
    pub async fn start(name: &str, arguments: &[String]) -> Result<Self> {
        let (public, management) = (free_address()?, free_address()?);
        let mut all = vec![
            name.to_owned(),
            format!("--public-address={public}"),
            format!("--management-address={management}"),
        ];
        all.extend_from_slice(arguments);
        let mut liar = Self {
            public,
            management,
            process: Process::spawn("liar", &all)?,
            arguments: all,
        };
        liar.is_up().await?;
        Ok(liar)
    }

    /// Ends it by a signal, and starts it again where it was.
    ///
    /// # Errors
    /// It does not end, or does not come up.
    pub async fn restart(&mut self, by: Signal) -> Result<()> {
        self.process.signal(by)?;
        self.process.wait_for_exit(BOUND).await?;
        self.process = Process::spawn("liar", &self.arguments)?;
        self.is_up().await
    }

    /// The URL of its page.
    #[must_use]
    pub fn page(&self) -> String {
        format!("http://{}/metrics", self.management)
    }

    /// Its port, as a target has it.
    #[must_use]
    pub fn listen(&self) -> String {
        format!(":{}", self.public.port())
    }

    async fn is_up(&mut self) -> Result<()> {
        let page = self.page();
        let up = self.process.wait_for_url(&page, BOUND).await;
        up.with_context(|| self.arguments.join(" "))
    }
}
