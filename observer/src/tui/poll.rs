//! Asks the source at a beat, and keeps the trend of every target.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::source::{Source, SourceError};
use super::trend::Trend;
use crate::api::{SocketList, TargetReport};
use crate::chain::Chain;
use crate::sockets::Query;

/// Between two answers that are asked for.
const BEAT: Duration = Duration::from_secs(1);

/// What was seen at one moment.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// The targets, as configured.
    pub(super) targets: Vec<Row>,
    /// The sockets of the target that they were wanted of.
    pub(super) sockets: Option<(String, SocketList)>,
}

/// One target.
#[derive(Debug)]
pub(super) struct Row {
    /// What is said of it.
    pub(super) report: TargetReport,
    /// Its last checks.
    pub(super) trend: Trend,
}

/// A snapshot, or why there is none.
pub(super) type Update = Result<Snapshot, String>;

/// What is asked for beside the targets: the sockets of one of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Want {
    /// Of which target, and in which order.
    pub(super) sockets: Option<(String, Query)>,
}

/// Sends updates until nobody wants them: at every beat, and at once where something else is wanted.
pub(super) async fn poll(
    mut source: Source,
    mut wanted: watch::Receiver<Want>,
    updates: mpsc::Sender<Update>,
) {
    let mut trends = HashMap::new();
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            changed = wanted.changed() => if changed.is_err() {
                return;
            },
        }
        let want = wanted.borrow_and_update().clone();
        let update = ask(&mut source, &mut trends, want).await;
        if updates
            .send(update.map_err(|error| Chain(&error).to_string()))
            .await
            .is_err()
        {
            return;
        }
    }
}

async fn ask(
    source: &mut Source,
    trends: &mut HashMap<String, Trend>,
    want: Want,
) -> Result<Snapshot, SourceError> {
    let reports = source.targets().await?;
    trends.retain(|name, _| reports.iter().any(|report| report.name == *name));
    let mut targets = Vec::new();
    for report in reports {
        let trend = match trends.get_mut(&report.name) {
            Some(trend) => trend,
            // The whole history once; from then on each report has the last check.
            None => {
                let history = source.history(&report.name).await?;
                let trend = trends.entry(report.name.clone()).or_default();
                trend.extend(&history);
                trend
            }
        };
        trend.note(&report);
        let trend = trend.clone();
        targets.push(Row { report, trend });
    }
    let sockets = match want.sockets {
        Some((name, query)) => {
            let list = source.sockets(&name, query).await?;
            Some((name, list))
        }
        None => None,
    };
    Ok(Snapshot { targets, sockets })
}
