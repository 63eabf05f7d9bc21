//! The process between the observer and a command: it starts the command, and ends with everything
//! that the command has started.
//!
//! It is the observer's own program under another name. It has the command's user and no rights, is the
//! parent of whatever the command leaves behind, and lives no longer than the pipe that it is told by:
//! the kernel closes that when the observer ends, however it does.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, ExitStatus, Stdio, exit};
use std::{fs, thread};

use rustix::process::{
    Pid, Signal, WaitOptions, kill_process, kill_process_group, set_child_subreaper, wait,
};

use crate::privileges;

/// Its name, by which the program knows that it is this.
pub(super) const NAME: &str = "observer-command";

/// How it ends where the command cannot be started, as shells do.
const NOT_STARTED: u8 = 127;

/// Most rounds in which children are ended: those that start others faster than that are not waited for.
const ROUNDS: usize = 10_000;

/// Runs a command to its end, if this process was started to do so.
#[must_use]
pub fn guard_if_asked(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let is_asked = arguments.next().is_some_and(|name| name == NAME);
    is_asked.then(|| match guard(arguments) {
        Ok(status) => ExitCode::from(code(status)),
        Err(error) => {
            // Where nobody reads it, nobody is to be told.
            let _ = writeln!(io::stderr(), "cannot be started: {error}");
            ExitCode::from(NOT_STARTED)
        }
    })
}

fn guard(mut words: impl Iterator<Item = OsString>) -> io::Result<ExitStatus> {
    privileges::drop_all().map_err(io::Error::other)?;
    set_child_subreaper(Some(rustix::process::getpid()))?;
    let program = words.next().ok_or(io::ErrorKind::InvalidInput)?;
    let mut child = Command::new(program)
        .args(words)
        .env_clear()
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()?;
    let group = Pid::from_child(&child);
    thread::Builder::new().spawn(move || {
        // Nothing is ever written: it ends when the observer has enough of it, or is gone.
        let _ = io::stdin().read(&mut [0]);
        end_all(group);
        exit(i32::from(NOT_STARTED));
    })?;
    let status = child.wait();
    end_all(group);
    status
}

/// Ends the command's process group, and then whoever has left that and is a child of this process since
/// its parent has ended.
fn end_all(group: Pid) {
    // It may have ended.
    let _ = kill_process_group(group, Signal::KILL);
    for _ in 0..ROUNDS {
        for child in children() {
            let _ = kill_process(child, Signal::KILL);
        }
        // Blocks until one of them has ended, and is an error where there is none.
        if wait(WaitOptions::empty()).is_err() {
            return;
        }
    }
}

/// The children of this process.
fn children() -> Vec<Pid> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let lists = threads.flatten().filter_map(|thread| {
        let list = fs::read_to_string(thread.path().join("children"));
        list.ok()
    });
    let text: String = lists.collect();
    let ids = text.split_whitespace().filter_map(|id| id.parse().ok());
    ids.filter_map(Pid::from_raw).collect()
}

/// What a shell would say of this end.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}
