//! The databases that the server is tested on, and how to make one of them slow.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

/// A database for one server, and the directory of its other data.
#[derive(Debug)]
pub struct Database {
    /// Where the server keeps its data.
    pub directory: TempDir,
    /// The address of a PostgreSQL database; empty for SQLite in the directory.
    pub url: String,
}

impl Database {
    /// A database at `url`; empty for SQLite.
    ///
    /// # Errors
    /// No directory can be made.
    pub fn new(url: String) -> Result<Self> {
        Ok(Self {
            directory: TempDir::new()?,
            url,
        })
    }

    /// Whether it is a file.
    #[must_use]
    pub fn is_sqlite(&self) -> bool {
        self.url.is_empty()
    }

    /// The file, where it is one.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("relay.db")
    }

    /// Has the database execute a statement, past the server; returns the first value that it answers.
    ///
    /// # Errors
    /// `python3` or `psql` cannot be started, or the statement fails.
    pub fn execute(&self, statement: &str) -> Result<String> {
        let mut command = if self.is_sqlite() {
            let mut command = Command::new("python3");
            command.args(["-c", SQLITE_EXECUTE]).arg(self.file());
            command
        } else {
            let mut command = Command::new("psql");
            command.args(["-qtA", "-v", "ON_ERROR_STOP=1", &self.url, "-c"]);
            command
        };
        let output = command.arg(statement).output().context("start it")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{statement}: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Locks the table of messages, or the whole file, until the value is dropped: every statement
    /// on it waits.
    ///
    /// # Errors
    /// `python3` or `psql` cannot be started, or the lock is not to be had.
    pub fn lock(&self) -> Result<Lock> {
        let mut command = if self.is_sqlite() {
            let mut command = Command::new("python3");
            command.args(["-c", SQLITE_LOCK]).arg(self.file());
            command
        } else {
            let mut command = Command::new("sh");
            command.args(["-c", POSTGRES_LOCK, "sh", &self.url]);
            command
        };
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut lock = Lock(child.context("start the process that locks")?);
        let said = lock.0.stdout.take().context("its stdout is a pipe")?;
        let said = BufReader::new(said).lines().find(|line| match line {
            Ok(line) => line.contains("locked"),
            Err(_) => true,
        });
        ensure!(
            matches!(said, Some(Ok(_))),
            "the database could not be locked"
        );
        Ok(lock)
    }
}

/// Its input stays open for as long as the lock is held.
const SQLITE_LOCK: &str = "
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
database.execute('begin exclusive')
print('locked', flush=True)
sys.stdin.read()
";

const SQLITE_EXECUTE: &str = "
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
row = database.execute(sys.argv[2]).fetchone()
print(row[0] if row else '')
";

const POSTGRES_LOCK: &str = "
(echo \"begin; lock table messages, accounts, attachments in access exclusive mode; select 'locked';\"; cat) |
    exec psql -qtA \"$1\"
";

/// A lock that is held.
#[derive(Debug)]
pub struct Lock(Child);

impl Drop for Lock {
    fn drop(&mut self) {
        // The end of its input is the end of its transaction.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
