//! Who is connected: every open session, by account.
//!
//! Knows limits on sessions and how to reach one. Deliberately does not touch a socket. A session
//! is counted by owning its [`Registration`]; there is no other way in or out.

use std::{
    collections::HashMap,
    mem,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::sync::Notify;
use uuid::Uuid;

use super::ending::Ending;
use crate::{
    account::AccountId,
    channel::{Receiver, Sender, channel},
    config::Config,
    message::Message,
    metrics_service::{Level, MetricsService, Queue},
    store::Ack,
};

/// Why there is no room for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A limit on sessions is reached.
    TooMany,
    /// The server is about to stop.
    Draining,
}

/// Every session of this process.
pub(crate) struct Hub {
    accounts: Mutex<Accounts>,
    next_id: AtomicU64,
    /// Told when the last reservation is dropped.
    emptied: Notify,
    limit: usize,
    account_limit: usize,
    outbound_capacity: usize,
    metrics: Arc<MetricsService>,
}

#[derive(Default)]
struct Accounts {
    by_id: HashMap<AccountId, Account>,
    reserved: usize,
    is_draining: bool,
}

#[derive(Default)]
struct Account {
    reserved: usize,
    sessions: HashMap<u64, Arc<Handle>>,
}

/// What became of an ack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    /// The message.
    pub(super) id: Uuid,
    /// Whether the message is gone from the database; if not, it is to be sent again.
    pub(super) is_durable: bool,
}

/// How others reach a session.
pub(crate) struct Handle {
    /// Unlike that of any other session of this process.
    pub(crate) id: u64,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// When the upgrade was complete.
    pub(crate) opened_at: SystemTime,
    /// Messages on their way to the client.
    outbound: Sender<Arc<Message>>,
    /// Whether messages in the database did not pass through the queue: the session reads them.
    is_behind: AtomicBool,
    /// Acks that the database took or did not take, not yet seen by the session.
    settled: Mutex<Vec<Settled>>,
    ending: OnceLock<Ending>,
    /// Wakes the session to look at what changed here.
    pub(crate) wake: Notify,
}

impl Handle {
    /// Queues a message for the client, or leaves it to the session to read it from the database.
    fn deliver(&self, message: &Arc<Message>) {
        let is_queued = !self.is_behind.load(Ordering::SeqCst)
            && self.outbound.send(Arc::clone(message)).is_ok();
        if !is_queued {
            self.fall_behind();
        }
    }

