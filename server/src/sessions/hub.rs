//! Who is connected: every open session, by account.
//!
//! Knows limits on sessions and how to reach one. Deliberately does not touch a socket. A session
//! is counted by owning its [`Registration`]; there is no other way in or out.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use exporter::{
    channel::Receiver,
    sessions::{Session, Sessions},
};
use tokio::sync::Notify;

use super::{
    ending::Ending,
    handle::{Handle, Settled},
};
use crate::{
    account::AccountId,
    config::Config,
    message::Message,
    metrics_service::{MetricsService, Queue},
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
    /// The same sessions, as they are counted and shown to operators.
    open: Sessions,
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
    /// Sessions that are open or about to be, without those that newer ones replaced.
    reserved: usize,
    /// The oldest first.
    sessions: BTreeMap<u64, Arc<Handle>>,
    /// How many stored messages were heard of.
    heard: u64,
    /// Whether the database had no message when it was last read, and none was heard of since: then
    /// a new session need not read it. Thousands of sessions of one account may come at once.
    is_drained: bool,
}

impl Account {
    fn hear(&mut self) {
        self.heard += 1;
        self.is_drained = false;
    }

    /// Ends the oldest session that nobody has asked to end yet; its place is free.
    fn replace_oldest(&mut self) -> Result<(), Refusal> {
        let is_replaced = |session: &Arc<Handle>| session.end(Ending::Replaced);
        if !self.sessions.values().any(is_replaced) {
            return Err(Refusal::TooMany);
        }
        self.reserved -= 1;
        Ok(())
    }
}

