//! The sampler: reads the counts of every target at a beat, and at once when somebody waits for it,
//! from the first to the drop.
//!
//! It is a thread of its own, because each read is a system call that blocks, and because ten times
//! a second and more are many: a task that blocks makes its runtime hand everything else to another
//! thread and take it back, which costs several times what the sample does. What a sample costs is
//! mostly to wake up for it, so there are fewer while nothing changes.

use std::{
    io,
    ops::RangeInclusive,
    sync::{
        Arc, Weak,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

use super::{kernel::Kernel, target::Target};

/// Least and most between two samples of counts that change.
const BEAT: RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_millis(100);
/// So many beats pass between two samples of counts that do not change.
const QUIET: u32 = 3;
/// Between two samples where no program counts: each dumps the sockets.
const DUMP: Duration = Duration::from_millis(250);

/// A way to ask for a sample now, for as long as the sampler is there.
pub(super) type Bell = Weak<SyncSender<()>>;

/// The thread that samples; it ends when this is dropped.
pub(super) struct Sampler {
    _bell: Arc<SyncSender<()>>,
    /// Its other end is the thread's.
    ended: oneshot::Receiver<()>,
}

impl Sampler {
    /// Samples these targets from now on.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub(super) fn start(targets: Vec<Arc<Target>>, kernel: Arc<Kernel>) -> io::Result<Self> {
        // One wish that was not met yet is as good as many.
        let (bell, rung) = mpsc::sync_channel(1);
        let bell = Arc::new(bell);
        for target in &targets {
            target.sampled_by(Arc::downgrade(&bell));
        }
        let (sender, ended) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("sampler".to_owned())
            .spawn(move || {
                // Dropped however the thread ends.
                let _sender = sender;
                sample(&targets, &kernel, &rung);
            })?;
        Ok(Self { _bell: bell, ended })
    }

    /// Waits until the thread has ended, which it does not by itself.
    pub(super) async fn ended(mut self) {
        // Nothing is ever sent.
        let _ = (&mut self.ended).await;
    }
}

fn sample(targets: &[Arc<Target>], kernel: &Kernel, rung: &Receiver<()>) {
    let beat = beat(targets);
    loop {
        let changed = targets.iter().filter(|target| target.sample()).count();
        kernel.flush_log();
        let pause = match kernel.probe() {
            None => DUMP,
            Some(_) if changed > 0 => beat,
            Some(_) => beat * QUIET,
        };
        if rung.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// Between two samples of counts that change: a tenth of the shortest `settle`. A check's window
/// begins at a sample, so this is by how much it is longer than it need be, and its interval wider.
/// Counts that do not change are the same at every moment between two samples.
fn beat(targets: &[Arc<Target>]) -> Duration {
    let settles = targets.iter().map(|target| target.config.settle);
    let tenth = settles.min().unwrap_or_default() / 10;
    tenth.clamp(*BEAT.start(), *BEAT.end())
}
