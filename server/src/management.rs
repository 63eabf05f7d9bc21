//! What operators are shown on the management port: metrics, health and the list of sessions.
//!
//! Ready means that new work is welcome. Without S3 messages still flow, so S3 is listed but does not
//! decide. Deliberately nothing of it is on the public port.

use std::sync::{Arc, OnceLock};

use axum::Router;
use exporter::management::{Check, Management};

use crate::{metrics_service::MetricsService, relay::Relay};

/// The relay that is shown, once it is there.
pub(crate) type Shown = Arc<OnceLock<Arc<Relay>>>;

/// The management port's service.
pub(crate) fn router(metrics: &MetricsService, shown: &Shown) -> Router {
    let (listed, checked) = (Arc::clone(shown), Arc::clone(shown));
    Management::new(metrics.registry())
        .connections(move || Some(listed.get()?.hub.lines()))
        .ready(move || checked.get().map(|relay| checks(relay)))
        .router()
}

fn checks(relay: &Relay) -> Vec<Check> {
    let check = |name, is_good| Check {
        name,
        is_good,
        decides: name != "s3",
    };
    vec![
        check("serving", relay.is_welcoming()),
        check("database", relay.store.check().is_ok()),
        check("s3", relay.attachments.is_available()),
        check("tasks", relay.wholeness.is_whole()),
    ]
}
