//! Processes that outlive the tests that started them: found, named and ended.
//!
//! Whoever adopts is the parent of all orphans below it, whatever group or session they have gone to.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, getpid, kill_process, set_child_subreaper};

use crate::step::pause;

/// For what is ending already.
const GRACE: Duration = Duration::from_secs(5);

/// Orphans of this process' children are its own children from now on.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn adopt() -> Result<()> {
    set_child_subreaper(Some(getpid())).context("become the parent of orphans")
}

/// Ends the orphans; this process is to have no other children now.
///
/// # Errors
/// There are some: the text names them.
pub(crate) fn end_them() -> Result<()> {
    let started = Instant::now();
    let mut left = children()?;
    while !left.is_empty() && started.elapsed() < GRACE {
        pause(Duration::from_millis(20));
        left = children()?;
    }
    let mut names = Vec::new();
    for id in left {
        let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        names.push(format!("{id} {}", command.trim()));
        // It may have ended just now.
        let _ = Pid::from_raw(id).map(|id| kill_process(id, Signal::KILL));
    }
    ensure!(
        names.is_empty(),
        "processes have outlived the tests that started them:\n{}",
        names.join("\n")
    );
    Ok(())
}

/// The children of this process that have not ended.
fn children() -> Result<Vec<i32>> {
    let mut children = Vec::new();
    for task in fs::read_dir("/proc/self/task").context("list the threads")? {
        let file = task.context("list the threads")?.path().join("children");
        let ids = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        children.extend(
            ids.split_whitespace()
                .filter_map(|id| id.parse::<i32>().ok()),
        );
    }
    children.retain(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // proc_pid_stat(5): the state follows the name, which is in brackets. Z: a zombie.
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| !rest.starts_with('Z'))
    });
    Ok(children)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_that_outlives_its_parent_is_named_and_ended() {
        adopt().expect("adopt");
        end_them().expect("there is none yet");
        // In a session of its own, as a server's workers may be.
        let script = "setsid sleep 61 & exit 0";
        let status = Command::new("sh").args(["-c", script]).status();
        assert!(status.expect("run sh").success());
        let error = end_them().expect_err("there is one").to_string();
        assert!(error.contains("sleep 61"), "{error}");
        end_them().expect("it was ended");
    }
}
