//! Which sockets a drift is likely about: the service's own list held against the kernel's.
//!
//! Pure, and sound under churn: of a service that enters and strikes each connection within
//! `settle` of the kernel no socket is ever called phantom or uncounted. Whoever calls takes the
//! lists in this order, with at least `settle` between two:
//!
//! 1. the service's, earlier;
//! 2. the kernel's, earlier;
//! 3. the service's, later;
//! 4. the kernel's, later.
//!
//! A connection that the service lists both at 1 and at 3 was open at 2. A socket that the kernel
//! has both at 2 and at 4 is to be listed at 3. What came or went meanwhile is in neither.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    net::SocketAddr,
    time::Duration,
};

use crate::claim::Listed;

/// Whether a socket is of the kind that the gauge counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsCounted {
    /// It is, and no sign of its end was seen.
    Yes,
    /// It is not.
    No,
    /// It may be, or has begun to end: nothing is held against anybody.
    Doubtful,
}

/// One socket of the kernel's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The kernel's number for it.
    pub cookie: u64,
    /// The peer; an IPv4-mapped address as IPv4.
    pub peer: SocketAddr,
    /// Whether the gauge counts it.
    pub is_counted: IsCounted,
    /// Whether it is closing, and the service has not closed it.
    pub is_held: bool,
    /// Whether the service has accepted it.
    pub is_accepted: bool,
    /// Whether it has sent anything: before that, no handshake of a protocol is done.
    pub is_answered: bool,
    /// Its class, where one is known.
    pub class: Option<&'static str>,
    /// Its TCP state, as `ss` names it.
    pub state: &'static str,
    /// Since it was opened; unknown for a socket that is older than the observer.
    pub age: Option<Duration>,
    /// Since anything came from the peer.
    pub silence: Option<Duration>,
}

/// Why a socket is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The service lists it, and the kernel does not have it, or not of the kind that is counted.
    Phantom,
    /// The kernel has it, and the service does not list it.
    Uncounted,
    /// It left ESTABLISHED more than `settle` ago, and the service has not closed it: the peer has
    /// gone.
    Held,
    /// The kernel has it, and the service has not accepted it for more than `settle`.
    Unaccepted,
    /// The service has not sent anything for more than `settle`: the protocol's own handshake is not
    /// done, and a gauge that counts from its end lacks it.
    Unanswered,
    /// Nothing came from its peer for long: it may be gone.
    Silent,
}

impl Kind {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 6] = [
        Self::Phantom,
        Self::Uncounted,
        Self::Held,
        Self::Unaccepted,
        Self::Unanswered,
        Self::Silent,
    ];

    /// Its name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Phantom => "phantom",
            Self::Uncounted => "uncounted",
            Self::Held => "held",
            Self::Unaccepted => "unaccepted",
            Self::Unanswered => "unanswered",
            Self::Silent => "silent",
        }
    }
}

/// One suspected socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Why.
    pub kind: Kind,
    /// The peer.
    pub peer: SocketAddr,
    /// Its class, where the kernel has it and one is known.
    pub class: Option<&'static str>,
    /// Its TCP state, where the kernel has it.
    pub state: Option<&'static str>,
    /// How old it is: by the kernel, or by the service where only that has it.
    pub age: Option<Duration>,
    /// Since anything came from the peer.
    pub silence: Option<Duration>,
}

/// Where suspects are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The service's list, held against the kernel's.
    Connections,
    /// The kernel alone.
    Kernel,
}

impl Source {
    /// Its name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Kernel => "kernel",
        }
    }
}

/// The suspects: all counted, the first of them listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspects {
    /// Where they are from.
    pub source: Source,
    /// How many of each kind, in the order of [`Kind::ALL`].
    pub counts: [usize; Kind::ALL.len()],
    /// By kind, the oldest first; at most [`Suspects::MOST`].
    pub list: Vec<Suspect>,
    /// Why the service's list was of no use, where it has one.
    pub failure: Option<String>,
}

impl Suspects {
    /// Most that are listed.
    pub const MOST: usize = 100;

