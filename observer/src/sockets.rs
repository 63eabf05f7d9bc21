//! The list of a target's open sockets: what both witnesses know of each, sorted and limited.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use clap::ValueEnum;
use observer_ebpf::{Class, Socket, TCP_ESTABLISHED};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;

use crate::{
    api::{SocketList, SocketReport},
    sock_diag::{Entry, Holder, state_name},
    watch::endpoint::{Endpoint, WitnessError},
};

/// Most sockets in one list.
pub const MOST: usize = 10_000;

/// Which sockets are listed, and in which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Query {
    /// List only this class
    #[arg(long, value_enum)]
    pub class: Option<ClassName>,
    /// List the greatest first
    #[arg(long, value_enum)]
    pub sort: Option<Sort>,
    /// List at most this many, up to 10000 [default: 100]
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// A class, as the metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassName {
    /// ESTABLISHED and upgraded.
    Websocket,
    /// ESTABLISHED, with HTTP responses only.
    Http,
    /// ESTABLISHED, and nothing more is known.
    Unclassified,
    /// No longer ESTABLISHED.
    Closing,
}

/// What sockets are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sort {
    /// Time since it was opened; those of unknown age first, since they are older than the observer.
    #[default]
    Age,
    /// Time since anything came from the peer.
    Silence,
    /// Bytes received and acknowledged.
    Bytes,
}

impl ClassName {
    /// The class of a socket, by what both witnesses know of it.
    #[must_use]
    pub fn of(entry: &Entry, tracked: Option<&Socket>) -> Self {
        match tracked {
            _ if entry.state != TCP_ESTABLISHED => Self::Closing,
            Some(socket) if socket.class == Class::WebSocket as u8 => Self::Websocket,
            Some(socket) if socket.class == Class::Http as u8 => Self::Http,
            _ => Self::Unclassified,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Websocket => "websocket",
            Self::Http => "http",
            Self::Unclassified => "unclassified",
            Self::Closing => "closing",
        }
    }
}

/// Seconds as people read them; `-` where they are unknown.
#[must_use]
pub fn readable(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 120.0 => format!("{seconds:.1}s"),
        Some(seconds) if seconds < 7_200.0 => format!("{:.1}m", seconds / 60.0),
        Some(seconds) => format!("{:.1}h", seconds / 3_600.0),
    }
}

/// Lists the open sockets of these endpoints. However many there are, it keeps no more of them than it
/// lists.
///
/// # Errors
/// When a witness fails.
pub fn list<'a>(
    endpoints: impl IntoIterator<Item = &'a Endpoint>,
    query: Query,
) -> Result<SocketList, WitnessError> {
    let now = clock_gettime(ClockId::Monotonic);
    let now = Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32);
    let sort = query.sort.unwrap_or_default();
    let mut greatest = Greatest::new(query.limit.unwrap_or(100).min(MOST));
    let mut are_matching = Vec::new();
    for endpoint in endpoints {
        are_matching.append(&mut endpoint.details(
            |_| true,
            |entry, tracked| {
                let class = ClassName::of(entry, tracked);
                let is_matching = query.class.is_none_or(|wanted| wanted == class);
                if is_matching {
                    let rank = (sort.rank(entry, tracked, now), Reverse(entry.cookie));
                    greatest.offer(rank, || (*entry, tracked.copied()));
                }
                is_matching
            },
        )?);
    }
    let sockets = greatest.into_list().into_iter();
    Ok(SocketList {
        total: are_matching.len(),
        matching: are_matching.into_iter().filter(|&matches| matches).count(),
        sockets: sockets
            .map(|(entry, tracked)| report(&entry, tracked.as_ref(), now))
            .collect(),
    })
}

impl Sort {
    /// The greatest are listed first.
    fn rank(self, entry: &Entry, tracked: Option<&Socket>, now: Duration) -> u128 {
        let info = entry.info;
        match self {
            Self::Age => tracked
                .filter(|socket| socket.opened_at != 0)
                .map(|socket| now.saturating_sub(Duration::from_nanos(socket.opened_at)))
                .map_or(u128::MAX, |age| age.as_nanos()),
            Self::Silence => info.map_or(0, |info| info.silence().as_nanos()),
            Self::Bytes => info.map_or(0, |info| {
                u128::from(info.bytes_received) + u128::from(info.bytes_acked)
            }),
        }
    }
}

/// The greatest of many, of which no more are kept than are wanted.
struct Greatest<R, T> {
    most: usize,
    kept: BTreeMap<R, T>,
}

impl<R: Ord, T> Greatest<R, T> {
    fn new(most: usize) -> Self {
        Self {
            most,
            kept: BTreeMap::new(),
        }
    }

    /// Takes in another one, unless there are enough that are greater.
    fn offer(&mut self, rank: R, value: impl FnOnce() -> T) {
        let is_full = self.kept.len() >= self.most;
        let is_less = |(least, _): (&R, &T)| rank < *least;
        if is_full && self.kept.first_key_value().is_none_or(is_less) {
            return;
        }
        self.kept.insert(rank, value());
        if self.kept.len() > self.most {
            self.kept.pop_first();
        }
    }

    /// The greatest first.
    fn into_list(self) -> Vec<T> {
        self.kept.into_values().rev().collect()
    }
}

fn report(entry: &Entry, tracked: Option<&Socket>, now: Duration) -> SocketReport {
    let class = ClassName::of(entry, tracked);
    let since =
        |at: u64| (at != 0).then(|| (now.saturating_sub(Duration::from_nanos(at))).as_secs_f64());
    SocketReport {
        peer: entry.peer.to_string(),
        local: entry.local.to_string(),
        state: state_name(entry.state).to_owned(),
        class: class.name().to_owned(),
        is_tracked: tracked.is_some(),
        is_accepted: entry.holder() != Holder::AcceptQueue,
        age_seconds: tracked.and_then(|socket| since(socket.opened_at)),
        upgraded_seconds: tracked.and_then(|socket| since(socket.upgraded_at)),
        silence_seconds: entry.info.map(|info| info.silence().as_secs_f64()),
        rtt_seconds: entry.info.map(|info| info.rtt.as_secs_f64()),
        bytes_received: entry.info.map(|info| info.bytes_received),
        bytes_acked: entry.info.map(|info| info.bytes_acked),
        recv_queue: entry.recv_queue,
        send_queue: entry.send_queue,
        cookie: entry.cookie,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_greatest_are_those_that_sorting_puts_first(
            ranks in proptest::collection::vec(0_u8..20, 0..60),
            most in 0_usize..12,
        ) {
            let mut greatest = Greatest::new(most);
            for (place, rank) in ranks.iter().enumerate() {
                greatest.offer((*rank, Reverse(place)), || place);
                prop_assert!(greatest.kept.len() <= most);
            }
            let mut sorted: Vec<usize> = (0..ranks.len()).collect();
            sorted.sort_by_key(|&place| Reverse(ranks[place]));
            sorted.truncate(most);
            prop_assert_eq!(greatest.into_list(), sorted);
        }
    }
}
