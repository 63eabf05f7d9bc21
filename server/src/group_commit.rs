//! Group commit: what waited for the database while the last commit ran is made durable by the next
//! one, together.
//!
//! Two writers, one of messages and one of acks. Neither waits for more to come: alone, an item is
//! committed at once. What is queued here outlives whoever queued it, so a client that leaves neither
//! takes its message with it nor leaves one that is stored and of which no session hears.

use std::sync::Arc;

use exporter::channel::Receiver;
use tokio::sync::oneshot;

use crate::{
    bus::{Event, MessageBus},
    sessions::Hub,
    store::{Ack, NewMessage, NotStored, Room, Store},
};

/// Most items that are made durable at once.
const GROUP: usize = 256;

/// A message that waits to be stored, and who waits for it.
pub(crate) struct Posted {
    message: NewMessage,
    answer: oneshot::Sender<Result<(), NotStored>>,
}

impl Posted {
    /// A message to be stored, and what tells that it is durable.
    pub(crate) fn new(message: NewMessage) -> (Self, oneshot::Receiver<Result<(), NotStored>>) {
        let (answer, answered) = oneshot::channel();
        (Self { message, answer }, answered)
    }
}

/// Stores messages and tells the bus of each, until their queue is closed and empty.
pub(crate) async fn write_messages(
    mut queue: Receiver<Posted>,
    store: &Store,
    bus: &dyn MessageBus,
    room: Room,
) {
    while let Some(group) = next_group(&mut queue).await {
        let (messages, answers): (Vec<_>, Vec<_>) = group
            .into_iter()
            .map(|Posted { message, answer }| (message, answer))
            .unzip();
        let stored = store.store_messages(messages, room).await;
        for (stored, answer) in stored.into_iter().zip(answers) {
            let stored = match stored {
                Ok(message) => {
                    bus.publish(Event::Stored(Arc::new(message))).await;
                    Ok(())
                }
                Err(not_stored) => Err(not_stored),
            };
            // Whoever asked may have left.
            let _ = answer.send(stored);
        }
    }
}

/// Deletes what was acked and tells the sessions, until the acks' queue is closed and empty.
pub(crate) async fn write_acks(mut queue: Receiver<Ack>, store: &Store, hub: &Hub) {
    while let Some(acks) = next_group(&mut queue).await {
        let deleted = store.delete_acked(&acks).await;
        if let Err(error) = &deleted {
            tracing::warn!(%error, acks = acks.len(), "acks lost, their messages are sent again");
        }
        acks.iter().for_each(|ack| hub.settle(ack, deleted.is_ok()));
    }
}

/// Whatever waits, once something does; `None` at the end.
async fn next_group<T>(queue: &mut Receiver<T>) -> Option<Vec<T>> {
    let mut group = vec![queue.receive().await?];
    group.extend(queue.take(GROUP - 1));
    Some(group)
}
