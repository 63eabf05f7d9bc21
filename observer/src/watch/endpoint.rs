//! One place that services listen on: its counts and its sockets, as each witness has them.
//!
//! What the second witness lists is in `dumps`, how the two are held against each other in
//! `reconcile`, where the sockets are in `place`.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use ipnet::IpNet;
use observer_ebpf::Tally;

use super::{
    index::Index,
    listing::Listing,
    lock,
    openings::Moved,
    place::{Keys, Place, PlaceError, is_absent, is_within},
    tenure::{Share, Tenure},
};
use crate::{
    config::{Listen, Netns},
    netns::{Doorkeeper, NetworkNamespace},
    probe::{MapAccessError, Probe},
    sock_diag::DumpError,
};

/// A witness failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// The BPF maps.
    #[error("the BPF maps cannot be read")]
    Map(#[from] MapAccessError),
    /// `sock_diag`.
    #[error("sock_diag does not answer")]
    Dump(#[from] DumpError),
    /// The kernel's own counter of openings.
    #[error("the kernel's counter of openings cannot be read")]
    Openings(#[from] std::io::Error),
    /// The endpoint is nowhere now, or not seeded there yet.
    #[error("its sockets are not known")]
    Absent,
}

/// The counts of an endpoint, and how much they may lack.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// The counts.
    pub tally: Tally,
    /// Without programs: how far the kernel's counter of all openings was, just before the counts and
    /// just after them.
    pub moved: Option<Moved>,
}

/// Who counts.
enum Witness {
    /// The programs, all endpoints in one set of maps.
    Programs(Arc<Probe>),
    /// Dumps, one after the other.
    Dumps(Mutex<Listing>),
}

/// How an endpoint finds its place among others.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// The keys of all endpoints.
    pub keys: Arc<Keys>,
    /// The programs, where they count.
    pub probe: Option<Arc<Probe>>,
    /// Who enters other network namespaces; without one, the calling thread.
    pub doorkeeper: Option<Doorkeeper>,
}

/// An endpoint and what is known of it beside the programs' counts.
pub struct Endpoint {
    index: Index,
    netns: Netns,
    listen: Listen,
    ignored: Vec<IpNet>,
    keys: Arc<Keys>,
    doorkeeper: Option<Doorkeeper>,
    witness: Witness,
    place: Mutex<Option<Arc<Place>>>,
    /// What was added to the counts by seeding and repairing.
    adjustment: Mutex<Tally>,
    tenure: Mutex<Tenure>,
    is_address_absent: AtomicBool,
}

impl Endpoint {
    /// An endpoint whose sockets the programs count under `index`, save those of the peers that are
    /// ignored; it is nowhere yet.
    #[must_use]
    pub fn new(
        index: Index,
        netns: Netns,
        listen: Listen,
        ignored: Vec<IpNet>,
        surroundings: Surroundings,
    ) -> Self {
        let Surroundings {
            keys,
            probe,
            doorkeeper,
        } = surroundings;
        Self {
            index,
            doorkeeper: doorkeeper.filter(|_| netns != Netns::SelfNs),
            netns,
            ignored,
            keys,
            witness: match (listen.address(), probe) {
                (Some(_), Some(probe)) => Witness::Programs(probe),
                _ => Witness::Dumps(Mutex::default()),
            },
            listen,
            place: Mutex::default(),
            adjustment: Mutex::default(),
            tenure: Mutex::default(),
            is_address_absent: AtomicBool::new(false),
        }
    }

