//! `GET /api/v1/stream`: what `/api/v1/targets` says, whenever that has changed, as server-sent
//! events.
//!
//! There is one text at a time and all readers share it: whoever reads slowly misses what has been
//! overtaken, and holds no memory. It knows nothing of the page, which is one reader among others.

use std::{
    convert::Infallible,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch as latest},
    time::MissedTickBehavior,
};

use super::target_list;
use crate::watch::Watch;

/// Most readers at once; of the connections that `connections` accepts, most are left for scrapes.
const READERS: usize = 32;
/// Between two looks at whether anything has changed, and so the least time between two events.
const BEAT: Duration = Duration::from_secs(1);
/// Between two comments where nothing has changed: proxies end what is silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Keeps the text that all readers share. They end when it is dropped.
pub(super) struct Announcer {
    watch: Arc<Watch>,
    text: latest::Sender<Arc<str>>,
    /// How often the text has changed.
    version: AtomicU64,
}

/// Where readers join, for as long as the announcer lives.
#[derive(Clone)]
pub(super) struct Streams {
    announcer: Weak<Announcer>,
    places: Arc<Semaphore>,
}

impl Announcer {
    /// Nothing is announced yet.
    pub(super) fn new(watch: Arc<Watch>) -> Arc<Self> {
        let text = latest::Sender::new(Arc::default());
        Arc::new(Self {
            watch,
            text,
            version: AtomicU64::new(0),
        })
    }

    /// Where its readers join.
    pub(super) fn streams(self: &Arc<Self>) -> Streams {
        Streams {
            announcer: Arc::downgrade(self),
            places: Arc::new(Semaphore::new(READERS)),
        }
    }

    /// Announces what has changed, for good. Without readers it costs nothing.
    pub(super) async fn run(self: Arc<Self>) {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            if self.text.receiver_count() > 0 {
                self.announce();
            }
        }
    }

    fn announce(&self) {
        let now = match serde_json::to_string(&target_list(&self.watch)) {
            Ok(now) => now,
            Err(error) => {
                tracing::error!(%error, "the targets cannot be announced");
                return;
            }
        };
        self.text.send_if_modified(|text| {
            let has_changed = **text != *now;
            if has_changed {
                *text = now.into();
                self.version.fetch_add(1, Ordering::Relaxed);
            }
            has_changed
        });
    }

    /// A reader that is told at once what is so now.
    fn subscribe(&self) -> latest::Receiver<Arc<str>> {
        if self.text.receiver_count() == 0 {
            // Nobody was listening, so the text may be of any age.
            self.announce();
        }
        let mut reader = self.text.subscribe();
        reader.mark_changed();
        reader
    }
}

impl Streams {
    /// Tells what was announced last from what was announced before; none where nobody listens, so
    /// that nothing is.
    pub(super) fn version(&self) -> Option<u64> {
        let announcer = self.announcer.upgrade()?;
        let is_heard = announcer.text.receiver_count() > 0;
        is_heard.then(|| announcer.version.load(Ordering::Relaxed))
    }
}

/// Sends an event `targets` now and whenever something has changed.
pub(super) async fn stream(State(streams): State<Streams>) -> Response {
    let Ok(place) = streams.places.try_acquire_owned() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, "5")],
            format!("{READERS} streams are open, and that is the most; try again later\n"),
        )
            .into_response();
    };
    let Some(announcer) = streams.announcer.upgrade() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "the observer is stopping\n",
        )
            .into_response();
    };
    let events = events(announcer.subscribe(), place);
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Sse::new(events).keep_alive(keep_alive).into_response()
}

/// Ends with the announcer. The place is free again when the stream is dropped.
fn events(
    reader: latest::Receiver<Arc<str>>,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold((reader, place), async |(mut reader, place)| {
        reader.changed().await.ok()?;
        let text = Arc::clone(&reader.borrow_and_update());
        let event = Event::default().event("targets").data(text);
        Some((Ok(event), (reader, place)))
    })
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_slow_reader_misses_what_was_overtaken() {
        let texts = latest::Sender::new(Arc::from("0"));
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().expect("a place");
        let mut events = Box::pin(events(texts.subscribe(), place));
        for number in 1..1_000 {
            texts.send_replace(number.to_string().into());
        }
        let event = events.next().await.expect("an event");
        let event = format!("{event:?}");
        assert!(event.contains("data: 999"), "{event}");
        assert_eq!(places.available_permits(), 0);

        drop(texts);
        assert!(events.next().await.is_none());
        drop(events);
        assert_eq!(places.available_permits(), 1);
    }
}
