//! How many messages the relay makes durable and delivers, beside what its database commits alone
//! on the same disk.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::companion::{START_BOUND, run, run_release};
use super::figure::{Goal, Ratio, Spread};
use super::{Report, Run, wait_for_listener};
use crate::services::{Interrupt, Ports, Service, release_program, wait_for};
use crate::workspace;

/// What one load came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Relayed {
    /// Messages that were acked.
    pub(super) messages: f64,
    /// The same, per second.
    pub(super) rate: f64,
    /// From the sender's request to the recipient's ack, the 99th percentile. Unit: seconds.
    pub(super) p99: f64,
}

/// Senders and recipients.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crowd {
    /// Accounts that send, each one message at a time.
    pub(super) senders: u64,
    /// Accounts that receive.
    pub(super) recipients: u64,
}

impl Crowd {
    /// Sends for so many seconds, until everything is acked.
    ///
    /// # Errors
    /// A message was refused or lost.
    pub(super) fn relay(self, port: u16, seconds: u64) -> Result<Relayed> {
        let said = run_release("bench_relay", &self.arguments(port, seconds))?;
        let said: Value = serde_json::from_str(&said).context("parse what it says")?;
        let number = |key| said.get(key).and_then(Value::as_f64).context("no number");
        let messages = number("messages")?;
        Ok(Relayed {
            messages,
            rate: messages / number("seconds")?,
            p99: number("p99_seconds")?,
        })
    }

    fn arguments(self, port: u16, seconds: u64) -> Vec<String> {
        let Self {
            senders,
            recipients,
        } = self;
        vec![
            format!("--address=127.0.0.1:{port}"),
            format!("--senders={senders}"),
            format!("--recipients={recipients}"),
            format!("--seconds={seconds}"),
        ]
    }
}

/// Starts a relay on a database; its own data lies in `folder`.
///
/// # Errors
/// It does not start.
pub(super) fn start_relay(
    program: &str,
    folder: &Path,
    database: Option<&str>,
    interrupt: &Interrupt,
) -> Result<(Service, Ports)> {
    let ports = Ports::choose()?;
    let mut command = Command::new(release_program(program));
    command
        .arg(format!("--public-address=127.0.0.1:{}", ports.public))
        .arg(format!(
            "--management-address=127.0.0.1:{}",
            ports.management
        ))
        .arg(format!("--data-dir={}", folder.display()))
        .args([
            "--account-rate=1000000",
            "--message-rate=1000000",
            "--frame-rate=1000000",
        ])
        .args(database.map(|url| format!("--database-url={url}")));
    let mut service = Service::start_command(program, &mut command)?;
    wait_for_listener(ports.public, &mut service, interrupt)?;
    Ok((service, ports))
}

/// A folder that is empty at first and gone when the value is dropped.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    /// Makes it.
    ///
    /// # Errors
    /// The file system refuses.
    pub(super) fn make(parent: &Path, name: &str) -> Result<Self> {
        let folder = parent.join(format!("plumbline-bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is in target/ or in memory, and is no one's data.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Database {
    Sqlite,
    Postgresql,
}

impl Database {
    fn label(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgresql => "PostgreSQL",
        }
    }

    fn peer(self) -> &'static str {
        match self {
            Self::Sqlite => "one connection of Python's `sqlite3`",
            Self::Postgresql => "`pgbench` with 8 clients, the size of the server's pool",
        }
    }
}

/// Inserts a row and commits it, again and again: WAL and full sync, as the server has it.
const SQLITE_COMMITS: &str = "\
import sqlite3, sys, time
path, seconds = sys.argv[1], float(sys.argv[2])
db = sqlite3.connect(path, isolation_level=None)
db.execute('pragma journal_mode = wal')
db.execute('pragma synchronous = full')
db.execute('create table if not exists messages (sequence integer primary key, id text unique, '
           'recipient text, sender text, body text, sent_at integer)')
started, commits = time.monotonic(), 0
while time.monotonic() - started < seconds:
    db.execute('insert into messages (id, recipient, sender, body, sent_at) '
               'values (lower(hex(randomblob(16))), ?, ?, ?, 0)', ('a' * 32, 'b' * 32, 'c' * 16))
    commits += 1
print(commits / (time.monotonic() - started))
";

/// The same by `pgbench`.
const POSTGRESQL_COMMITS: &str = "insert into commits (id, recipient, sender, body, sent_at) \
    values (gen_random_uuid()::text, repeat('a', 32), repeat('b', 32), repeat('c', 16), 0);\n";

/// A PostgreSQL of the bench's own.
struct Postgresql {
    _service: Service,
    url: String,
    folder: String,
}

