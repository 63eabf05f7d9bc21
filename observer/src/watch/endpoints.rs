//! What one target counts: the endpoints that it names, and those that its listening sockets serve
//! besides.
//!
//! A target may name several places. Another target may name an address of a port that this one has
//! on any address; its endpoint then has those connections for itself, and here they are added again
//! for as long as that address has no listening socket of its own (`tenure`). Counts are monotonic, and
//! so are their sums.

use std::{sync::Arc, time::Instant};

use observer_ebpf::{DURATION_BUCKETS, Durations, Socket, Tally};

use super::{
    counted::project,
    dumps::{Closing, Listeners},
    endpoint::{Endpoint, Surroundings, WitnessError},
    health::{Health, Watched},
    index::Indices,
    lock,
    openings::Unseen,
    place::PlaceError,
    tenure::Share,
    unheard::Heard,
};
use crate::{
    check::{Blind, ClosingKind, Counts, IsCounted, Trust},
    config::{self, Counts as Counted, Listen, TcpAddress},
    sock_diag::Entry,
};

/// What is known of the trust in each of several endpoints: what is wrong with one is wrong with all.
pub(super) struct Together {
    each: Vec<Trust>,
    epoch: u64,
}

impl Together {
    /// Why nothing can be said, if nothing can.
    pub(super) fn blind(&self) -> Option<Blind> {
        self.each.iter().find_map(Trust::blind)
    }

    /// See [`Trust::epoch`]; who serves an address is in it as well.
    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// When the witnesses of each had been found to agree.
    pub(super) fn agreed(&self) -> Option<Instant> {
        let agreed: Option<Vec<_>> = self.each.iter().map(Trust::agreed).collect();
        agreed?.into_iter().min()
    }

    /// See [`Trust::missing`].
    pub(super) fn missing(&self, since: Instant) -> u64 {
        self.each.iter().map(|trust| trust.missing(since)).sum()
    }
}

/// The endpoints of one target.
pub struct Endpoints {
    /// Those that it names: at least one.
    named: Vec<Arc<Watched>>,
    /// Those of other targets that may be within one of these.
    others: Vec<Arc<Watched>>,
}

impl Endpoints {
    /// Those that a target names, at least one, and those that only others name.
    #[must_use]
    pub fn new(named: Vec<Arc<Watched>>, others: Vec<Arc<Watched>>) -> Self {
        let is_other = |other: &Arc<Watched>| named.iter().any(|named| may_be_within(other, named));
        Self {
            others: others.into_iter().filter(is_other).collect(),
            named,
        }
    }

    /// Whether these are what [`Self::new`] makes of the same endpoints.
    pub(super) fn are(&self, named: &[Arc<Watched>], others: &[Arc<Watched>]) -> bool {
        let mut would_be = others
            .iter()
            .filter(|other| named.iter().any(|named| may_be_within(other, named)));
        let has = |list: &[Arc<Watched>], one| list.iter().any(|own| Arc::ptr_eq(own, one));
        self.named.len() == named.len()
            && named.iter().all(|one| has(&self.named, one))
            && would_be.clone().count() == self.others.len()
            && would_be.all(|one| has(&self.others, one))
    }

    /// The endpoints of a target by itself, where they are now, without programs.
    ///
    /// # Errors
    /// When its namespace is not there or cannot be entered.
    pub fn open(target: &config::Target) -> Result<Vec<Endpoint>, PlaceError> {
        let surroundings = Surroundings::default();
        let indices = Indices::default();
        let open = |listen: &Listen| {
            let index = indices.take().ok_or(PlaceError::TooMany)?;
            let (netns, ignored) = (target.netns.clone(), target.ignore_peers.clone());
            let (listen, surroundings) = (Listen::clone(listen), surroundings.clone());
            let endpoint = Endpoint::new(index, netns, listen, ignored, surroundings);
            endpoint.follow()?;
            Ok(endpoint)
        };
        target.listen.iter().map(open).collect()
    }

