//! The bus of a single node: a bounded buffer in memory.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::broadcast::{self, error::RecvError};

use super::{Event, Heard, MessageBus, Subscription};
use crate::metrics_service::MetricsService;

/// Most events that a subscription may be behind.
const CAPACITY: usize = 4096;

/// A bus within the process.
pub(crate) struct Embedded {
    events: broadcast::Sender<Event>,
    metrics: Arc<MetricsService>,
}

impl Embedded {
    /// A bus without subscriptions.
    pub(crate) fn new(metrics: Arc<MetricsService>) -> Self {
        let (events, _) = broadcast::channel(CAPACITY);
        Self { events, metrics }
    }
}

impl MessageBus for Embedded {
    fn publish(&self, event: Event) -> BoxFuture<'_, ()> {
        self.metrics.count_event_published();
        // Without a subscription there is no session that could miss it.
        let _ = self.events.send(event);
        Box::pin(std::future::ready(()))
    }

    fn subscribe(&self) -> Box<dyn Subscription> {
        Box::new(Events(self.events.subscribe()))
    }
}

struct Events(broadcast::Receiver<Event>);

impl Subscription for Events {
    fn next(&mut self) -> BoxFuture<'_, Option<Heard>> {
        Box::pin(async {
            match self.0.recv().await {
                Ok(event) => Some(Heard::Event(event)),
                Err(RecvError::Lagged(events)) => Some(Heard::Missed(events)),
                Err(RecvError::Closed) => None,
            }
        })
    }
}
