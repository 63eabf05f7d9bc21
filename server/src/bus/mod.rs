//! The message bus: tells every gateway what was stored, whichever node stored it.
//!
//! Knows events. Deliberately is not what makes a message arrive: the database is. A bus may miss
//! events as long as it says so.

mod embedded;

use std::sync::Arc;

pub(crate) use embedded::Embedded;
use futures_util::future::BoxFuture;

use crate::message::Message;

/// Something that every gateway should hear of.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A message is in the database.
    Stored(Arc<Message>),
}

/// A way to publish events to all gateways.
pub(crate) trait MessageBus: Send + Sync {
    /// Hands an event to the bus.
    fn publish(&self, event: Event) -> BoxFuture<'_, ()>;

    /// Every event from now on.
    fn subscribe(&self) -> Box<dyn Subscription>;
}

/// The events of a bus, in the order of their arrival.
pub(crate) trait Subscription: Send {
    /// The next event or what is known of missed ones; `None` once the bus is gone.
    fn next(&mut self) -> BoxFuture<'_, Option<Heard>>;
}

/// What a subscription yields.
#[derive(Debug)]
pub(crate) enum Heard {
    /// An event.
    Event(Event),
    /// So many events came faster than they were taken.
    Missed(u64),
}
