//! HTTP load by `wrk`, and what it says.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::companion::run;
use crate::workspace;

/// What a load came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Load {
    /// Requests that were answered.
    pub(super) requests: u64,
    /// Requests per second.
    pub(super) rate: f64,
    /// The 99th percentile of latency.
    pub(super) p99: Duration,
}

/// A load on a URL.
#[derive(Debug, Clone)]
pub(super) struct Wrk {
    /// Where to.
    pub(super) url: String,
    /// Connections at a time.
    pub(super) connections: u32,
    /// For how long. Unit: seconds.
    pub(super) seconds: u64,
    /// A header of each request; `connection: close` makes a connection per request.
    pub(super) header: Option<&'static str>,
}

impl Wrk {
    /// The command line.
    pub(super) fn arguments(&self) -> Vec<String> {
        let Self {
            url,
            connections,
            seconds,
            header,
        } = self;
        let mut arguments = vec![
            "--threads=1".to_owned(),
            format!("--connections={connections}"),
            format!("--duration={seconds}s"),
            "--latency".to_owned(),
        ];
        arguments.extend(header.map(|header| format!("--header={header}")));
        arguments.push(url.clone());
        arguments
    }

    /// Loads.
    ///
    /// # Errors
    /// `wrk` fails, or requests did.
    pub(super) fn run(&self) -> Result<Load> {
        let mut command = Command::new("wrk");
        command
            .args(self.arguments())
            .env("PATH", workspace::search_path(&[])?);
        let said = run(&mut command)?;
        parse(&said).with_context(|| format!("wrk said:\n{said}"))
    }
}

fn parse(said: &str) -> Result<Load> {
    let errors = said.lines().find(|line| line.contains("Socket errors"));
    // wrk counts the server's closing of a connection that it was told to close as a read error.
    let is_whole =
        errors.is_none_or(|line| line.contains("connect 0") && line.contains("timeout 0"));
    ensure!(is_whole, "requests failed: {}", errors.unwrap_or_default());
    let value = |key: &str| -> Option<&str> {
        let line = said
            .lines()
            .find_map(|line| line.trim().strip_prefix(key))?;
        line.split_whitespace().next()
    };
    let requests = said
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .and_then(|(count, _)| count.parse().ok());
    Ok(Load {
        requests: requests.context("no count of requests")?,
        rate: value("Requests/sec:")
            .and_then(|word| word.parse().ok())
            .context("no rate")?,
        p99: value("99%").and_then(duration).context("no latency")?,
    })
}

/// A duration as wrk writes it.
fn duration(word: &str) -> Option<Duration> {
    let unit = word.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = word.split_at(unit);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Running 2s test @ http://127.0.0.1:3000/\n  1 threads and 16 connections\n  \
        Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency   443.06us  216.12us   9.70ms\n  \
        Latency Distribution\n     50%  403.00us\n     99%    1.10ms\n  \
        27563 requests in 2.00s, 3.02MB read\nRequests/sec:  13778.96\n";

    #[test]
    fn what_wrk_says_is_understood() {
        let load = parse(SAID).expect("it is what wrk says");
        assert_eq!((load.requests, load.rate), (27_563, 13_778.96));
        assert_eq!(load.p99, Duration::from_micros(1100));
    }

    #[test]
    fn requests_that_failed_are_no_measurement() {
        let said = format!("{SAID}  Socket errors: connect 3, read 0, write 0, timeout 0\n");
        assert!(parse(&said).is_err());
        let said = format!("{SAID}  Socket errors: connect 0, read 9, write 0, timeout 0\n");
        assert!(parse(&said).is_ok());
        assert!(parse("nothing").is_err());
    }
}
