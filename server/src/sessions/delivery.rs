//! What runs beside the sessions: messages from the bus to them.

use std::sync::Arc;

use super::hub::Hub;
use crate::{
    bus::{Event, Heard, Subscription},
    metrics_service::MetricsService,
};

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