    /// Goes to where the sockets are now. Returns whether that is elsewhere than before: the
    /// endpoint then has to be seeded. An endpoint that cannot be anywhere tracks nothing.
    ///
    /// # Errors
    /// When its namespace is not there or cannot be entered.
    pub fn follow(&self) -> Result<bool, PlaceError> {
        let known = self.inode();
        self.look_for_address();
        if known.is_some() && !self.may_move() {
            return Ok(false);
        }
        let (netns, listen) = (self.netns.clone(), self.listen.clone());
        let has_programs = self.has_programs();
        let doorkeeper = self.doorkeeper.clone();
        let opened =
            self.act(move || Place::open(&netns, &listen, known, has_programs, doorkeeper))?;
        match opened {
            Ok(None) => Ok(false),
            Ok(Some(place)) => {
                self.leave()?;
                self.arrive(place)?;
                Ok(true)
            }
            Err(error) => {
                self.leave()?;
                Err(error)
            }
        }
    }

    /// Looks whether the namespace has the address, if the endpoint has one.
    fn look_for_address(&self) {
        let Some(address) = self.address() else {
            return;
        };
        let netns = self.netns.clone();
        let look = move || NetworkNamespace::open(&netns).map(|netns| is_absent(&netns, address));
        // A namespace that cannot be looked into is a reason of its own to see nothing.
        if let Ok(Ok(is_absent)) = self.act(look) {
            self.is_address_absent.store(is_absent, Ordering::Relaxed);
        }
    }

    /// Its address, where the namespace was last found not to have it: only a socket that is bound to
    /// it regardless can serve it.
    #[must_use]
    pub fn absent_address(&self) -> Option<IpAddr> {
        let is_absent = self.is_address_absent.load(Ordering::Relaxed);
        self.address().filter(|_| is_absent)
    }

    /// The local address, where it is only one.
    fn address(&self) -> Option<IpAddr> {
        self.listen.tcp()?.address
    }

    /// Whether [`Self::follow`] would find something else than the last time.
    #[must_use]
    pub fn has_moved(&self) -> bool {
        let netns = self.netns.clone();
        let now = self.act(move || NetworkNamespace::open(&netns).map(|netns| netns.inode()));
        now.ok().and_then(Result::ok) != self.inode()
    }

    /// Whether its name can come to stand for another namespace.
    #[must_use]
    pub fn may_move(&self) -> bool {
        self.netns != Netns::SelfNs
    }

    fn act<T: Send + 'static>(
        &self,
        action: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PlaceError> {
        match &self.doorkeeper {
            None => Ok(action()),
            Some(doorkeeper) => doorkeeper.run(action).map_err(|source| PlaceError::Enter {
                netns: self.netns.clone(),
                source,
            }),
        }
    }

    fn arrive(&self, place: Place) -> Result<(), PlaceError> {
        if let Some(key) = &place.key {
            if !self.keys.take(*key, self.index()) {
                return Err(PlaceError::Taken {
                    listen: self.listen.clone(),
                    netns: self.netns.clone(),
                });
            }
            if let Some(probe) = self.probe()
                && let Err(error) = probe.add_target(key, self.index(), &self.ignored)
            {
                self.keys.give_back(key);
                return Err(error.into());
            }
        }
        *lock(&self.place) = Some(Arc::new(place));
        Ok(())
    }

    /// Watches nothing any more: what was open is no longer this endpoint's.
    pub(super) fn leave(&self) -> Result<(), PlaceError> {
        let Some(place) = lock(&self.place).take() else {
            return Ok(());
        };
        lock(&self.tenure).reset();
        let Some(key) = &place.key else {
            return Ok(());
        };
        self.keys.give_back(key);
        if let Some(probe) = self.probe() {
            probe.remove_target(key)?;
            self.let_all_go(probe)?;
        }
        Ok(())
    }

    /// The inode of the namespace that its sockets are in now.
    pub(super) fn inode(&self) -> Option<u32> {
        let place = lock(&self.place);
        place.as_ref().map(|place| place.namespace.inode())
    }

    /// Where its sockets are now.
    pub(super) fn place(&self) -> Result<Arc<Place>, WitnessError> {
        lock(&self.place).clone().ok_or(WitnessError::Absent)
    }

