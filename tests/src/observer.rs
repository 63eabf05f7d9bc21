//! The observer under test: started with targets of the test's, and asked what it says of them.
//!
//! It is met where users meet it: its configuration file, its log, `/metrics` and the API.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Process, Signal, binary};
use crate::scrape::{self, Page};
use crate::watched::text_of;
use crate::{http, wait};

pub use crate::watched::Watched;

/// Long enough for a machine that others build on.
pub const BOUND: Duration = Duration::from_secs(20);

/// Open connections by class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Classes {
    /// ESTABLISHED WebSockets.
    pub websocket: u64,
    /// ESTABLISHED, with HTTP responses only.
    pub http: u64,
    /// ESTABLISHED, and nothing more is known.
    pub unclassified: u64,
    /// No longer ESTABLISHED and not closed.
    pub closing: u64,
}

/// Checks so far by verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checks {
    /// The claim was what an honest service can say.
    pub agree: u64,
    /// It was surely too much.
    pub over: u64,
    /// It was surely too little.
    pub under: u64,
    /// It was wrong, and not for long enough.
    pub unsettled: u64,
    /// Nothing could be said.
    pub blind: u64,
}

/// The name of its configuration file.
const FILE: &str = "observer.toml";

/// An `observer run` with its configuration.
#[derive(Debug)]
pub struct Observer {
    /// The process.
    pub process: Process,
    url: String,
    folder: TempDir,
}

/// An observer that has ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its data.
    pub stdout: String,
    /// Its talk.
    pub stderr: String,
}

/// The configuration and the command that runs an observer with it.
#[derive(Debug)]
pub struct Prepared {
    folder: TempDir,
    arguments: Vec<String>,
}

impl Prepared {
    /// Writes the configuration, where any user may read it.
    ///
    /// # Errors
    /// No temporary directory can be written.
    pub fn new(targets: &[Watched], flags: &[&str]) -> Result<Self> {
        Self::of_text(&text_of(targets), flags)
    }

    /// As [`Self::new`], with the text of the configuration file.
    ///
    /// # Errors
    /// No temporary directory can be written.
    pub fn of_text(text: &str, flags: &[&str]) -> Result<Self> {
        let folder = TempDir::new().context("make a temporary directory")?;
        open_to_all(folder.path())?;
        let file = folder.path().join(FILE);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        let mut arguments = vec!["--config".to_owned(), file.display().to_string()];
        // Any port: the log says which.
        if !flags
            .iter()
            .any(|flag| flag.starts_with("--web.listen-address"))
        {
            arguments.push("--web.listen-address=127.0.0.1:0".to_owned());
        }
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        Ok(Self { folder, arguments })
    }

    /// A copy of the observer that any user may run.
    ///
    /// # Errors
    /// It is not built, or cannot be copied.
    pub fn copy_program(&self) -> Result<PathBuf> {
        let copy = self.folder.path().join("observer");
        fs::copy(binary("observer")?, &copy).context("copy the observer")?;
        open_to_all(&copy)?;
        Ok(copy)
    }

    /// The observer, as the user who runs the tests.
    ///
    /// # Errors
    /// It is not built.
    pub fn program() -> Result<Command> {
        Ok(Command::new(binary("observer")?))
    }

    /// Runs `command` with the arguments of `observer run` behind its own, until it has started.
    ///
    /// # Errors
    /// It ends before it says that it has started.
    pub async fn start(self, mut command: Command) -> Result<Observer> {
        let mut process = Process::start(command.arg("run").args(&self.arguments))?;
        let line = process.wait_for_log("message=started", BOUND).await?;
        let address = line
            .split_whitespace()
            .find_map(|pair| pair.strip_prefix("web_listen_address="))
            .context("the log has the observer's address")?;
        Ok(Observer {
            url: format!("http://{address}"),
            process,
            folder: self.folder,
        })
    }

    /// Runs `subcommand` of the observer, which is to end by itself.
    ///
    /// # Errors
    /// It cannot be started, or does not end; the text has its log.
    pub async fn run(&self, mut command: Command, subcommand: &str) -> Result<Ended> {
        let mut process = Process::start(command.arg(subcommand).args(&self.arguments))?;
        // `check` may wait for a round of pings.
        let status = process.wait_for_exit(4 * BOUND).await;
        let status = status.with_context(|| format!("log:\n{}", process.log()))?;
        Ok(Ended {
            code: status.code(),
            stdout: process.stdout(),
            stderr: process.log(),
        })
    }
}

fn open_to_all(path: &Path) -> Result<()> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(path, mode).with_context(|| format!("open {} to all", path.display()))
}

impl Observer {
    /// Starts an observer of these targets and waits until it has seeded them.
    ///
    /// # Errors
    /// It does not come up; the text has its log.
    pub async fn start(targets: &[Watched]) -> Result<Self> {
        Self::start_with(targets, &[]).await?.seeded().await
    }

    /// Starts an observer with flags beside the configuration; it may not be seeded yet.
    ///
    /// # Errors
    /// It does not come up; the text has its log.
    pub async fn start_with(targets: &[Watched], flags: &[&str]) -> Result<Self> {
        let prepared = Prepared::new(targets, flags)?;
        prepared.start(Prepared::program()?).await
    }

    /// Where its pages are.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits until every target is seeded.
    ///
    /// # Errors
    /// It takes too long; the text has the log.
    pub async fn seeded(mut self) -> Result<Self> {
        let url = format!("{}/-/ready", self.url);
        self.process.wait_for_url(&url, BOUND).await?;
        Ok(self)
    }