    /// Makes the session read the database.
    pub(super) fn fall_behind(&self) {
        self.is_behind.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// Whether the session has the database to read; from here on messages are queued again.
    pub(super) fn catch_up(&self) -> bool {
        self.is_behind.swap(false, Ordering::SeqCst)
    }

    /// What became of acks since the last call.
    pub(super) fn take_settled(&self) -> Vec<Settled> {
        mem::take(&mut *self.settled.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn settle(&self, settled: Settled) {
        self.settled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(settled);
        self.wake.notify_one();
    }

    /// Asks the session to end; the first reason stands.
    pub(crate) fn end(&self, ending: Ending) {
        // Already asked to end: then it is awake as well.
        let _ = self.ending.set(ending);
        self.wake.notify_one();
    }

    /// Why the session was asked to end, if it was.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending.get().copied()
    }
}

impl Hub {
    /// A hub without sessions.
    pub(crate) fn new(config: &Config, metrics: Arc<MetricsService>) -> Self {
        Self {
            accounts: Mutex::default(),
            next_id: AtomicU64::new(1),
            emptied: Notify::new(),
            limit: config.sessions_limit,
            account_limit: config.account_sessions_limit,
            outbound_capacity: config.outbound_capacity,
            metrics,
        }
    }

    /// Holds room for one session of `account`.
    pub(crate) fn reserve(self: &Arc<Self>, account: AccountId) -> Result<Reservation, Refusal> {
        let reserved = self
            .lock()
            .reserve(&account, self.limit, self.account_limit);
        if let Err(refusal) = reserved {
            self.metrics.count_session_refused(match refusal {
                Refusal::TooMany => "too_many",
                Refusal::Draining => "draining",
            });
            return Err(refusal);
        }
        Ok(Reservation {
            hub: Arc::clone(self),
            account,
        })
    }

    /// Every open session.
    pub(crate) fn sessions(&self) -> Vec<Arc<Handle>> {
        let accounts = self.lock();
        let sessions = accounts
            .by_id
            .values()
            .flat_map(|account| account.sessions.values());
        sessions.map(Arc::clone).collect()
    }

    /// Hands a stored message to every session of its recipient.
    pub(super) fn deliver(&self, message: &Arc<Message>) {
        for session in self.sessions_of(&message.recipient) {
            session.deliver(message);
        }
    }

    /// Makes every session read the database, because messages may have passed it by.
    pub(super) fn fall_behind(&self) {
        for session in self.sessions() {
            session.fall_behind();
        }
    }

    /// Tells every session of the recipient what became of an ack.
    pub(super) fn settle(&self, ack: &Ack, is_durable: bool) {
        for session in self.sessions_of(&ack.recipient) {
            session.settle(Settled {
                id: ack.id,
                is_durable,
            });
        }
    }

    fn sessions_of(&self, account: &AccountId) -> Vec<Arc<Handle>> {
        let accounts = self.lock();
        let sessions = accounts
            .by_id
            .get(account)
            .map(|account| account.sessions.values());
        sessions.into_iter().flatten().map(Arc::clone).collect()
    }

    /// Refuses new sessions from now on.
    pub(crate) fn start_draining(&self) {
        self.lock().is_draining = true;
    }

    /// Whether new sessions are refused because the server is about to stop.
    pub(crate) fn is_draining(&self) -> bool {
        self.lock().is_draining
    }

    /// Ends the open sessions, spread evenly over `spread`.
    pub(crate) async fn end_sessions(&self, spread: Duration) {
        let sessions = self.sessions();
        let start = tokio::time::Instant::now();
        for (index, session) in sessions.iter().enumerate() {
            // Sessions are ended in bursts, as fine as the timer's millisecond.
            let due = start + spread.mul_f64(index as f64 / sessions.len() as f64);
            tokio::time::sleep_until(due).await;
            session.end(Ending::Draining);
        }
    }

    /// Waits until no session is open or about to be.
    pub(crate) async fn wait_until_empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.lock().reserved == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Accounts> {
        // No code panics while it holds the lock; and if it did, the counts would still be whole.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Accounts {
    fn reserve(
        &mut self,
        account: &AccountId,
        limit: usize,
        account_limit: usize,
    ) -> Result<(), Refusal> {
        if self.is_draining {
            return Err(Refusal::Draining);
        }
        let held = self
            .by_id
            .get(account)
            .map_or(0, |account| account.reserved);
        if self.reserved >= limit || held >= account_limit {
            return Err(Refusal::TooMany);
        }
        self.reserved += 1;
        self.by_id.entry(account.clone()).or_default().reserved += 1;
        Ok(())
    }
}

/// Room for one session, until dropped.
pub(crate) struct Reservation {
    hub: Arc<Hub>,
    account: AccountId,
}

impl Reservation {
    /// Opens the session: from here on it is listed and counted, and messages are queued for it.
    pub(crate) fn open(self, peer: SocketAddr) -> (Registration, Receiver<Arc<Message>>) {
        let hub = &self.hub;
        let (outbound, messages) = channel(Queue::Outbound, hub.outbound_capacity, &hub.metrics);
        let handle = Arc::new(Handle {
            id: hub.next_id.fetch_add(1, Ordering::Relaxed),
            peer,
            opened_at: SystemTime::now(),
            outbound,
            // What was sent while nobody listened is in the database.
            is_behind: AtomicBool::new(true),
            settled: Mutex::default(),
            ending: OnceLock::new(),
            wake: Notify::new(),
        });
        let level = hub.metrics.hold_session();
        let mut accounts = hub.lock();
        let account = accounts.by_id.entry(self.account.clone()).or_default();
        account.sessions.insert(handle.id, Arc::clone(&handle));
        if accounts.is_draining {
            // It slipped in between the drain's list and now.
            handle.end(Ending::Draining);
        }
        drop(accounts);
        let registration = Registration {
            handle,
            ending: Ending::Aborted,
            reservation: self,
            _level: level,
        };
        (registration, messages)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut accounts = self.hub.lock();
        accounts.reserved = accounts.reserved.saturating_sub(1);
        if accounts.reserved == 0 {
            self.hub.emptied.notify_one();
        }
        if let Some(account) = accounts.by_id.get_mut(&self.account) {
            account.reserved = account.reserved.saturating_sub(1);
            if account.reserved == 0 {
                accounts.by_id.remove(&self.account);
            }
        }
    }
}

/// An open session: listed and counted until dropped.
pub(crate) struct Registration {
    handle: Arc<Handle>,
    ending: Ending,
    reservation: Reservation,
    _level: Level,
}

impl Registration {
    /// Whose session it is.
    pub(super) fn account(&self) -> &AccountId {
        &self.reservation.account
    }

    /// How others reach this session.
    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// The session has ended: it is no longer listed nor counted.
    pub(crate) fn end(mut self, ending: Ending) {
        self.ending = ending;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let Reservation { hub, account } = &self.reservation;
        if let Some(account) = hub.lock().by_id.get_mut(account) {
            account.sessions.remove(&self.handle.id);
        }
        hub.metrics.count_session_closed(self.ending.label());
    }
}
