//! A real Prometheus, from the system: started with a configuration of the test's, and asked.
//!
//! It keeps its data in a temporary directory and listens on a free port. It knows nothing of what
//! it scrapes.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::Process;
use crate::{http, port};

/// Long enough for a machine that others build on.
const BOUND: std::time::Duration = std::time::Duration::from_secs(30);

/// A Prometheus that runs.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    url: String,
    _folder: TempDir,
}

/// Whether there is a Prometheus to be started; if not, the skip is recorded.
#[must_use]
pub fn is_here_or_skip() -> bool {
    let is_here = ["prometheus", "promtool"]
        .iter()
        .all(|tool| Command::new(tool).arg("--version").output().is_ok());
    if !is_here {
        crate::skip("no prometheus and promtool on PATH: cargo xtask setup");
    }
    is_here
}

impl Prometheus {
    /// Starts one with these rules, a file for each, that scrapes each job's address every second.
    ///
    /// # Errors
    /// It does not come up; the text has its log.
    pub async fn start(rules: &[String], jobs: &[(&str, String)]) -> Result<Self> {
        let job = |(job, address): &(&str, String)| {
            format!("{{job_name: {job}, static_configs: [{{targets: ['{address}']}}]}}")
        };
        Self::start_with(rules, jobs.iter().map(job)).await
    }

    /// Starts one without rules, of whose job `listed` the pages are what the lists of this pattern say; it
    /// looks into them each second.
    ///
    /// # Errors
    /// As of [`Self::start`].
    pub async fn start_listed(pattern: &str) -> Result<Self> {
        let lists = format!("{{files: ['{pattern}'], refresh_interval: 1s}}");
        let job = format!("{{job_name: listed, file_sd_configs: [{lists}]}}");
        Self::start_with(&[], [job].into_iter()).await
    }

    /// Starts one with these rules, and jobs as its configuration has them.
    ///
    /// # Errors
    /// As of [`Self::start`].
    pub async fn start_with(rules: &[String], jobs: impl Iterator<Item = String>) -> Result<Self> {
        let folder = TempDir::new().context("make a temporary directory")?;
        let mut config = String::from("global: {scrape_interval: 1s, evaluation_interval: 1s}\n");
        config.push_str("rule_files: [rules-*.yml]\nscrape_configs:\n");
        for (index, text) in rules.iter().enumerate() {
            let file = folder.path().join(format!("rules-{index}.yml"));
            fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        }
        for job in jobs {
            config.push_str(&format!("  - {job}\n"));
        }
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).with_context(|| format!("write {}", file.display()))?;
        let address = port::free_address()?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", path(&folder, "data")))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn");
        let mut process = Process::start(&mut command)?;
        let url = format!("http://{address}");
        process
            .wait_for_url(&format!("{url}/-/ready"), BOUND)
            .await?;
        Ok(Self {
            process,
            url,
            _folder: folder,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The series that a query has now, each with its labels and its value.
    ///
    /// # Errors
    /// It does not answer, or refuses the query; the text has the reason.
    pub async fn query(&self, query: &str) -> Result<Vec<(Value, f64)>> {
        let encoded: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let data = self.ask(&format!("query?query={encoded}")).await?;
        let series = data["result"].as_array().context("a vector")?;
        let sample = |sample: &Value| {
            let value = sample["value"][1].as_str().context("a value")?;
            Ok((sample["metric"].clone(), value.parse()?))
        };
        series.iter().map(sample).collect()
    }

    /// Every rule that it has loaded: alerts have their annotations, duration and labels.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn rules(&self) -> Result<Vec<Value>> {
        let data = self.ask("rules").await?;
        let groups = data["groups"].as_array().context("groups")?;
        let rules = groups.iter().filter_map(|group| group["rules"].as_array());
        Ok(rules.flatten().cloned().collect())
    }

    /// What it has logged: at this level, only what is wrong.
    pub fn log(&self) -> String {
        self.process.log()
    }

    async fn ask(&self, what: &str) -> Result<Value> {
        let answer = http::get(&format!("{}/api/v1/{what}", self.url)).await?;
        ensure!(answer.status == 200, "{what}: {}", answer.body);
        let mut answer: Value = serde_json::from_str(&answer.body).context("parse the answer")?;
        Ok(answer["data"].take())
    }
}

fn path(folder: &TempDir, name: &str) -> String {
    Path::new(folder.path()).join(name).display().to_string()
}
