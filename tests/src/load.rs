//! Traffic that keeps books: it knows what it opened, how each connection ended, and what is open.
//!
//! The books are the oracle that the observer's counts are compared with. They count what happened
//! on this side: a connection is *opened* when its handshake is complete (for HTTP, its first
//! answer read; for WebSockets, the upgrade answered 101), and *ended* when its socket is closed
//! here. Whether the other side has noticed is for the test to wait for.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

mod connection;
mod flow;
mod source;

use connection::Connection;
pub use flow::{Flow, Rate};
pub use source::Sources;

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Tcp,
    /// One HTTP request and its answer; then the connection is kept alive.
    Http,
    /// An upgrade to WebSocket; then pings are answered and messages read.
    WebSocket,
}

/// How a connection is ended on this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As the protocol has it: a WebSocket sends its close frame and waits for the answer.
    Clean,
    /// The socket is closed without a word: the peer sees a FIN.
    Fin,
    /// The socket is aborted: the peer sees a RST.
    Reset,
}

/// Where connections go, and what they ask for.
#[derive(Debug, Clone)]
pub struct Target {
    /// The service's address.
    pub address: SocketAddr,
    /// The path that is asked for.
    pub path: String,
    /// Headers beside the necessary ones, such as `authorization`.
    pub headers: Vec<(String, String)>,
}

impl Target {
    /// A target without headers.
    pub fn new(address: SocketAddr, path: &str) -> Self {
        Self {
            address,
            path: path.to_owned(),
            headers: Vec::new(),
        }
    }

    /// With an `authorization: Bearer` header.
    #[must_use]
    pub fn bearer(mut self, token: &str) -> Self {
        self.headers
            .push(("authorization".into(), format!("Bearer {token}")));
        self
    }
}

/// The books, as of one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Books {
    /// Connections whose handshake was completed.
    pub opened: u64,
    /// Ended here as the protocol has it.
    pub clean: u64,
    /// Ended here by a FIN.
    pub fin: u64,
    /// Ended here by a RST.
    pub reset: u64,
    /// Ended by the peer.
    pub by_peer: u64,
    /// Attempts that failed: not opened.
    pub failed: u64,
}

impl Books {
    /// What is open now.
    pub fn open(&self) -> u64 {
        self.opened - self.ended()
    }

    /// What was opened and has ended, however.
    pub fn ended(&self) -> u64 {
        let Self {
            opened: _,
            clean,
            fin,
            reset,
            by_peer,
            failed: _,
        } = self;
        clean + fin + reset + by_peer
    }
}

/// The books while connections write into them.
#[derive(Debug, Default)]
struct Counts {
    opened: AtomicU64,
    clean: AtomicU64,
    fin: AtomicU64,
    reset: AtomicU64,
    by_peer: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    fn ended(&self, ending: Option<Ending>) {
        let count = match ending {
            Some(Ending::Clean) => &self.clean,
            Some(Ending::Fin) => &self.fin,
            Some(Ending::Reset) => &self.reset,
            None => &self.by_peer,
        };
        count.fetch_add(1, Ordering::SeqCst);
    }

    fn books(&self) -> Books {
        // Endings first: read the other way, one that falls between would make `open` negative.
        let read = |count: &AtomicU64| count.load(Ordering::SeqCst);
        let (clean, fin, reset) = (read(&self.clean), read(&self.fin), read(&self.reset));
        let (by_peer, failed) = (read(&self.by_peer), read(&self.failed));
        Books {
            opened: read(&self.opened),
            clean,
            fin,
            reset,
            by_peer,
            failed,
        }
    }
}

/// Connections that are held open, oldest first, with their books.
#[derive(Debug)]
pub struct Crowd {
    target: Target,
    sources: Sources,
    counts: Arc<Counts>,
    held: VecDeque<Connection>,
}

impl Crowd {
    /// Nobody yet.
    pub fn new(target: Target) -> Self {
        Self {
            sources: Sources::to(target.address),
            target,
            counts: Arc::default(),
            held: VecDeque::new(),
        }
    }

    /// The books of this crowd.
    pub fn books(&self) -> Books {
        self.counts.books()
    }

    /// Opens `count` connections, at most `concurrency` at a time, and holds them.
    ///
    /// # Errors
    /// One of them could not be opened: those that were are held and booked.
    pub async fn open(&mut self, kind: Kind, count: usize, concurrency: usize) -> Result<()> {
        let (target, sources, counts) = (&self.target, &self.sources, &self.counts);
        let attempts = stream::iter(0..count)
            .map(|_| Connection::open(target, sources, kind, counts))
            .buffer_unordered(concurrency);
        let results: Vec<Result<Connection>> = attempts.collect().await;
        let mut outcome = Ok(());
        for result in results {
            match result {
                Ok(connection) => self.held.push_back(connection),
                Err(error) => outcome = Err(error),
            }
        }
        outcome.with_context(|| format!("open {count} {kind:?} connections"))
    }

    /// Ends the `count` oldest connections, all at once; returns when their sockets are closed.
    pub async fn end(&mut self, count: usize, ending: Ending) {
        let count = count.min(self.held.len());
        let ended = self.held.drain(..count).map(|held| held.end(ending));
        futures_util::future::join_all(ended).await;
    }

    /// Ends all that are left.
    pub async fn end_all(&mut self, ending: Ending) {
        self.end(self.held.len(), ending).await;
    }

    /// Opens and ends `count` connections of one kind, `concurrency` at a time, as fast as it goes.
    ///
    /// # Errors
    /// One of them could not be opened; the books say how many.
    pub async fn churn(
        &self,
        kind: Kind,
        ending: Ending,
        count: usize,
        concurrency: usize,
    ) -> Result<()> {
        let (target, sources, counts) = (&self.target, &self.sources, &self.counts);
        stream::iter((0..count).map(Ok))
            .try_for_each_concurrent(concurrency, async |_| {
                let connection = Connection::open(target, sources, kind, counts).await?;
                connection.end(ending).await;
                Ok(())
            })
            .await
    }
}
