//! One step of a long task: a command whose output goes to a log, with the time that it takes.
//!
//! On a terminal the time ticks in place; elsewhere a line appears every half minute. A failed
//! step shows the end of its log. It knows nothing of what the steps are.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// Runs `command` to its end and shows `name` with the time elapsed.
///
/// # Errors
/// The command cannot be started, or fails.
pub(crate) fn run_logged(name: &str, command: &mut Command) -> Result<()> {
    let folder = workspace::root().join("target/xtask");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let file = folder.join(format!("{}.log", name.replace([' ', '/'], "-")));
    let log = File::create(&file).with_context(|| format!("create {}", file.display()))?;
    let also = log.try_clone().context("share the log")?;

    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(also)
        .spawn()
        .with_context(|| format!("start {}", command.get_program().to_string_lossy()))?;
    let mut ticker = Ticker::new(name);
    let status = loop {
        if let Some(status) = child.try_wait().context("wait for the command")? {
            break status;
        }
        ticker.tick(started.elapsed());
        pause(Duration::from_millis(200));
    };
    ticker.finish(started.elapsed());
    if !status.success() {
        bail!("{name}: {status}; the end of its log:\n{}", tail(&file, 30));
    }
    Ok(())
}

/// Waits on this thread.
#[expect(
    clippy::disallowed_methods,
    reason = "tasks run on plain threads; there is no runtime to block"
)]
pub(crate) fn pause(duration: Duration) {
    thread::sleep(duration);
}

/// The last `count` lines of a log, indented.
pub(crate) fn tail(file: &Path, count: usize) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..]
        .iter()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

struct Ticker<'name> {
    name: &'name str,
    terminal: bool,
    next: Duration,
}

impl<'name> Ticker<'name> {
    fn new(name: &'name str) -> Self {
        let terminal = io::stderr().is_terminal();
        if !terminal {
            eprintln!("  {name} …");
        }
        Self {
            name,
            terminal,
            next: Duration::ZERO,
        }
    }

    fn tick(&mut self, elapsed: Duration) {
        if elapsed < self.next {
            return;
        }
        if self.terminal {
            eprint!("\r  {} … {} s", self.name, elapsed.as_secs());
            // A line that cannot be shown is no reason to stop the step.
            let _ = io::stderr().flush();
            self.next = elapsed + Duration::from_secs(1);
        } else {
            if !elapsed.is_zero() && !self.next.is_zero() {
                eprintln!("  {} … {} s", self.name, elapsed.as_secs());
            }
            self.next = elapsed + Duration::from_secs(30);
        }
    }

    fn finish(&self, elapsed: Duration) {
        let start = if self.terminal { "\r" } else { "" };
        eprintln!("{start}  {}: {:.1} s   ", self.name, elapsed.as_secs_f64());
    }
}