impl Postgresql {
    fn start(interrupt: &Interrupt) -> Result<Self> {
        let mut service = Service::start_release("bench_postgres", &[])?;
        let log = service.log().to_owned();
        let services = &mut [&mut service];
        let said: Value = wait_for("PostgreSQL", 4 * START_BOUND, services, interrupt, || {
            let text = fs::read_to_string(&log).context("read what it says")?;
            let line = text.lines().find(|line| line.starts_with('{'));
            line.map(serde_json::from_str)
                .transpose()
                .context("parse it")
        })?;
        let text = |key| said.get(key).and_then(Value::as_str).map(str::to_owned);
        let postgresql = Self {
            _service: service,
            url: text("url").context("no address")?,
            folder: text("folder").context("no folder")?,
        };
        postgresql.run(Command::new("psql").args([
            "--quiet",
            "--command=create table commits (sequence bigserial primary key, id text unique, \
             recipient text, sender text, body text, sent_at bigint)",
        ]))?;
        Ok(postgresql)
    }

    fn run(&self, command: &mut Command) -> Result<String> {
        let folder = format!("--host={}", self.folder);
        run(command.args([&folder, "--username=relay", "relay"]))
    }

    fn commits(&self, seconds: u64) -> Result<f64> {
        let script = workspace::root().join("target/xtask/bench-commits.sql");
        fs::write(&script, POSTGRESQL_COMMITS).context("write pgbench's script")?;
        let said = self.run(
            Command::new(pgbench()?)
                .args(["--no-vacuum", "--client=8", "--jobs=1"])
                .arg(format!("--time={seconds}"))
                .arg(format!("--file={}", script.display())),
        )?;
        let rate = said.lines().find_map(|line| line.strip_prefix("tps = "));
        let rate = rate.and_then(|rest| rest.split(' ').next()?.parse().ok());
        rate.with_context(|| format!("pgbench said:\n{said}"))
    }
}

/// Debian keeps it off `PATH`, in a folder per version.
fn pgbench() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<PathBuf> = versions
        .filter_map(|version| Some(version.ok()?.path().join("bin/pgbench")))
        .filter(|file| file.is_file())
        .collect();
    found.sort();
    found
        .pop()
        .or_else(|| workspace::find_command("pgbench"))
        .context("no pgbench")
}

/// Measures the relay's durable messages beside its databases' commits.
///
/// # Errors
/// Something could not be started or measured, or a message was lost.
pub(super) fn bench(settings: &Run) -> Result<Report> {
    let crowd = Crowd {
        senders: 64,
        recipients: 16,
    };
    let (rounds, seconds) = (settings.size(7, 3), settings.size(5, 2));
    let mut ratios = Vec::new();
    let mut section = format!(
        "## Durable messages\n\n\
         `cargo xtask bench relay`: {rounds} rounds of {seconds} s for each, in turns, everything on \
         one disk. A message counts when its recipient has acked it; it was durable before its \
         sender's 202. *Commits* are rows that are inserted and committed one by one. *p99* is from \
         the sender's request to the recipient's ack.\n\n\
         | | messages/s | commits/s | p99, ms |\n|---|---|---|---|\n"
    );
    for (database, name) in [
        (Database::Sqlite, "durable messages/s / commits/s, SQLite"),
        (
            Database::Postgresql,
            "durable messages/s / commits/s, PostgreSQL",
        ),
    ] {
        let folder = Folder::make(&workspace::root().join("target/xtask"), "relay")?;
        let postgresql = match database {
            Database::Sqlite => None,
            Database::Postgresql => Some(Postgresql::start(&settings.interrupt)?),
        };
        let url = postgresql
            .as_ref()
            .map(|postgresql| postgresql.url.as_str());
        let (mut relay, ports) = start_relay("server", &folder.0, url, &settings.interrupt)?;
        let (mut rates, mut commits, mut p99) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            eprintln!("{}: round {}", database.label(), round + 1);
            ensure!(!settings.interrupt.came(), "interrupted");
            relay.check_running()?;
            let relayed = crowd.relay(ports.public, seconds)?;
            rates.push(relayed.rate);
            p99.push(1e3 * relayed.p99);
            commits.push(match &postgresql {
                Some(postgresql) => postgresql.commits(seconds)?,
                None => sqlite_commits(&folder.0, seconds)?,
            });
        }
        writeln!(
            section,
            "| {}, commits by {} | {} | {} | {} |",
            database.label(),
            database.peer(),
            Spread::of(&rates),
            Spread::of(&commits),
            Spread::of(&p99),
        )?;
        let spread = Spread::of_ratios(&rates, &commits);
        ratios.push(Ratio::new(name, spread, Goal::AtLeast(0.5)));
    }
    let arguments = crowd.arguments(Ports::DEFAULT.public, seconds).join(" ");
    write!(section, "\n```console\n$ bench_relay {arguments}\n```\n\n")?;
    Ok(Report::with_ratios(section, ratios))
}

fn sqlite_commits(folder: &Path, seconds: u64) -> Result<f64> {
    let said = run(Command::new("python3")
        .args(["-c", SQLITE_COMMITS])
        .arg(folder.join("commits.db"))
        .arg(seconds.to_string()))?;
    said.trim().parse().context("no rate")
}
