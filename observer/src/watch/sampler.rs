//! The sampler: reads the counts of every target at a beat, from the first to the drop.
//!
//! It is a thread of its own, because each read is a system call that blocks, and because twenty
//! times a second are many: a task that blocks makes its runtime hand everything else to another
//! thread and take it back, which costs several times what the sample does.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use super::{kernel::Kernel, target::Target};

/// Between two samples of the counts: each reads a few map values.
const SAMPLE: Duration = Duration::from_millis(50);
/// Between two samples where no program counts: each dumps the sockets.
const DUMP: Duration = Duration::from_millis(250);

/// The thread that samples; it ends when this is dropped.
pub(super) struct Sampler {
    _running: mpsc::SyncSender<()>,
}

impl Sampler {
    /// Samples these targets from now on.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub(super) fn start(targets: Vec<Arc<Target>>, kernel: Arc<Kernel>) -> io::Result<Self> {
        let period = match kernel.probe() {
            Some(_) => SAMPLE,
            None => DUMP,
        };
        let (running, is_running) = mpsc::sync_channel(0);
        thread::Builder::new()
            .name("sampler".to_owned())
            .spawn(move || {
                loop {
                    for target in &targets {
                        target.sample();
                    }
                    kernel.flush_log();
                    // Nothing is ever sent: the wait ends early when the sender is gone.
                    if is_running.recv_timeout(period) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            })?;
        Ok(Self { _running: running })
    }
}
