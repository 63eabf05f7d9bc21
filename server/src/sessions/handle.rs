//! How others reach an open session: what they leave for it, and the reason for which it is to end.
//!
//! Deliberately knows no other session and touches no socket.

use std::{
    mem,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use exporter::channel::Sender;
use tokio::sync::Notify;
use uuid::Uuid;

use super::ending::Ending;
use crate::message::Message;

/// What became of an ack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settled {
    /// The message.
    pub(crate) id: Uuid,
    /// Whether the message is gone from the database; if not, it is to be sent again.
    pub(crate) is_durable: bool,
}

/// How others reach a session.
pub(crate) struct Handle {
    /// Unlike that of any other session of this process.
    pub(crate) id: u64,
    /// Messages on their way to the client.
    pub(super) outbound: Sender<Arc<Message>>,
    /// Whether messages in the database did not pass through the queue: the session reads them.
    pub(super) is_behind: AtomicBool,
    /// Acks that the database took or did not take, not yet seen by the session.
    pub(super) settled: Mutex<Vec<Settled>>,
    pub(super) ending: OnceLock<Ending>,
    /// Wakes the session to look at what changed here.
    pub(crate) wake: Notify,
}

impl Handle {
    /// Queues a message for the client, or leaves it to the session to read it from the database.
    pub(super) fn deliver(&self, message: &Arc<Message>) {
        let is_queued = !self.is_behind.load(Ordering::SeqCst)
            && self.outbound.send(Arc::clone(message)).is_ok();
        if !is_queued {
            self.fall_behind();
        }
    }

    /// Makes the session read the database.
    pub(crate) fn fall_behind(&self) {
        self.is_behind.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// Whether the session has the database to read; from here on messages are queued again.
    pub(crate) fn catch_up(&self) -> bool {
        self.is_behind.swap(false, Ordering::SeqCst)
    }

    /// What became of acks since the last call.
    pub(crate) fn take_settled(&self) -> Vec<Settled> {
        mem::take(&mut *self.settled.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn settle(&self, settled: Settled) {
        self.settled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(settled);
        self.wake.notify_one();
    }

    /// Asks the session to end; the first reason stands, and this says whether it is this one.
    pub(crate) fn end(&self, ending: Ending) -> bool {
        let is_first = self.ending.set(ending).is_ok();
        self.wake.notify_one();
        is_first
    }

    /// Why the session was asked to end, if it was.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending.get().copied()
    }
}
