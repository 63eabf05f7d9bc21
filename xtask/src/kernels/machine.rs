//! A virtual machine: QEMU, its second serial line, and its certain end.
//!
//! It knows how a kernel and an initramfs are booted, not what runs there.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::workspace::find_command;

/// Its program: Debian has one for each architecture.
pub(crate) const QEMU: &str = "qemu-system-x86_64";

/// Debian's own kernels are for the host's architecture: without KVM, but not another's.
const MACHINE: &[&str] = &[
    // On one thread: with a thread for each CPU, guests were seen to panic with "Oops: int3" while a
    // program was attached. The kernel patches its code by way of int3 then; the cause is not proven.
    "-accel",
    "tcg,thread=single",
    "-cpu",
    "max",
    "-smp",
    "2",
    "-m",
    "3G",
    "-nic",
    "none",
    "-display",
    "none",
    "-monitor",
    "none",
    "-no-reboot",
    // With a host that is busy, the kernel finds that its timer does not tick, and panics.
    "-append",
    "console=ttyS0 quiet panic=-1 no_timer_check",
];

/// A machine that runs. Dropping it ends it.
pub(crate) struct Machine {
    qemu: Child,
    lines: Receiver<String>,
}

/// What there is to read from the machine.
pub(crate) enum Heard {
    /// A line.
    Line(String),
    /// Nothing, for as long as was waited.
    Nothing,
    /// The machine is off.
    Off,
}

impl Machine {
    /// Boots `kernel`; what it says on its console goes to the file `console`.
    pub(crate) fn boot(kernel: &Path, initramfs: &Path, console: &Path) -> Result<Self> {
        // The kernel ends QEMU with the thread that starts it, even where this task is killed.
        let mut qemu = Command::new(find_command("setpriv").context("find setpriv")?)
            .args(["--pdeathsig", "KILL", QEMU])
            .args(MACHINE)
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initramfs)
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(["-serial", "stdio"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(console.with_extension("qemu")).context("create QEMU's log")?)
            .spawn()
            .context("start QEMU")?;
        let stdout = qemu.stdout.take().context("its stdout is a pipe")?;
        let (sender, lines) = mpsc::sync_channel(64);
        // It ends with the pipe, and the pipe with QEMU.
        thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n') {
                let Ok(line) = line else { return };
                let line = String::from_utf8_lossy(&line).into_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { qemu, lines })
    }

    /// Waits for a line of the second serial port.
    pub(crate) fn hear(&self, bound: Duration) -> Heard {
        match self.lines.recv_timeout(bound) {
            Ok(line) => Heard::Line(line),
            Err(RecvTimeoutError::Timeout) => Heard::Nothing,
            Err(RecvTimeoutError::Disconnected) => Heard::Off,
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only where it has ended by itself.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
