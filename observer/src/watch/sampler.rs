//! The sampler: reads the counts of every target at a beat, and at once when somebody waits for it,
//! from the first to the drop.
//!
//! It is a thread of its own, because each read is a system call that blocks, and because ten times
//! a second and more are many: a task that blocks makes its runtime hand everything else to another
//! thread and take it back, which costs several times what the sample does. What a sample costs is
//! mostly to wake up for it, so there are fewer while nothing changes. Around a claim there are close
//! looks besides, which `close_look` plans: each is one system call.

use std::{
    io,
    ops::RangeInclusive,
    sync::{
        Arc, Weak,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{close_look::CloseLook, current::Current, kernel::Kernel, target::Target};

/// Least and most between two samples of counts that change.
const BEAT: RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_millis(100);
/// So many beats pass between two samples of counts that do not change.
const QUIET: u32 = 3;
/// Least between two samples of a target where no program counts: each dumps the sockets.
const DUMP: Duration = Duration::from_millis(250);

/// Most wishes that wait. One that finds no room is not met: the samples at the beat are for all.
const WISHES: usize = 256;

/// What is wanted of the sampler.
enum Wish {
    /// A sample of all targets, now.
    Sample,
    /// Close looks at one of them.
    Look {
        target: Weak<Target>,
        look: CloseLook,
    },
}

/// A way to ask for samples, for as long as the sampler is there.
#[derive(Clone)]
pub(super) struct Bell(Weak<SyncSender<Wish>>);

impl Bell {
    /// Asks for a sample that is yet to begin.
    pub(super) fn ring(&self) {
        self.wish(Wish::Sample);
    }

    /// Asks for close looks at a target.
    pub(super) fn look(&self, target: &Arc<Target>, look: CloseLook) {
        let target = Arc::downgrade(target);
        self.wish(Wish::Look { target, look });
    }

    fn wish(&self, wish: Wish) {
        if let Some(wishes) = self.0.upgrade() {
            let _ = wishes.try_send(wish);
        }
    }
}

/// The thread that samples; it ends when this is dropped.
pub(super) struct Sampler {
    wishes: Arc<SyncSender<Wish>>,
    /// Its other end is the thread's.
    ended: oneshot::Receiver<()>,
}

impl Sampler {
    /// Samples the targets that are watched, from now on.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub(super) fn start(current: Arc<Current>, kernel: Arc<Kernel>) -> io::Result<Self> {
        let (wishes, wished) = mpsc::sync_channel(WISHES);
        let wishes = Arc::new(wishes);
        let (sender, ended) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("sampler".to_owned())
            .spawn(move || {
                // Dropped however the thread ends.
                let _sender = sender;
                sample(&current, &kernel, &wished);
            })?;
        Ok(Self { wishes, ended })
    }

    /// A way to ask it for samples.
    pub(super) fn bell(&self) -> Bell {
        Bell(Arc::downgrade(&self.wishes))
    }

    /// Waits until the thread has ended, which it does not by itself.
    pub(super) async fn ended(mut self) {
        // Nothing is ever sent.
        let _ = (&mut self.ended).await;
    }
}

fn sample(current: &Current, kernel: &Kernel, wished: &Receiver<Wish>) {
    let mut looks: Vec<Looking> = Vec::new();
    let mut due = Instant::now();
    // When a sample is due of those targets for which sockets are dumped.
    let mut dump_due = due;
    loop {
        let now = Instant::now();
        if due <= now {
            let is_dump_due = dump_due <= now;
            if is_dump_due {
                dump_due = now + DUMP;
            }
            let targets = &current.get().targets;
            let has_programs = |target: &&Arc<Target>| target.endpoints.has_programs();
            let of_now = targets
                .iter()
                .filter(|target| is_dump_due || has_programs(target));
            let changed = of_now.filter(|target| target.sample()).count();
            kernel.flush_log();
            let pause = match targets.iter().any(|target| has_programs(&target)) {
                false => DUMP,
                true if changed > 0 => beat(targets),
                true => beat(targets) * QUIET,
            };
            due = Instant::now() + pause;
        }
        looks.retain_mut(Looking::go_on);
        let next = looks
            .iter()
            .map(|looking| looking.next)
            .fold(due, Instant::min);
        let wish = match wished.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(wish) => Some(wish),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        // One sample is for all who want one by now.
        for wish in wish.into_iter().chain(wished.try_iter()) {
            match wish {
                Wish::Sample => {
                    due = Instant::now();
                    dump_due = due;
                }
                Wish::Look { target, look } => {
                    let next = look.next(Instant::now());
                    looks.extend(next.map(|next| Looking { target, look, next }));
                }
            }
        }
    }
}

/// A close look that is not over.
struct Looking {
    target: Weak<Target>,
    look: CloseLook,
    next: Instant,
}

impl Looking {
    /// Looks, if it is time to. Returns whether there is more to come.
    fn go_on(&mut self) -> bool {
        let now = Instant::now();
        if self.next > now {
            return true;
        }
        let Some(target) = self.target.upgrade() else {
            return false;
        };
        target.glance();
        let next = self.look.after(now);
        self.next = next.unwrap_or(now);
        next.is_some()
    }
}

/// Between two samples of counts that change: a tenth of the shortest `settle`, which may be yet to
/// be learnt. A check's window
/// begins at a sample, so this is by how much it is longer than it need be, and its interval wider.
/// Counts that do not change are the same at every moment between two samples.
fn beat(targets: &[Arc<Target>]) -> Duration {
    let settles = targets
        .iter()
        .map(|target| match target.config.learns_settle {
            true => Duration::ZERO,
            false => target.config.settle,
        });
    let tenth = settles.min().unwrap_or_default() / 10;
    tenth.clamp(*BEAT.start(), *BEAT.end())
}