    /// Those whose connections are the target's, or may be.
    fn shared(&self) -> impl Iterator<Item = (Share, &Arc<Watched>)> {
        let named = self
            .named
            .iter()
            .map(|watched| (watched.endpoint.own_share(), watched));
        let others = self.others.iter().map(|other| {
            let shares = self
                .named
                .iter()
                .map(|named| other.endpoint.share_of(&named.endpoint));
            let share = shares.into_iter().find(|share| *share != Share::Nothing);
            (share.unwrap_or(Share::Nothing), other)
        });
        named
            .chain(others)
            .filter(|(share, _)| *share != Share::Nothing)
    }

    /// The endpoints themselves.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.shared().map(|(_, watched)| &watched.endpoint)
    }

    /// Whether the programs count here, or `sock_diag` alone.
    #[must_use]
    pub fn has_programs(&self) -> bool {
        self.named
            .iter()
            .all(|watched| watched.endpoint.has_programs())
    }

    /// What is known of all of them, for people.
    #[must_use]
    pub fn health(&self) -> Health {
        let states = self.shared().map(|(_, watched)| watched.health());
        states.reduce(Health::and).unwrap_or_default()
    }

    /// Whether the counts of all of them can be trusted.
    #[must_use]
    pub(super) fn trust(&self) -> Together {
        Together {
            each: self
                .shared()
                .map(|(_, watched)| watched.health().trust)
                .collect(),
            epoch: self.epoch(),
        }
    }

    /// Notes what was lost until now.
    pub(super) fn note_losses(&self) {
        for (_, watched) in self.shared() {
            watched.note_losses();
        }
    }

    /// Waits until the next survey of each has ended, from when it is called.
    pub(super) fn next_surveys(&self) -> impl Future<Output = ()> {
        let mut surveys: Vec<_> = self
            .shared()
            .map(|(_, watched)| Box::pin(watched.next_survey()))
            .collect();
        for survey in &mut surveys {
            survey.as_mut().enable();
        }
        async {
            for survey in surveys {
                survey.await;
            }
        }
    }

    /// Grows whenever counts from before no longer add up with counts from then on.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        let all = self.named.iter().chain(&self.others);
        all.map(|watched| watched.epoch() + lock(watched.endpoint.tenure()).changes())
            .sum()
    }

    /// Whether what was open before is known.
    #[must_use]
    pub fn is_seeded(&self) -> bool {
        self.shared().all(|(_, watched)| watched.is_seeded())
    }

    /// Asks for a survey of each, now.
    pub fn survey_soon(&self) {
        for (_, watched) in self.shared() {
            watched.survey_soon();
        }
    }

    /// Counts now: everything, and what a gauge of this kind claims.
    ///
    /// # Errors
    /// When a witness fails, or one of them is not seeded.
    pub fn count(&self, counted: Counted) -> Result<(Tally, Counts), WitnessError> {
        if !self.is_seeded() {
            // What was open before is not zero: it is unknown.
            return Err(WitnessError::Absent);
        }
        let (mut all, mut counts) = (Tally::default(), Counts::default());
        let mut unseen = Unseen::default();
        for (share, watched) in self.shared() {
            let count = watched.endpoint.count()?;
            let known = project(&count.tally, counted);
            counts = counts.plus(&match share {
                Share::Doubtful => known.all_doubtful(),
                Share::All | Share::Nothing => known,
            });
            all = all.plus(&count.tally);
            if let Some(moved) = count.moved {
                unseen.add(moved);
            }
        }
        let [at_least, at_most] = unseen.bounds();
        counts.doubtful_entered = counts.doubtful_entered.wrapping_add(at_most);
        counts.doubtful_left = counts.doubtful_left.wrapping_add(at_least);
        // After the counts: what was accepted until now is at least what was opened less these.
        counts.waiting = match counted {
            Counted::Accepted => self.counted_and_waiting()?,
            Counted::Established | Counted::Outgoing | Counted::Websocket => 0,
        };
        Ok((all, counts))
    }

    /// What is open and has sent bytes, as [`Endpoint::heard`] has it.
    ///
    /// # Errors
    /// When there is no complete dump, or the maps cannot be read.
    pub fn heard(&self) -> Result<Heard, WitnessError> {
        self.iter().try_fold(Heard::default(), |all, endpoint| {
            Ok(all.plus(endpoint.heard()?))
        })
    }

    /// The sockets that left ESTABLISHED and are not closed.
    ///
    /// # Errors
    /// When there is no complete dump, or the maps cannot be read.
    pub fn closing(&self, counted: Counted) -> Result<Closing, WitnessError> {
        let mut all = Closing::default();
        for (share, watched) in self.shared() {
            let mut closing = watched.endpoint.closing(counted)?;
            for socket in &mut closing.sockets {
                if let (Share::Doubtful, ClosingKind::Orphan(IsCounted::Yes)) = (share, socket.kind)
                {
                    socket.kind = ClosingKind::Orphan(IsCounted::Doubtful);
                }
            }
            all.sockets.append(&mut closing.sockets);
            all.are_too_few |= closing.are_too_few;
        }
        Ok(all)
    }

    /// What is to be told of those open sockets that are wanted, as [`Endpoint::details`] has them,
    /// each with how it counts.
    ///
    /// # Errors
    /// When there is no complete dump, or the maps cannot be read.
    pub fn details<T>(
        &self,
        is_wanted: impl Fn(&Entry) -> bool,
        tell: impl Fn(Share, &Entry, Option<&Socket>) -> T,
    ) -> Result<Vec<T>, WitnessError> {
        let mut told = Vec::new();
        for (share, watched) in self.shared() {
            let tell = |entry: &Entry, tracked: Option<&Socket>| tell(share, entry, tracked);
            told.append(&mut watched.endpoint.details(&is_wanted, tell)?);
        }
        Ok(told)
    }

    /// How many of those that are counted nobody has accepted. What waits at a Unix socket is not
    /// counted.
    fn counted_and_waiting(&self) -> Result<u64, WitnessError> {
        let endpoints = self.named.iter().map(|watched| &watched.endpoint);
        let over_tcp = endpoints.filter(|endpoint| endpoint.listen().tcp().is_some());
        Ok(Listeners::of(over_tcp)?.queue_length)
    }

    /// The listening sockets; keeps in mind who serves which address.
    ///
    /// # Errors
    /// When there is no complete dump.
    pub fn note_listeners(&self) -> Result<Listeners, WitnessError> {
        let mut listeners = Listeners::default();
        for watched in &self.named {
            listeners.add(&watched.endpoint, &watched.endpoint.note_listening()?);
        }
        for other in &self.others {
            match other.endpoint.note_listening() {
                // Its namespace is not there: it is within nothing.
                Err(WitnessError::Absent) => {}
                noted => drop(noted?),
            }
        }
        Ok(listeners)
    }

    /// How long those of the closed sockets lived that were surely the target's.
    #[must_use]
    pub fn durations(&self, read: impl Fn(u32) -> Option<Durations>) -> Option<Durations> {
        let mut sum = Durations::default();
        for (_, watched) in self.shared().filter(|(share, _)| *share == Share::All) {
            let one = read(watched.endpoint.index())?;
            for bucket in 0..DURATION_BUCKETS {
                sum.buckets[bucket] += one.buckets[bucket];
            }
            sum.sum_ns += one.sum_ns;
        }
        Some(sum)
    }
}

/// Whether an endpoint's address may be within what another one has on any address.
pub(super) fn may_be_within(one: &Watched, any: &Watched) -> bool {
    let (one, any) = (one.endpoint.listen(), any.endpoint.listen());
    let has_port = |one: TcpAddress, any: TcpAddress| {
        one.address.is_some() && any.address.is_none() && one.port == any.port
    };
    let addresses = one.address().zip(any.address());
    one.is_outgoing() == any.is_outgoing() && addresses.is_some_and(|(one, any)| has_port(one, any))
}