    /// Its index in the programs' maps.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index.number()
    }

    /// Where the service listens, or connects to.
    #[must_use]
    pub const fn listen(&self) -> &Listen {
        &self.listen
    }

    /// The peers that are left out.
    pub(super) fn ignored(&self) -> &[IpNet] {
        &self.ignored
    }

    /// The network namespace of its sockets, by its name.
    #[must_use]
    pub const fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Whether the programs count here, or `sock_diag` alone.
    #[must_use]
    pub const fn has_programs(&self) -> bool {
        matches!(self.witness, Witness::Programs(_))
    }

    /// The counts, with what was there before the programs; without programs, those of the last
    /// [`Self::count`].
    ///
    /// # Errors
    /// When the maps cannot be read.
    pub fn tally(&self) -> Result<Tally, WitnessError> {
        match &self.witness {
            Witness::Programs(probe) => {
                let counted = probe.tallies().of(self.index())?;
                Ok(counted.plus(&lock(&self.adjustment)))
            }
            Witness::Dumps(listing) => Ok(lock(listing).tally()),
        }
    }

    /// Counts now.
    ///
    /// # Errors
    /// When a witness fails.
    pub fn count(&self) -> Result<Count, WitnessError> {
        let place = self.place()?;
        let (openings, listing) = match (&self.witness, &place.openings) {
            (Witness::Dumps(listing), Some(openings)) => (openings, listing),
            _ => {
                return Ok(Count {
                    tally: self.tally()?,
                    moved: None,
                });
            }
        };
        let mut listing = lock(listing);
        let (tally, moved) = openings.around(|| {
            listing.update(&self.open_sockets()?);
            let tally = listing.tally();
            Ok::<_, WitnessError>((tally, tally.opened))
        })?;
        Ok(Count {
            tally,
            moved: Some(moved),
        })
    }

    /// Who serves it since when.
    pub(super) const fn tenure(&self) -> &Mutex<Tenure> {
        &self.tenure
    }

    /// How its connections count for a target that names it.
    #[must_use]
    pub fn own_share(&self) -> Share {
        lock(&self.tenure).own_share()
    }

    /// How its connections count for a target whose endpoint this one's address is taken from:
    /// nothing where it is no such endpoint now.
    #[must_use]
    pub fn share_of(&self, any: &Self) -> Share {
        let key = |endpoint: &Self| endpoint.place().ok()?.key;
        match (key(self), key(any)) {
            (Some(own), Some(any)) if is_within(&own, &any) => lock(&self.tenure).share_of_any(),
            _ => Share::Nothing,
        }
    }

    /// Whether the connections of a peer are left out.
    pub(super) fn ignores(&self, peer: IpAddr) -> bool {
        self.ignored.iter().any(|network| network.contains(&peer))
    }

    /// The addresses that other endpoints have, on its port in this place.
    pub(super) fn others(&self, place: &Place) -> Vec<IpAddr> {
        let others = place.key.map(|key| self.keys.others(&key));
        others.unwrap_or_default()
    }

    /// Whether a socket's local address is another endpoint's, in this place.
    pub(super) fn is_local_to_another(&self, place: &Place, local: SocketAddr) -> bool {
        self.keys.has_local(place.namespace.inode(), local)
    }

    /// The maps, where programs count.
    pub(super) fn probe(&self) -> Option<&Probe> {
        match &self.witness {
            Witness::Programs(probe) => Some(probe),
            Witness::Dumps(_) => None,
        }
    }

    /// Adds to the programs' counts what they could not see.
    pub(super) fn adjust(&self, by: &Tally) {
        let mut adjustment = lock(&self.adjustment);
        *adjustment = adjustment.plus(by);
    }

    /// Takes back what turned out to be nothing.
    pub(super) fn unadjust(&self, by: &Tally) {
        let mut adjustment = lock(&self.adjustment);
        *adjustment = adjustment.minus(by);
    }
}
