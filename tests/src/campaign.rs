//! Tests of two sizes: a share of them in every run, in full as `cargo xtask campaign NAME`.
//!
//! It knows which of the two this run is, tells how far a long one has come, and hands its figures
//! to the task, which keeps them in `CAMPAIGNS.md`. What is claimed is the same at both sizes: a test
//! asks for nothing but how much.

use std::env;
use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Names the file for the figures of a campaign. Where it is not set, a share runs.
const FIGURES: &str = "PLUMBLINE_CAMPAIGN";

/// How often a long test says how far it has come.
const BEAT: Duration = Duration::from_secs(5);

/// How much of a test runs: `full` in a campaign, otherwise `share`.
#[must_use]
pub fn size(full: u64, share: u64) -> u64 {
    if figures_file().is_some() {
        full
    } else {
        share
    }
}

/// Records a figure of a campaign, such as how many connections were opened, and says it.
///
/// # Panics
/// The file that the task named cannot be written.
pub fn figure(name: &str, value: impl Display) {
    say(&format!("{name}: {value}"));
    let Some(file) = figures_file() else {
        return;
    };
    let open = OpenOptions::new().create(true).append(true).open(&file);
    let written = open.and_then(|mut open| open.write_all(row(name, &value).as_bytes()));
    written.unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
}

/// A figure as the task reads it: a line, with a tab between name and value.
fn row(name: &str, value: &impl Display) -> String {
    let line = |text: String| text.replace(['\t', '\n', '\r'], " ");
    format!("{}\t{}\n", line(name.to_owned()), line(value.to_string()))
}

fn figures_file() -> Option<PathBuf> {
    let file = env::var_os(FIGURES).filter(|file| !file.is_empty())?;
    Some(PathBuf::from(file))
}

#[expect(clippy::print_stderr, reason = "someone waits for a long test")]
fn say(text: &str) {
    eprintln!("{text}");
}

/// How far a test has come.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    total: u64,
    done: AtomicU64,
    started: Instant,
    /// Beats since the start at which it was last said.
    said: AtomicU64,
}

impl Progress {
    /// None of `total` yet. `what` is in the plural.
    #[must_use]
    pub fn start(what: &'static str, total: u64) -> Self {
        Self {
            what,
            total,
            done: AtomicU64::new(0),
            started: Instant::now(),
            said: AtomicU64::new(0),
        }
    }

    /// So many more are done; says so every five seconds at most.
    pub fn advance(&self, count: u64) {
        let done = self.done.fetch_add(count, Ordering::SeqCst) + count;
        let elapsed = self.started.elapsed();
        let beat = elapsed.as_secs() / BEAT.as_secs();
        if self.said.fetch_max(beat, Ordering::SeqCst) < beat {
            let Self { what, total, .. } = self;
            say(&format!(
                "{done} of {total} {what} after {} s",
                elapsed.as_secs()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line_of_two_fields() {
        assert_eq!(row("opened", &1_000), "opened\t1000\n");
        assert_eq!(row("a\tb", &"c\nd"), "a b\tc d\n");
    }

    #[test]
    fn progress_counts_what_is_done() {
        let progress = Progress::start("connections", 10);
        progress.advance(4);
        progress.advance(5);
        assert_eq!(progress.done.load(Ordering::SeqCst), 9);
        // No beat has passed.
        assert_eq!(progress.said.load(Ordering::SeqCst), 0);
    }
}
