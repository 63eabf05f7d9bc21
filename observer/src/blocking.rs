//! Work that blocks its thread, on a bounded number of threads.
//!
//! Threads are few where the observer runs as a unit or in a container. Work that is stuck keeps its
//! place: however often it is tried again, it takes no more threads than there are places. It knows
//! nothing of the work.

use std::panic::resume_unwind;

use tokio::{sync::Semaphore, task::spawn_blocking};

/// Threads of the runtime for work that blocks, over all kinds of it.
pub const MAX_THREADS: usize = 32;

/// How much work of one kind may be done at once.
pub(crate) struct Places(Semaphore);

impl Places {
    /// Places for `most` of it.
    pub(crate) const fn new(most: usize) -> Self {
        Self(Semaphore::const_new(most))
    }

    /// Does `work` on another thread as soon as there is a place. It is done to its end, also where
    /// nobody waits for it any longer.
    pub(crate) async fn run<T: Send + 'static>(
        &'static self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let place = self.0.acquire().await;
        let done = spawn_blocking(move || {
            let _place = place;
            work()
        });
        match done.await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime is being shut down, and whoever waits with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Barrier, mpsc},
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn work_that_is_stuck_keeps_its_place_when_nobody_waits_for_it() {
        static PLACES: Places = Places::new(2);
        let barrier = Arc::new(Barrier::new(3));
        let (started, starts) = mpsc::sync_channel(8);
        for _ in 0..8 {
            let (barrier, started) = (Arc::clone(&barrier), started.clone());
            let stuck = PLACES.run(move || {
                let _ = started.send(());
                barrier.wait();
            });
            let given_up = tokio::time::timeout(Duration::from_millis(50), stuck).await;
            assert!(given_up.is_err(), "it is stuck");
        }
        assert_eq!(starts.try_iter().count(), 2);
        barrier.wait();
        assert_eq!(PLACES.run(|| 7).await, 7);
    }

    #[tokio::test]
    async fn a_panic_is_that_of_whoever_waits() {
        static PLACES: Places = Places::new(1);
        let waits = tokio::spawn(PLACES.run(|| assert_eq!(1, 2, "a fault")));
        let error = waits.await.expect_err("it panicked");
        assert!(error.is_panic());
        assert_eq!(PLACES.run(|| 7).await, 7);
    }
}