impl Hub {
    /// A hub without sessions.
    pub(crate) fn new(config: &Config, metrics: Arc<MetricsService>) -> Self {
        Self {
            accounts: Mutex::default(),
            open: metrics.sessions(),
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
            is_replaced: false,
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

    /// Every open session, as a line of JSON each.
    pub(crate) fn lines(&self) -> String {
        self.open.lines()
    }

    /// Hands a stored message to every session of its recipient.
    pub(super) fn deliver(&self, message: &Arc<Message>) {
        if let Some(account) = self.lock().by_id.get_mut(&message.recipient) {
            account.hear();
        }
        for session in self.sessions_of(&message.recipient) {
            session.deliver(message);
        }
    }

    /// Makes every session read the database, because messages may have passed it by.
    pub(super) fn fall_behind(&self) {
        self.lock().by_id.values_mut().for_each(Account::hear);
        for session in self.sessions() {
            session.fall_behind();
        }
    }

    /// How many messages for an account were heard of, to be noted before the database is read.
    pub(crate) fn heard(&self, account: &AccountId) -> u64 {
        self.lock()
            .by_id
            .get(account)
            .map_or(0, |account| account.heard)
    }

    /// Takes note that the database has no message for an account, unless one was heard of since.
    pub(crate) fn note_drained(&self, account: &AccountId, heard: u64) {
        if let Some(account) = self.lock().by_id.get_mut(account) {
            account.is_drained = account.heard == heard;
        }
    }

    /// Tells every session of the recipient what became of an ack.
    pub(crate) fn settle(&self, ack: &Ack, is_durable: bool) {
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
        if self.reserved >= limit {
            return Err(Refusal::TooMany);
        }
        if let Some(account) = self.by_id.get_mut(account)
            && account.reserved >= account_limit
        {
            account.replace_oldest()?;
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
    /// Whether another session has its place among the account's.
    is_replaced: bool,
}

impl Reservation {
    /// Opens the session: from here on it is listed and counted, and messages are queued for it.
    pub(crate) fn open(self, peer: SocketAddr) -> (Registration, Receiver<Arc<Message>>) {
        let hub = &self.hub;
        let capacity = hub.outbound_capacity;
        let (outbound, messages) = hub.metrics.channel(Queue::Outbound, capacity);
        let session = hub.open.enter(peer);
        let mut accounts = hub.lock();
        let is_draining = accounts.is_draining;
        let account = accounts.by_id.entry(self.account.clone()).or_default();
        let handle = Arc::new(Handle {
            id: session.id(),
            outbound,
            // What was sent while nobody listened is in the database.
            is_behind: AtomicBool::new(!account.is_drained),
            settled: Mutex::default(),
            ending: OnceLock::new(),
            wake: Notify::new(),
        });
        account.sessions.insert(handle.id, Arc::clone(&handle));
        drop(accounts);
        if is_draining {
            // It slipped in between the drain's list and now.
            handle.end(Ending::Draining);
        }
        let registration = Registration {
            handle,
            ending: Ending::Aborted,
            reservation: self,
            _session: session,
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
            account.reserved -= usize::from(!self.is_replaced);
            if account.reserved == 0 && account.sessions.is_empty() {
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
    _session: Session,
}

impl Registration {
    /// Whose session it is.
    pub(crate) fn account(&self) -> &AccountId {
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
        let Reservation {
            hub,
            account,
            is_replaced,
        } = &mut self.reservation;
        let mut accounts = hub.lock();
        // Asked under the lock: once it is off the list, nobody replaces it any more.
        *is_replaced = self.handle.ending() == Some(Ending::Replaced);
        if let Some(account) = accounts.by_id.get_mut(account) {
            account.sessions.remove(&self.handle.id);
        }
        drop(accounts);
        hub.metrics.count_session_closed(self.ending.label());
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        config::{Buckets, Given},
        metrics_service::catalogue::ACTIVE_CONNECTIONS,
    };

    const LIMIT: usize = 4;

    fn hub() -> Arc<Hub> {
        let mut config = Given::default().over(Given::default());
        config.sessions_limit = LIMIT;
        let metrics = Arc::new(MetricsService::new(&Buckets::default()).unwrap());
        Arc::new(Hub::new(&config, metrics))
    }

    fn active(hub: &Hub) -> usize {
        let registry = hub.metrics.registry();
        registry.value(&ACTIVE_CONNECTIONS, []).unwrap() as usize
    }

    fn peer() -> SocketAddr {
        ([127, 0, 0, 1], 1).into()
    }

    proptest! {
        /// Whatever is reserved, opened, ended, dropped or refused in whatever order, the gauge and
        /// the list are the sessions that are open.
        #[test]
        fn the_gauge_is_the_open_sessions(steps in vec((0_u8..5, 0_usize..LIMIT), 0..64)) {
            let hub = hub();
            let accounts = [AccountId::generate(), AccountId::generate()];
            let (mut reserved, mut open) = (Vec::new(), Vec::new());
            for (step, pick) in steps {
                let account = accounts[pick % 2].clone();
                match step {
                    0 if reserved.len() + open.len() < LIMIT => {
                        reserved.push(hub.reserve(account).ok().unwrap());
                    }
                    0 => prop_assert_eq!(hub.reserve(account).err(), Some(Refusal::TooMany)),
                    1 if pick < reserved.len() => open.push(reserved.swap_remove(pick).open(peer())),
                    // The upgrade failed.
                    2 if pick < reserved.len() => drop(reserved.swap_remove(pick)),
                    3 if pick < open.len() => open.swap_remove(pick).0.end(Ending::PeerGone),
                    // The task was dropped.
                    4 if pick < open.len() => drop(open.swap_remove(pick)),
                    _ => {}
                }
                prop_assert_eq!(active(&hub), open.len());
                prop_assert_eq!(hub.sessions().len(), open.len());
                prop_assert_eq!(hub.lines().lines().count(), open.len());
            }
            drop((reserved, open));
            prop_assert_eq!(active(&hub), 0);
            prop_assert!(hub.lock().by_id.is_empty());
        }
    }

    proptest! {
        /// One session more than an account may have takes the place of its oldest, and places are
        /// neither lost nor made, however sessions end meanwhile.
        #[test]
        fn an_account_has_as_many_places_as_it_may(steps in vec((0_u8..4, 0_usize..LIMIT), 0..64)) {
            const PLACES: usize = 2;
            let mut config = Given::default().over(Given::default());
            config.account_sessions_limit = PLACES;
            let hub = Arc::new(Hub::new(&config, hub().metrics.clone()));
            let account = AccountId::generate();
            let (mut reserved, mut open) = (Vec::new(), Vec::<(Registration, _)>::new());
            for (step, pick) in steps {
                let is_open = |(session, _): &&(Registration, _)| session.handle.ending().is_none();
                match step {
                    0 => {
                        let oldest = open.iter().find(is_open).map(|(session, _)| session.handle.clone());
                        let held = reserved.len() + open.iter().filter(is_open).count();
                        let result = hub.reserve(account.clone());
                        prop_assert_eq!(result.is_ok(), held < PLACES || oldest.is_some());
                        let expected = (held >= PLACES).then_some(Ending::Replaced);
                        if let Some(oldest) = oldest {
                            prop_assert_eq!(oldest.ending(), expected);
                        }
                        reserved.extend(result);
                    }
                    1 if pick < reserved.len() => open.push(reserved.remove(pick).open(peer())),
                    2 if pick < reserved.len() => drop(reserved.remove(pick)),
                    3 if pick < open.len() => drop(open.remove(pick)),
                    _ => {}
                }
                prop_assert_eq!(active(&hub), open.len());
            }
            drop((reserved, open));
            prop_assert!(hub.lock().by_id.is_empty());
        }
    }

    #[tokio::test]
    async fn a_session_whose_task_panics_is_no_longer_counted() {
        let hub = hub();
        let reservation = hub.reserve(AccountId::generate()).ok().unwrap();
        let (opened, is_open) = tokio::sync::oneshot::channel();
        let (go, went) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let _session = reservation.open(peer());
            opened.send(()).unwrap();
            went.await.unwrap();
            panic!("as a bug would");
        });
        is_open.await.unwrap();
        assert_eq!(active(&hub), 1);
        go.send(()).unwrap();
        assert!(task.await.unwrap_err().is_panic());
        assert_eq!(active(&hub), 0);
        let aborted = "ws_sessions_closed_total{reason=\"aborted\"} 1";
        assert!(hub.metrics.registry().render().contains(aborted));
    }
}
