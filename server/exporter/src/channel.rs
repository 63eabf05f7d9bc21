//! A bounded queue whose gauge is what it holds: many senders, one receiver.
//!
//! Knows its depth exactly, because each item carries its own count; what leaves in whatever way
//! stops being counted. Deliberately never waits for room: a full queue refuses, and counts that. It
//! allocates nothing while it is empty, which is why it is not tokio's: that one holds 1.4 KiB for each
//! of a hundred thousand idle sessions.
//!
//! ```
//! use exporter::{Registry, channel::{Refused, channel}};
//!
//! exporter::catalogue! {
//!     /// The queue's.
//!     pub CATALOGUE:
//!     DEPTH = gauge, "mail_queue_depth" [] "letters" "Letters that wait.";
//!     DROPPED = counter, "mail_dropped_total" [] "letters" "Letters that a full queue refused.";
//! }
//! # fn main() -> Result<(), exporter::RegistryError> {
//! let registry = Registry::new(&[CATALOGUE])?;
//! let (depth, dropped) = (registry.gauge(&DEPTH, []), registry.counter(&DROPPED, []));
//! let (sender, receiver) = channel(2, depth, dropped);
//! assert_eq!(sender.send("a"), Ok(()));
//! assert_eq!(sender.send("b"), Ok(()));
//! assert_eq!(sender.send("c"), Err(Refused::Full));
//! assert!(registry.render().contains("mail_queue_depth 2\n"));
//! drop(receiver);
//! assert!(registry.render().contains("mail_queue_depth 0\n"));
//! # Ok(())
//! # }
//! ```

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use metrics::{Counter, Gauge};
use tokio::sync::Notify;

use crate::measurement::Level;

/// Room for items that an empty queue may keep allocated.
const KEPT: usize = 16;

/// Makes a queue for at most `capacity` items: `depth` is what it holds, `dropped` what it refused for want
/// of room. Several queues may have the same gauge and counter, which are then of all of them together.
pub fn channel<T>(capacity: usize, depth: Gauge, dropped: Counter) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        items: Mutex::new(Items {
            waiting: VecDeque::new(),
            is_closed: false,
        }),
        arrived: Notify::new(),
        capacity,
        depth,
        dropped,
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

struct Shared<T> {
    items: Mutex<Items<T>>,
    arrived: Notify,
    capacity: usize,
    depth: Gauge,
    dropped: Counter,
}

struct Items<T> {
    waiting: VecDeque<(T, Level)>,
    is_closed: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Items<T>> {
        // Nothing panics while it holds the lock.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an item was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The queue is full; this was counted.
    #[error("the queue is full")]
    Full,
    /// Nobody receives any more.
    #[error("nobody receives any more")]
    Closed,
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Queue")
            .field("len", &self.lock().waiting.len())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// The end that sends. Cheap to clone.
///
/// A queue is open for as long as its receiver is there and nobody closed it: senders that are gone
/// close it not, so that a service may keep none for a while.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Sender<T> {
    /// Queues an item, if there is room.
    ///
    /// # Errors
    /// When there is none, or nobody receives any more.
    pub fn send(&self, item: T) -> Result<(), Refused> {
        let Shared {
            arrived,
            capacity,
            depth,
            dropped,
            ..
        } = &*self.0;
        let mut items = self.0.lock();
        if items.is_closed {
            return Err(Refused::Closed);
        }
        if items.waiting.len() >= *capacity {
            dropped.increment(1);
            return Err(Refused::Full);
        }
        items.waiting.push_back((item, Level::hold(depth)));
        drop(items);
        arrived.notify_one();
        Ok(())
    }

    /// Lets nothing more in; what is queued is still received.
    pub fn close(&self) {
        self.0.lock().is_closed = true;
        self.0.arrived.notify_one();
    }
}

/// The end that receives; dropped, it drops what is queued.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Shared<T>>);

impl<T> Receiver<T> {
    /// The next item, as soon as there is one; `None` once the queue is closed and empty.
    ///
    /// Cancel safe: an item is taken in the same poll that returns it.
    pub async fn receive(&mut self) -> Option<T> {
        loop {
            {
                let mut items = self.0.lock();
                if let Some((item, _level)) = items.waiting.pop_front() {
                    if items.waiting.is_empty() {
                        items.waiting.shrink_to(KEPT);
                    }
                    return Some(item);
                }
                if items.is_closed {
                    return None;
                }
            }
            self.0.arrived.notified().await;
        }
    }

    /// Whatever is queued now, at most `limit` items.
    pub fn take(&mut self, limit: usize) -> Vec<T> {
        let mut items = self.0.lock();
        let count = items.waiting.len().min(limit);
        items
            .waiting
            .drain(..count)
            .map(|(item, _level)| item)
            .collect()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut items = self.0.lock();
        items.is_closed = true;
        items.waiting = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::Registry;

    crate::catalogue! {
        /// Two.
        CATALOGUE:
        DEPTH = gauge, "depth" [] "items"
            "Items.";
        DROPPED = counter, "dropped_total" [] "items"
            "Items.";
    }

    fn queue<T>(registry: &Registry) -> (Sender<T>, Receiver<T>) {
        let dropped = registry.counter(&DROPPED, []);
        channel(3, registry.gauge(&DEPTH, []), dropped)
    }

    fn number(registry: &Registry, name: &str) -> usize {
        let text = registry.render();
        let mut lines = text.lines();
        let number = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        number.unwrap().parse().unwrap()
    }

    proptest! {
        /// Whatever is done to a queue in whatever order, its depth is what it holds.
        #[test]
        fn the_depth_is_what_is_queued(steps in vec(0_u8..4, 0..64)) {
            let registry = Registry::new(&[CATALOGUE]).unwrap();
            let (sender, receiver) = queue(&registry);
            let mut receiver = Some(receiver);
            let (mut expected, mut refused) = (0, 0);
            for step in steps {
                match (step, &mut receiver) {
                    (0 | 1, Some(_)) if expected < 3 => {
                        prop_assert_eq!(sender.send(()), Ok(()));
                        expected += 1;
                    }
                    (0 | 1, Some(_)) => {
                        prop_assert_eq!(sender.send(()), Err(Refused::Full));
                        refused += 1;
                    }
                    (0 | 1, None) => prop_assert_eq!(sender.send(()), Err(Refused::Closed)),
                    (2, Some(receiver)) => expected -= receiver.take(1).len(),
                    (3, Some(_)) if expected == 3 => {
                        receiver = None;
                        expected = 0;
                    }
                    _ => {}
                }
                prop_assert_eq!(number(&registry, "depth"), expected);
                prop_assert_eq!(number(&registry, "dropped_total"), refused);
            }
        }
    }

    #[tokio::test]
    async fn a_closed_queue_is_received_to_its_end() {
        let (sender, mut receiver) = queue(&Registry::new(&[CATALOGUE]).unwrap());
        sender.send(1).unwrap();
        sender.close();
        assert_eq!(sender.send(2), Err(Refused::Closed));
        assert_eq!(receiver.receive().await, Some(1));
        assert_eq!(receiver.receive().await, None);
    }
}
