//! A PostgreSQL of the test's own, from the Debian package, gone when the value is dropped.
//!
//! It listens on a Unix socket in its own directory, so it meets no other server. PostgreSQL refuses
//! to run as root: then it runs as the package's user `postgres`.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::process::Process;

const BOUND: Duration = Duration::from_secs(60);

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    process: Option<Process>,
    directory: TempDir,
    binaries: PathBuf,
    is_root: bool,
}

/// Why there can be none here; `None` if there can.
#[must_use]
pub fn obstacle() -> Option<String> {
    find_binaries().err().map(|error| format!("{error:#}"))
}

fn find_binaries() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("no Debian package postgresql")?;
    let mut binaries: Vec<PathBuf> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|path| path.join("initdb").exists())
        .collect();
    binaries.sort();
    binaries.pop().context("no initdb in /usr/lib/postgresql")
}

impl Postgres {
    /// Makes a cluster and starts it.
    ///
    /// # Errors
    /// The package is not installed, or something in it fails.
    pub async fn start() -> Result<Self> {
        let binaries = find_binaries()?;
        let directory = TempDir::with_prefix("pg").context("make a directory")?;
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            let uid = id(&["-u", "postgres"])?;
            chown(directory.path(), Some(uid), None).context("give the directory away")?;
        }
        let mut postgres = Self {
            process: None,
            directory,
            binaries,
            is_root,
        };
        let cluster = postgres.directory.path().join("cluster");
        postgres.run(
            "initdb",
            &[
                "--auth=trust",
                "--username=relay",
                "--no-sync",
                "-D",
                text(&cluster)?,
            ],
        )?;
        postgres.start_again().await?;
        Ok(postgres)
    }

    /// Starts the server on its data.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_again(&mut self) -> Result<()> {
        let cluster = self.directory.path().join("cluster");
        let mut command = self.command("postgres");
        command.args(["-D", text(&cluster)?, "-k", text(self.directory.path())?]);
        command.args(["-c", "listen_addresses=", "-c", "max_connections=50"]);
        let mut process = Process::start(&mut command)?;
        process
            .wait_for_log("ready to accept connections", BOUND)
            .await?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends the server at once, as a crash would: on its next start it recovers.
    ///
    /// # Errors
    /// It does not end.
    pub fn crash(&mut self) -> Result<()> {
        let cluster = self.directory.path().join("cluster");
        self.run(
            "pg_ctl",
            &["stop", "-m", "immediate", "-D", text(&cluster)?],
        )?;
        self.process = None;
        Ok(())
    }

    /// Makes a database and returns its address.
    ///
    /// # Errors
    /// The server refuses.
    pub fn create_database(&self, name: &str) -> Result<String> {
        let socket = text(self.directory.path())?;
        self.run("createdb", &["-h", socket, "-U", "relay", name])?;
        Ok(format!("postgres://relay@localhost/{name}?host={socket}"))
    }

    /// The server's socket, for those who come by another way than [`Self::create_database`]'s.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join(".s.PGSQL.5432")
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let output = self.command(program).args(arguments).output();
        let output = output.with_context(|| format!("run {program}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{program}: {}: {said}",
            output.status
        );
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let program = self.binaries.join(program);
        let mut command = if self.is_root {
            let mut command = Command::new("setpriv");
            command.args([
                "--reuid=postgres",
                "--regid=postgres",
                "--clear-groups",
                "--",
            ]);
            command.arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir("/").env("LC_ALL", "C");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.process.is_some() {
            // By the package's own tool, because a killed server leaves shared memory behind.
            let _ = self.crash();
        }
    }
}

fn id(arguments: &[&str]) -> Result<u32> {
    let output = Command::new("id")
        .args(arguments)
        .output()
        .context("run id")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().context("no user `postgres`")
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}
