//! What `sock_diag` lists of an endpoint: its open sockets, those that are closing, its listeners.
//!
//! It knows which socket is the endpoint's, and nothing of what the programs count, save that it
//! says where they were shown too little.

use std::net::IpAddr;

use observer_ebpf::Socket;

use super::{
    endpoint::{Endpoint, WitnessError},
    lock,
};
use crate::sock_diag::{Entry, Listed, States};

/// The sockets that are closing, as `sock_diag` lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closing {
    /// Their cookies, in order.
    pub cookies: Vec<u64>,
    /// Fewer than those that, by the counts, were closing before the dump and after it: some have
    /// closed, and the programs were not shown it.
    pub are_too_few: bool,
}

/// What the listening sockets of an endpoint show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listeners {
    /// Their cookies, in order: others after a restart.
    pub cookies: Vec<u64>,
    /// Connections that nobody has accepted yet.
    pub queue_length: u64,
    /// How many may wait.
    pub queue_limit: u64,
}

impl Endpoint {
    /// The open sockets, as `sock_diag` lists them, in the order of their cookies.
    ///
    /// # Errors
    /// When there is no complete dump.
    pub fn open_sockets(&self) -> Result<Vec<Listed>, WitnessError> {
        self.list(States::OPEN)
    }

    /// The sockets that left ESTABLISHED and are not closed.
    ///
    /// # Errors
    /// When there is no complete dump, or the maps cannot be read.
    pub fn closing(&self) -> Result<Closing, WitnessError> {
        let before = self.tally()?;
        if before.left == before.closed {
            return Ok(Closing::default());
        }
        let listed = self.list(States::CLOSING)?;
        // Without programs the counts are those of an earlier dump.
        let counted = match self.probe() {
            Some(_) => before.left.wrapping_sub(self.tally()?.closed).cast_signed(),
            None => 0,
        };
        Ok(Closing {
            are_too_few: counted > listed.len() as i64,
            cookies: listed.iter().map(|socket| socket.cookie).collect(),
        })
    }

    /// What is to be told of those open sockets that are wanted, each with its `tcp_info` and with
    /// what the programs know of it, in the order of their cookies.
    ///
    /// # Errors
    /// When there is no complete dump, or the maps cannot be read.
    pub fn details<T>(
        &self,
        is_wanted: impl Fn(&Entry) -> bool,
        mut tell: impl FnMut(&Entry, Option<&Socket>) -> T,
    ) -> Result<Vec<T>, WitnessError> {
        let place = self.place()?;
        let others = self.others(&place);
        let mut failure = None;
        let keep = |entry: &Entry| {
            if !self.owns(entry, &others) || !is_wanted(entry) {
                return None;
            }
            let tracked = self.probe().map(|probe| probe.sockets().get(entry.cookie));
            let tracked = tracked.transpose().unwrap_or_else(|error| {
                failure = Some(error);
                None
            });
            Some(tell(entry, tracked.flatten().as_ref()))
        };
        let port = self.listen().port;
        let told = lock(&place.details).dump_with_info(port, States::OPEN, keep)?;
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(told.into_iter().map(|(_, told)| told).collect()),
        }
    }

    /// The listening sockets.
    ///
    /// # Errors
    /// When there is no complete dump.
    pub fn listeners(&self) -> Result<Listeners, WitnessError> {
        let place = self.place()?;
        let entries = lock(&place.listeners).dump(self.listen().port, States::LISTEN)?;
        let others = self.others(&place);
        let mut listeners = Listeners::default();
        for entry in entries {
            // A wildcard listener also serves an endpoint with an address.
            if self.listen().address.is_some() && !entry.local.ip().is_unspecified() {
                if !self.owns(&entry, &others) {
                    continue;
                }
            } else if others.contains(&entry.local.ip()) {
                continue;
            }
            listeners.cookies.push(entry.cookie);
            listeners.queue_length += u64::from(entry.recv_queue);
            listeners.queue_limit += u64::from(entry.send_queue);
        }
        listeners.cookies.sort_unstable();
        Ok(listeners)
    }

    fn list(&self, states: States) -> Result<Vec<Listed>, WitnessError> {
        let place = self.place()?;
        let others = self.others(&place);
        let is_own = |entry: &Entry| self.owns(entry, &others);
        Ok(lock(&place.connections).list(self.listen().port, states, is_own)?)
    }

    /// Whether a socket with the endpoint's port is the endpoint's: the most specific one has it.
    fn owns(&self, entry: &Entry, others: &[IpAddr]) -> bool {
        let local = entry.local.ip();
        match self.listen().address {
            Some(address) => local == address.to_canonical(),
            None => !others.contains(&local),
        }
    }
}