    /// Those of a service that lists its connections. See the module for the order of the lists.
    #[must_use]
    pub fn between(listed: [&[Listed]; 2], seen: [&[Seen]; 2]) -> Self {
        let [listed_earlier, listed_later] = listed;
        let [seen_earlier, seen_later] = seen;
        let mut suspects = Vec::new();
        phantoms(listed, seen, &mut suspects);

        let peers: HashSet<SocketAddr> = [listed_earlier, listed_later]
            .into_iter()
            .flatten()
            .map(|listed| listed.peer)
            .collect();
        for (was, is) in twice(seen_earlier, seen_later) {
            let is_counted = [was, is].map(|seen| seen.is_counted) == [IsCounted::Yes; 2];
            if was.is_held && is.is_held {
                suspects.push(is.suspect(Kind::Held));
            } else if is_counted && !peers.contains(&is.peer) {
                let kind = if was.is_accepted || is.is_accepted {
                    Kind::Uncounted
                } else {
                    Kind::Unaccepted
                };
                suspects.push(is.suspect(kind));
            }
        }
        Self::of(Source::Connections, suspects)
    }

    /// The kernel's own candidates, of two lists with at least `settle` between them. A counted
    /// socket is silent when nothing came from its peer for `silent_after`: of that the later list
    /// tells by itself. One that was not answered is a candidate only where the gauge lacks some.
    #[must_use]
    pub fn of_kernel(
        earlier: &[Seen],
        later: &[Seen],
        silent_after: Duration,
        is_under: bool,
    ) -> Self {
        let before: HashMap<u64, &Seen> = earlier.iter().map(|seen| (seen.cookie, seen)).collect();
        let mut suspects = Vec::new();
        for is in later {
            let was = before.get(&is.cookie);
            let is_counted = is.is_counted == IsCounted::Yes;
            let is_silent = is.silence.is_some_and(|silence| silence > silent_after);
            if is.is_held && was.is_some_and(|was| was.is_held) {
                suspects.push(is.suspect(Kind::Held));
            } else if is_counted && !is.is_accepted && was.is_some_and(|was| !was.is_accepted) {
                suspects.push(is.suspect(Kind::Unaccepted));
            } else if is_under && is_counted && !is.is_answered && was.is_some() {
                suspects.push(is.suspect(Kind::Unanswered));
            } else if is_counted && is_silent {
                suspects.push(is.suspect(Kind::Silent));
            }
        }
        Self::of(Source::Kernel, suspects)
    }

    fn of(source: Source, mut list: Vec<Suspect>) -> Self {
        let counts = Kind::ALL.map(|kind| list.iter().filter(|it| it.kind == kind).count());
        // What is older than the observer is of unknown age, and the oldest.
        let age = |suspect: &Suspect| suspect.age.unwrap_or(Duration::MAX);
        list.sort_unstable_by_key(|it| (it.kind, Reverse(age(it)), it.peer));
        list.truncate(Self::MOST);
        list.shrink_to_fit();
        Self {
            source,
            counts,
            list,
            failure: None,
        }
    }

    /// How many there are, listed or not.
    #[must_use]
    pub fn total(&self) -> usize {
        self.counts.iter().sum()
    }

    /// How many there are of one kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.counts[kind as usize]
    }
}

/// What the service lists twice and the kernel does not have, each once.
fn phantoms(listed: [&[Listed]; 2], seen: [&[Seen]; 2], suspects: &mut Vec<Suspect>) {
    let [listed_earlier, listed_later] = listed;
    // Of several sockets of one peer, on several addresses of the service, one that may be counted
    // excuses all.
    let mut known: HashMap<SocketAddr, &Seen> = HashMap::new();
    for seen in seen.into_iter().flatten() {
        let kept = known.entry(seen.peer).or_insert(seen);
        if seen.is_counted != IsCounted::No {
            *kept = seen;
        }
    }
    let before: HashSet<(SocketAddr, u64)> = listed_earlier
        .iter()
        .map(|listed| (listed.peer, listed.identity))
        .collect();
    let mut named = HashSet::new();
    for listed in listed_later {
        let socket = known.get(&listed.peer);
        let is_there = socket.is_some_and(|seen| seen.is_counted != IsCounted::No);
        let key = (listed.peer, listed.identity);
        if is_there || !before.contains(&key) || !named.insert(key) {
            continue;
        }
        suspects.push(Suspect {
            kind: Kind::Phantom,
            peer: listed.peer,
            class: socket.and_then(|seen| seen.class),
            state: socket.map(|seen| seen.state),
            age: listed.age,
            silence: socket.and_then(|seen| seen.silence),
        });
    }
}

/// The sockets that both lists have.
fn twice<'a>(earlier: &'a [Seen], later: &'a [Seen]) -> impl Iterator<Item = (&'a Seen, &'a Seen)> {
    let before: HashMap<u64, &Seen> = earlier.iter().map(|seen| (seen.cookie, seen)).collect();
    later
        .iter()
        .filter_map(move |is| Some((*before.get(&is.cookie)?, is)))
}

