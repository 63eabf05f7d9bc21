//! What every request and session of one relay shares.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use exporter::channel::Sender;

use crate::{
    account::AccountId,
    attachments::Attachments,
    authentication::Authentication,
    bus::MessageBus,
    config::Config,
    group_commit::Posted,
    metrics_service::MetricsService,
    rate::Rate,
    sessions::Hub,
    share::Share,
    store::{Ack, Store},
    tasks::Wholeness,
};

/// The shared parts; each is safe to use from any task.
pub(crate) struct Relay {
    pub(crate) config: Config,
    pub(crate) metrics: Arc<MetricsService>,
    pub(crate) store: Store,
    pub(crate) attachments: Arc<Attachments>,
    pub(crate) bus: Box<dyn MessageBus>,
    pub(crate) authentication: Authentication,
    pub(crate) hub: Arc<Hub>,
    pub(crate) acks: Sender<Ack>,
    pub(crate) messages: Sender<Posted>,
    pub(crate) accounts_rate: Rate<IpAddr>,
    pub(crate) messages_rate: Rate<AccountId>,
    pub(crate) uploads: Share<AccountId>,
    pub(crate) wholeness: Wholeness,
    /// Whether the server is about to stop and still serves, while balancers turn to others.
    pub(crate) is_leaving: AtomicBool,
}

impl Relay {
    /// Whether new clients are welcome, as far as the server itself has a say.
    pub(crate) fn is_welcoming(&self) -> bool {
        !self.is_leaving.load(Ordering::SeqCst) && !self.hub.is_draining()
    }

    /// Allows a client to create an account, or says how long to wait.
    pub(crate) fn limit_account(&self, client: IpAddr) -> Result<(), Duration> {
        self.accounts_rate.take(&network_of(client), Instant::now())
    }

    /// Allows an account to send a message, or says how long to wait.
    pub(crate) fn limit_message(&self, sender: &AccountId) -> Result<(), Duration> {
        self.messages_rate.take(sender, Instant::now())
    }
}

/// What one client has of the address space: of IPv6 a whole network of 64 bits, as providers give it.
fn network_of(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// The wall clock. Unit: milliseconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 or after the year 292 million is no better than 0.
    since
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_choose_another_network() {
        let check = |address: &str, expected: &str| {
            let network = network_of(address.parse().unwrap());
            assert_eq!(network, expected.parse::<IpAddr>().unwrap());
        };
        check("192.0.2.1", "192.0.2.1");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
        check("2001:db8:1:2::", "2001:db8:1:2::");
    }
}