    /// Lets it read another configuration, and waits until it has taken or refused it.
    ///
    /// # Errors
    /// The file cannot be written, or nothing comes of it.
    pub async fn reload(&mut self, targets: &[Watched]) -> Result<()> {
        self.reload_text(&text_of(targets)).await
    }

    /// As [`Self::reload`], with the text of the configuration file.
    ///
    /// # Errors
    /// As of that.
    pub async fn reload_text(&mut self, text: &str) -> Result<()> {
        let answers = |process: &Process| {
            let log = process.log();
            log.matches("configuration was read again").count()
                + log.matches("new configuration is refused").count()
        };
        let before = answers(&self.process);
        self.write_config(text)?;
        self.process.signal(Signal::HUP)?;
        wait::until("an answer to SIGHUP", BOUND, async || {
            ensure!(answers(&self.process) > before, "none");
            Ok(())
        })
        .await
    }

    /// Replaces its configuration, and sends no signal.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn replace_config(&self, targets: &[Watched]) -> Result<()> {
        self.write_config(&text_of(targets))
    }

    fn write_config(&self, text: &str) -> Result<()> {
        let file = self.folder.path().join(FILE);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))
    }

    /// Where it listens, for whoever scrapes it.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Its metrics now.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn page(&self) -> Result<Page> {
        scrape::fetch(&format!("{}/metrics", self.url)).await
    }

    /// What the API says of a target.
    ///
    /// # Errors
    /// It does not answer, or knows no such target.
    pub async fn report(&self, target: &str) -> Result<Value> {
        let url = format!("{}/api/v1/targets/{target}", self.url);
        let answer = http::get(&url).await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        serde_json::from_str(&answer.body).context("parse the report")
    }

    /// The API's list of a target's open sockets.
    ///
    /// # Errors
    /// It does not answer, or knows no such target.
    pub async fn sockets(&self, target: &str) -> Result<Value> {
        let url = format!("{}/api/v1/targets/{target}/sockets?limit=10000", self.url);
        let answer = http::get(&url).await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        serde_json::from_str(&answer.body).context("parse the list")
    }

    /// A metric that has no label but the target.
    ///
    /// # Errors
    /// It does not answer, or has no such metric.
    pub async fn count(&self, metric: &str, target: &str) -> Result<u64> {
        let page = self.page().await?;
        Ok(page.value(metric, &[("target", target)])? as u64)
    }

    /// The target's open connections by class.
    ///
    /// # Errors
    /// It does not answer, or cannot tell.
    pub async fn classes(&self, target: &str) -> Result<Classes> {
        let page = self.page().await?;
        let class = |class| -> Result<u64> {
            let labels = [("target", target), ("class", class)];
            Ok(page.value("observer_kernel_connections", &labels)? as u64)
        };
        Ok(Classes {
            websocket: class("websocket")?,
            http: class("http")?,
            unclassified: class("unclassified")?,
            closing: class("closing")?,
        })
    }

    /// The target's checks so far.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn checks(&self, target: &str) -> Result<Checks> {
        let page = self.page().await?;
        let checks = |verdict| -> Result<u64> {
            let labels = [("target", target), ("verdict", verdict)];
            Ok(page.value("observer_checks_total", &labels)? as u64)
        };
        Ok(Checks {
            agree: checks("agree")?,
            over: checks("over")?,
            under: checks("under")?,
            unsettled: checks("unsettled")?,
            blind: checks("blind")?,
        })
    }

    /// How many checks of the target there were so far, whatever was found.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn count_of_checks(&self, target: &str) -> Result<u64> {
        let report = self.report(target).await?;
        report["checks"].as_u64().context("the report has a count")
    }

    /// Waits until a claim was checked that was read after now: what is said then has seen
    /// everything that happened until now.
    ///
    /// # Errors
    /// It takes too long; the text has the log.
    pub async fn checked(&self, target: &str) -> Result<()> {
        let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let checked = wait::until("a new check", BOUND, async || {
            let report = self.report(target).await?;
            let at = report["checked_at"].as_str().unwrap_or_default();
            // Of times in one zone the text is ordered as the time is.
            ensure!(at > now.as_str(), "the last check was at {at:?}");
            anyhow::Ok(())
        });
        checked.await.with_context(|| self.told())
    }

    /// Waits until the report of a target has these values.
    ///
    /// # Errors
    /// It takes too long; the text has the last report and the log.
    pub async fn reports(&self, target: &str, expected: &[(&str, Value)]) -> Result<()> {
        let reported = wait::until("the report", BOUND, async || {
            let report = self.report(target).await?;
            for (key, value) in expected {
                ensure!(
                    report[key] == *value,
                    "{key} is {}, expected {value}: {report}",
                    report[key]
                );
            }
            Ok(())
        });
        reported.await.with_context(|| self.told())
    }

    /// Waits until the target's classes are exactly these.
    ///
    /// # Errors
    /// It takes too long; the text has the last classes and the log.
    pub async fn settles(&self, target: &str, expected: Classes) -> Result<()> {
        let settled = wait::until_equal("the classes", BOUND, expected, async || {
            self.classes(target).await
        });
        settled.await.with_context(|| self.told())
    }

    fn told(&self) -> String {
        format!("log of the observer:\n{}", self.process.log())
    }
}
