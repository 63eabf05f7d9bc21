//! A terminal of a certain size, in tmux: a command runs in it, keys are pressed, the screen is read.
//!
//! Each has a tmux server of its own, which ends with it and knows nobody's configuration.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{skip, wait};

/// What the shell says when the command has ended, and how the terminal was left.
const SHELL: &str = "\"$@\"; echo \"ended $?\"; stty -a; exec cat";

static SERVERS: AtomicU32 = AtomicU32::new(0);

/// A terminal, until it is dropped.
#[derive(Debug)]
pub struct Terminal {
    server: String,
}

/// Whether there is tmux; if not, the skip is recorded.
#[must_use]
pub fn tmux_or_skip() -> bool {
    let is_here = Command::new("tmux").arg("-V").output().is_ok();
    if !is_here {
        skip("needs tmux");
    }
    is_here
}

impl Terminal {
    /// Starts `command` in a terminal of so many columns and rows, with these variables.
    ///
    /// # Errors
    /// tmux refuses.
    pub fn start(
        (columns, rows): (u16, u16),
        variables: &[&str],
        command: &[String],
    ) -> Result<Self> {
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let server = format!("plumbline-{}-{number}", std::process::id());
        let terminal = Self { server };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let mut start = vec!["-u", "-f", "/dev/null", "new-session", "-d"];
        start.extend(["-x", &columns, "-y", &rows]);
        for variable in variables {
            start.extend(["-e", variable]);
        }
        start.extend(["sh", "-c", SHELL, "sh"]);
        start.extend(command.iter().map(String::as_str));
        terminal.tmux(&start)?;
        Ok(terminal)
    }

    /// Presses keys, as tmux names them.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        self.tmux(&[&["send-keys"], keys].concat()).map(drop)
    }

    /// Gives the terminal another size.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn resize(&self, (columns, rows): (u16, u16)) -> Result<()> {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &rows])
            .map(drop)
    }

    /// What is on the screen.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn screen(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// What is on the screen, with the escape sequences of its colours.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn coloured_screen(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// What is on the screen, its words one blank apart: a sentence is whole, wherever it breaks.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn words(&self) -> Result<String> {
        let screen = self.screen()?;
        Ok(screen.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Whether the second screen is shown, which programs that draw use.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn is_drawn_on(&self) -> Result<bool> {
        let state = self.tmux(&["display-message", "-p", "#{alternate_on}"])?;
        Ok(state.trim() == "1")
    }

    /// Waits until all of `texts` are on the screen.
    ///
    /// # Errors
    /// `bound` has passed; the text has the screen.
    pub async fn shows(&self, texts: &[&str], bound: Duration) -> Result<()> {
        wait::until("the screen", bound, async || {
            let words = self.words()?;
            for text in texts {
                ensure!(words.contains(text), "no {text:?} on it");
            }
            Ok(())
        })
        .await
        .with_context(|| self.screen().unwrap_or_default())
    }

    /// Sends a signal to the command.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"])?;
        let shell = shell.trim();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"))
            .context("read the shell's children")?;
        let command = children.split_whitespace().next();
        let command = command.and_then(|id| Pid::from_raw(id.parse().ok()?));
        kill_process(command.context("the command has ended")?, signal).context("send a signal")
    }

    /// Keeps the screen in a file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, file: &Path) -> Result<()> {
        let folder = file.parent().context("a file is in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        fs::write(file, self.screen()?).with_context(|| format!("write {}", file.display()))
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String> {
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new("tmux")
            .args(["-L", &self.server])
            .args(arguments)
            .output()
            .context("start tmux")?;
        let said = String::from_utf8_lossy(&stderr);
        ensure!(status.success(), "tmux {arguments:?}: {said}");
        String::from_utf8(stdout).context("a screen is text")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.tmux(&["kill-server"]);
    }
}
