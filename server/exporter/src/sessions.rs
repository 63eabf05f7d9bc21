//! Who is connected: each open session is owned, so the gauge is the length of what is owned.
//!
//! Knows who is there and since when. Deliberately touches no socket, and has no way to count a session
//! that it does not list. For sessions that a service keeps a list of anyway, such as WebSockets.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use metrics::{Counter, Gauge};
use serde::Serialize;

use crate::registry::Registry;

crate::catalogue! {
    /// What [`Sessions::new`] records.
    pub CATALOGUE:
    ACTIVE = gauge, "active_connections" [] "sessions"
        "Sessions that are open.";
    OPENED = counter, "sessions_opened_total" [] "sessions"
        "Sessions ever opened.";
}

/// The open sessions of a service. Cheap to clone: all clones are the same list.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    list: Mutex<List>,
    active: Gauge,
    opened: Counter,
}

#[derive(Default)]
struct List {
    /// The oldest first.
    open: BTreeMap<u64, (SocketAddr, SystemTime)>,
    last_id: u64,
}

/// An open session, as it is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Unlike that of any other session of this list.
    pub id: u64,
    /// The address of the client's end.
    pub peer: SocketAddr,
    /// When it was opened.
    pub opened_at: SystemTime,
}

impl Sessions {
    /// No sessions, with the metrics of [`CATALOGUE`].
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let active = registry.gauge(&ACTIVE, []);
        Self::with(active, registry.counter(&OPENED, []))
    }

    /// No sessions, with a gauge of those that are open and a counter of all.
    #[must_use]
    pub fn with(active: Gauge, opened: Counter) -> Self {
        active.set(0);
        Self(Arc::new(Inner {
            list: Mutex::default(),
            active,
            opened,
        }))
    }

    /// Opens a session: listed and counted until it is dropped.
    ///
    /// Call it where there is a connection, as in the closure that axum's `on_upgrade` is given, and not
    /// before: an upgrade may fail.
    pub fn enter(&self, peer: SocketAddr) -> Session {
        let mut list = self.0.lock();
        list.last_id += 1;
        let id = list.last_id;
        list.open.insert(id, (peer, SystemTime::now()));
        self.0.show(&list);
        drop(list);
        self.0.opened.increment(1);
        let sessions = self.clone();
        Session { sessions, id }
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().open.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those that are open, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let list = self.0.lock();
        let open = list.open.iter().map(|(&id, &(peer, opened_at))| Listed {
            id,
            peer,
            opened_at,
        });
        open.collect()
    }

    /// Those that are open, each as a line of JSON with `id`, `peer` and `opened_at`: what Plumbline's
    /// observer expects of `connections-url`. It is for private ports: peers have addresses.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut text = String::new();
        for Listed {
            id,
            peer,
            opened_at,
        } in self.list()
        {
            let line = Line {
                id,
                peer,
                opened_at: humantime::format_rfc3339_millis(opened_at).to_string(),
            };
            // Numbers and strings always serialise.
            if let Ok(line) = serde_json::to_string(&line) {
                text.push_str(&line);
                text.push('\n');
            }
        }
        text
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Sessions")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Line {
    id: u64,
    peer: SocketAddr,
    opened_at: String,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, List> {
        // Nothing panics while it holds the lock.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under the lock, so that no older number is shown after a newer one.
    fn show(&self, list: &List) {
        // There are far fewer than 2^52.
        self.active.set(list.open.len() as f64);
    }
}

/// An open session. Dropped, it is neither listed nor counted any more.
#[derive(Debug)]
#[must_use = "what is dropped at once was never there"]
pub struct Session {
    sessions: Sessions,
    id: u64,
}

impl Session {
    /// Unlike that of any other session of its list.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Sessions(inner) = &self.sessions;
        let mut list = inner.lock();
        list.open.remove(&self.id);
        inner.show(&list);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn peer(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    proptest! {
        /// Whatever is opened and dropped in whatever order, the gauge and the list are what is open.
        #[test]
        fn the_gauge_is_what_is_open(steps in vec((any::<bool>(), 0_usize..8), 0..64)) {
            let registry = Registry::new(&[CATALOGUE]).unwrap();
            let sessions = Sessions::new(&registry);
            let (mut open, mut opened) = (Vec::new(), 0);
            for (is_new, pick) in steps {
                if is_new {
                    open.push(sessions.enter(peer(1)));
                    opened += 1;
                } else if pick < open.len() {
                    drop(open.remove(pick));
                }
                let page = registry.render();
                let active = format!("active_connections {}\n", open.len());
                prop_assert!(page.contains(&active), "{active}: {page}");
                let all = format!("sessions_opened_total {opened}\n");
                prop_assert!(page.contains(&all), "{all}: {page}");
                prop_assert_eq!(sessions.lines().lines().count(), open.len());
            }
        }
    }

    #[test]
    fn a_session_is_a_line_of_json() {
        let sessions = Sessions::new(&Registry::new(&[CATALOGUE]).unwrap());
        let first = sessions.enter(peer(1));
        let second = sessions.enter(peer(2));
        drop(first);
        let line: serde_json::Value = serde_json::from_str(&sessions.lines()).unwrap();
        assert_eq!(line["id"], second.id());
        assert_eq!(line["peer"], "192.0.2.1:2");
        let opened = humantime::parse_rfc3339(line["opened_at"].as_str().unwrap()).unwrap();
        assert!(opened <= SystemTime::now());
    }

    #[tokio::test]
    async fn a_task_that_panics_or_is_aborted_ends_its_session() {
        let sessions = Sessions::new(&Registry::new(&[CATALOGUE]).unwrap());
        let session = sessions.enter(peer(1));
        let panics = tokio::spawn(async move {
            let _session = session;
            panic!("as a bug would");
        });
        assert!(panics.await.unwrap_err().is_panic());
        assert_eq!(sessions.len(), 0);
        let session = sessions.enter(peer(2));
        let waits = tokio::spawn(async move {
            let _session = session;
            std::future::pending::<()>().await;
        });
        assert_eq!(sessions.len(), 1);
        waits.abort();
        assert!(waits.await.unwrap_err().is_cancelled());
        assert!(sessions.is_empty());
    }
}