impl Seen {
    const fn suspect(&self, kind: Kind) -> Suspect {
        Suspect {
            kind,
            peer: self.peer,
            class: self.class,
            state: Some(self.state),
            age: self.age,
            silence: self.silence,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    const SETTLE: i64 = 1_000;
    const SILENT: Duration = Duration::from_secs(60);

    fn peer(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    fn listed(port: u16) -> Listed {
        Listed {
            peer: peer(port),
            identity: port.into(),
            age: None,
        }
    }

    fn seen(port: u16) -> Seen {
        Seen {
            cookie: port.into(),
            peer: peer(port),
            is_counted: IsCounted::Yes,
            is_held: false,
            is_accepted: true,
            is_answered: true,
            class: Some("websocket"),
            state: "ESTAB",
            age: None,
            silence: Some(Duration::ZERO),
        }
    }

    fn closing(port: u16) -> Seen {
        Seen {
            is_counted: IsCounted::Doubtful,
            is_held: true,
            state: "CLOSE-WAIT",
            ..seen(port)
        }
    }

    fn found(suspects: &Suspects) -> Vec<(Kind, u16)> {
        let list = suspects.list.iter();
        list.map(|suspect| (suspect.kind, suspect.peer.port()))
            .collect()
    }

    fn check(listed: [&[Listed]; 2], seen: [&[Seen]; 2], expected: &[(Kind, u16)]) {
        let suspects = Suspects::between(listed, seen);
        assert_eq!(found(&suspects), expected);
        assert_eq!(suspects.total(), expected.len());
    }

    #[test]
    fn what_only_one_side_has_twice_is_suspected() {
        let list = [listed(1), listed(2), listed(3)];
        let kernel = [seen(2), seen(3), seen(4)];
        let both = [(Kind::Phantom, 1), (Kind::Uncounted, 4)];
        check([&list; 2], [&kernel; 2], &both);
        // What one of the lists lacks came or went meanwhile.
        check([&list[1..], &list], [&kernel; 2], &[(Kind::Uncounted, 4)]);
        check([&list, &list[1..]], [&kernel; 2], &[(Kind::Uncounted, 4)]);
        check([&list; 2], [&kernel[..2], &kernel], &[(Kind::Phantom, 1)]);
        check([&list; 2], [&kernel, &kernel[..2]], &[(Kind::Phantom, 1)]);
    }

    #[test]
    fn a_connection_that_is_listed_thrice_is_one_and_another_one_of_its_peer_is_not_it() {
        let twice = [listed(1), listed(1), listed(1)];
        check([&twice; 2], [&[]; 2], &[(Kind::Phantom, 1)]);
        let next = Listed {
            identity: 9,
            ..listed(1)
        };
        check([&[listed(1)], &[next]], [&[]; 2], &[]);
    }

    #[test]
    fn a_socket_of_another_kind_is_a_phantom_and_a_doubtful_one_is_nothing() {
        let http = Seen {
            is_counted: IsCounted::No,
            class: Some("http"),
            ..seen(1)
        };
        let doubtful = Seen {
            is_counted: IsCounted::Doubtful,
            ..seen(2)
        };
        let list = [listed(1), listed(2)];
        let phantom = Suspects::between([&list; 2], [&[http, doubtful]; 2]);
        assert_eq!(found(&phantom), [(Kind::Phantom, 1)]);
        assert_eq!(phantom.list[0].class, Some("http"));
        check([&[]; 2], [&[http, doubtful]; 2], &[]);
        // It became one meanwhile.
        check([&list; 2], [&[http, doubtful], &[seen(1), doubtful]], &[]);
    }

    #[test]
    fn the_kernel_alone_names_what_is_held_what_waits_and_what_is_silent() {
        let waiting = Seen {
            is_accepted: false,
            ..seen(2)
        };
        let silent = Seen {
            silence: Some(SILENT * 2),
            ..seen(3)
        };
        let idle = Seen {
            is_counted: IsCounted::No,
            ..silent
        };
        let all = [closing(1), waiting, silent, Seen { cookie: 4, ..idle }];
        let suspects = Suspects::of_kernel(&all, &all, SILENT, false);
        let expected = [(Kind::Held, 1), (Kind::Unaccepted, 2), (Kind::Silent, 3)];
        assert_eq!(found(&suspects), expected);
        // Not for as long as `settle`: it was in order at the first look.
        let earlier = [seen(1), seen(2)];
        let suspects = Suspects::of_kernel(&earlier, &all[..2], SILENT, false);
        assert_eq!(found(&suspects), []);
        // Silence is as long as it is, whenever it was looked at.
        let suspects = Suspects::of_kernel(&[], &all, SILENT, false);
        assert_eq!(found(&suspects), [(Kind::Silent, 3)]);
    }

    #[test]
    fn what_the_service_has_not_answered_is_suspected_where_its_gauge_lacks_some() {
        let mute = Seen {
            is_answered: false,
            ..seen(1)
        };
        let all = [mute, seen(2)];
        let suspects = Suspects::of_kernel(&all, &all, SILENT, true);
        assert_eq!(found(&suspects), [(Kind::Unanswered, 1)]);
        let suspects = Suspects::of_kernel(&all, &all, SILENT, false);
        assert_eq!(found(&suspects), []);
        // It has just come.
        let suspects = Suspects::of_kernel(&all[1..], &all, SILENT, true);
        assert_eq!(found(&suspects), []);
    }

    #[test]
    fn what_the_service_has_closed_is_not_held_and_if_it_lists_it_a_phantom() {
        let orphan = Seen {
            is_counted: IsCounted::No,
            is_held: false,
            ..closing(1)
        };
        let list = [listed(1)];
        check([&list; 2], [&[orphan]; 2], &[(Kind::Phantom, 1)]);
        check([&[]; 2], [&[orphan]; 2], &[]);
        // It was closed after the service had listed it.
        check([&list; 2], [&[closing(1)], &[orphan]], &[]);
        let suspects = Suspects::of_kernel(&[orphan], &[orphan], SILENT, false);
        assert_eq!(found(&suspects), []);
    }

    #[test]
    fn all_are_counted_the_oldest_listed() {
        let list: Vec<Listed> = (1..=300)
            .map(|port| Listed {
                age: (port > 200).then(|| Duration::from_secs(port.into())),
                ..listed(port)
            })
            .collect();
        let suspects = Suspects::between([&list; 2], [&[]; 2]);
        assert_eq!((suspects.total(), suspects.list.len()), (300, 100));
        assert_eq!(suspects.count(Kind::Phantom), 300);
        assert!(suspects.list.iter().all(|suspect| suspect.age.is_none()));
    }

    /// A connection: when the kernel had it, and when the service listed it.
    #[derive(Clone, Debug)]
    struct Connection {
        open: (i64, i64),
        listed: (i64, i64),
    }

    fn connection() -> impl Strategy<Value = Connection> {
        let moved = -SETTLE..=SETTLE;
        (-10_000..10_000_i64, 0..8_000_i64, moved.clone(), moved).prop_map(
            |(opened, life, early, late)| {
                let (open, entered) = ((opened, opened + life), opened + early);
                let struck = (open.1 + late).max(entered);
                Connection {
                    open,
                    listed: (entered, struck),
                }
            },
        )
    }

    fn at<T>(
        moment: i64,
        all: &[Connection],
        of: fn(&Connection) -> (i64, i64),
        make: fn(u16) -> T,
    ) -> Vec<T> {
        let has = |connection: &Connection| {
            let (from, to) = of(connection);
            from <= moment && moment < to
        };
        (1..)
            .zip(all)
            .filter(|(_, connection)| has(connection))
            .map(|(port, _)| make(port))
            .collect()
    }

    proptest! {
        /// Whatever comes and goes, a service that enters and strikes within ± settle is never
        /// accused; one that lists what never was, and lacks what was all the time, always is.
        #[test]
        fn only_who_lies_is_accused(
            honest in vec(connection(), 0..40),
            paces in vec(SETTLE + 1..SETTLE * 2, 3),
        ) {
            let mut moments = vec![0];
            for pace in paces {
                moments.push(moments[moments.len() - 1] + pace);
            }
            let list = |moment| at(moment, &honest, |it| it.listed, listed);
            let kernel = |moment| at(moment, &honest, |it| it.open, seen);
            let mut lists = [list(moments[0]), list(moments[2])];
            let mut kernels = [kernel(moments[1]), kernel(moments[3])];
            let honest = Suspects::between([&lists[0], &lists[1]], [&kernels[0], &kernels[1]]);
            prop_assert_eq!(found(&honest), vec![]);
            for list in &mut lists {
                list.push(listed(1_000));
            }
            for kernel in &mut kernels {
                kernel.push(seen(2_000));
            }
            let lying = Suspects::between([&lists[0], &lists[1]], [&kernels[0], &kernels[1]]);
            let expected = vec![(Kind::Phantom, 1_000), (Kind::Uncounted, 2_000)];
            prop_assert_eq!(found(&lying), expected);
        }
    }
}
