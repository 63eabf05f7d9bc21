//! What runs beside the sessions: messages from the bus to them, acks from them to the database.

use std::sync::Arc;

use crate::{
    bus::{Event, Heard, Subscription},
    channel::Receiver,
    gateway::hub::Hub,
    metrics_service::MetricsService,
    store::{Ack, Store},
};

/// Most acks that are made durable at once.
const BATCH: usize = 256;

/// Hands what the bus tells to the sessions, until the bus is gone.
pub(crate) async fn deliver(
    mut events: Box<dyn Subscription>,
    hub: Arc<Hub>,
    metrics: Arc<MetricsService>,
) {
    while let Some(heard) = events.next().await {
        match heard {
            Heard::Event(Event::Stored(message)) => hub.deliver(&message),
            Heard::Missed(events) => {
                metrics.count_events_missed(events);
                hub.fall_behind();
            }
        }
    }
}

/// Makes acks durable, many at once, until their queue is closed and empty.
pub(crate) async fn write_acks(mut acks: Receiver<Ack>, store: &Store, hub: &Hub) {
    while let Some(first) = acks.receive().await {
        let mut batch = vec![first];
        batch.extend(acks.take(BATCH - 1));
        match store.delete_acked(&batch).await {
            Ok(()) => batch.iter().for_each(|ack| hub.settle(ack, true)),
            Err(error) => {
                tracing::warn!(%error, acks = batch.len(), "acks lost, their messages are sent again");
                batch.iter().for_each(|ack| hub.settle(ack, false));
            }
        }
    }
}
