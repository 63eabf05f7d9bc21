//! What `sock_diag` lists of an endpoint: its open sockets, those that are closing, its listeners.
//!
//! It knows which socket is the endpoint's, and nothing of what the programs count, save that it
//! says where they were shown too little.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use observer_ebpf::Socket;
use rustix::fs::{major, minor, stat};

use super::{
    counted::is_in_most,
    endpoint::{Endpoint, WitnessError},
    lock,
    place::Place,
    tenure::Server,
};
use crate::{
    check::{ClosingKind, ClosingSocket, IsCounted},
    config::{Counts as Counted, Listen, TcpAddress, UnixName},
    sock_diag::{Bound, Entry, Holder, Listed, Ports, SockDiag, States, UnixSocket, VfsId},
};

/// The sockets that are closing, as `sock_diag` lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closing {
    /// Each of them.
    pub sockets: Vec<ClosingSocket>,
    /// Fewer than those that, by the counts, were closing before the dump and after it: some have
    /// closed, and the programs were not shown it.
    pub are_too_few: bool,
}

/// A listening socket.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    cookie: u64,
    queue_length: u32,
    queue_limit: u32,
}

impl From<&Entry> for Listener {
    fn from(entry: &Entry) -> Self {
        Self {
            cookie: entry.cookie,
            queue_length: entry.recv_queue,
            queue_limit: entry.send_queue,
        }
    }
}

impl From<&UnixSocket> for Listener {
    fn from(socket: &UnixSocket) -> Self {
        Self {
            cookie: socket.cookie,
            queue_length: socket.queue_length,
            queue_limit: socket.queue_limit,
        }
    }
}

/// What the listening sockets of some endpoints show together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listeners {
    /// Their cookies, in order: others after a restart.
    pub cookies: Vec<u64>,
    /// Connections that nobody has accepted yet.
    pub queue_length: u64,
    /// How many may wait.
    pub queue_limit: u64,
    /// Addresses of the endpoints that the host does not have.
    pub absent_addresses: Vec<IpAddr>,
}

impl Listeners {
    /// Those of all of these.
    ///
    /// # Errors
    /// When there is no complete dump.
    pub fn of<'a>(endpoints: impl IntoIterator<Item = &'a Endpoint>) -> Result<Self, WitnessError> {
        let mut listeners = Self::default();
        for endpoint in endpoints {
            listeners.add(endpoint, &endpoint.listening()?);
        }
        Ok(listeners)
    }

    /// Takes in the listening sockets of one endpoint more. One may serve several.
    pub(super) fn add(&mut self, endpoint: &Endpoint, sockets: &[Listener]) {
        for socket in sockets {
            let Err(place) = self.cookies.binary_search(&socket.cookie) else {
                continue;
            };
            self.cookies.insert(place, socket.cookie);
            self.queue_length += u64::from(socket.queue_length);
            self.queue_limit += u64::from(socket.queue_limit);
        }
        self.absent_addresses.extend(endpoint.absent_address());
    }
}

impl Endpoint {
    /// The open sockets, as `sock_diag` lists them, in the order of their cookies.
    ///
    /// # Errors
    /// When there is no complete dump.
    pub fn open_sockets(&self) -> Result<Vec<Listed>, WitnessError> {
        self.list(States::OPEN)
    }

    /// The sockets that left ESTABLISHED and are not closed, as a gauge of this kind has them.
    ///
    /// # Errors
    /// When there is no complete dump, or the maps cannot be read.
    pub fn closing(&self, counted: Counted) -> Result<Closing, WitnessError> {
        let before = self.tally()?;
        if before.left == before.closed {
            return Ok(Closing::default());
        }
        let listed = self.list(States::CLOSING)?;
        // Without programs the counts are those of an earlier dump.
        let open = match self.probe() {
            Some(_) => before.left.wrapping_sub(self.tally()?.closed).cast_signed(),
            None => 0,
        };
        let are_too_few = open > listed.len() as i64;
        let sockets = listed.iter().map(|socket| {
            let kind = match socket.holder {
                Holder::Process => ClosingKind::Held,
                Holder::AcceptQueue => ClosingKind::Unaccepted,
                Holder::Kernel => ClosingKind::Orphan(self.is_in_most(socket.cookie, counted)?),
            };
            let cookie = socket.cookie;
            Ok(ClosingSocket { cookie, kind })
        });
        Ok(Closing {
            sockets: sockets.collect::<Result<_, WitnessError>>()?,
            are_too_few,
        })
    }

    /// Whether the counts have an open socket among the most that such a gauge can say.
    fn is_in_most(&self, cookie: u64, counted: Counted) -> Result<IsCounted, WitnessError> {
        let Some(probe) = self.probe() else {
            // What was listed is counted.
            return Ok(IsCounted::Yes);
        };
        let tracked = probe.sockets().get(cookie)?;
        Ok(tracked.map_or(IsCounted::No, |socket| is_in_most(&socket, counted)))
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
            if !self.owns(entry, &place, &others) || !is_wanted(entry) {
                return None;
            }
            let tracked = self.probe().map(|probe| probe.sockets().get(entry.cookie));
            let tracked = tracked.transpose().unwrap_or_else(|error| {
                failure = Some(error);
                None
            });
            Some(tell(entry, tracked.flatten().as_ref()))
        };
        let port;
        let ports = match self.listen() {
            Listen::Tcp(address) => {
                port = [address.port];
                Ports::Local(&port)
            }
            Listen::Outgoing(address) => Ports::Remote(address.port),
            // Of these the kernel tells no more than that they are there.
            Listen::Unix(_) => return Ok(Vec::new()),
        };
        let told = lock(&place.details).dump_with_info(ports, States::OPEN, keep)?;
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(told.into_iter().map(|(_, told)| told).collect()),
        }
    }

    /// The listening sockets that serve it, and whether they are its own.
    ///
    /// An address is served by those of its own, and where there is none, by those of any address of
    /// its family; one that the host does not have, by none of these.
    fn serving(&self) -> Result<(Option<Server>, Vec<Listener>), WitnessError> {
        let place = self.place()?;
        let TcpAddress { address, port } = match self.listen() {
            Listen::Tcp(address) => *address,
            Listen::Unix(name) => {
                let listening = lock(&place.listeners).unix(bound(name), States::LISTEN)?;
                return Ok((None, listening.iter().map(Listener::from).collect()));
            }
            // Who listens there may be on another host.
            Listen::Outgoing(_) => return Ok((None, Vec::new())),
        };
        let all = lock(&place.listeners).dump(port, States::LISTEN)?;
        let listeners = |of: &dyn Fn(&Entry) -> bool| -> Vec<Listener> {
            let those = all.iter().filter(|entry| of(entry));
            those.map(Listener::from).collect()
        };
        let Some(address) = address else {
            let others = self.others(&place);
            let own = listeners(&|entry| !others.contains(&entry.local.ip()));
            return Ok((None, own));
        };
        let own = listeners(&|entry| entry.local.ip() == address);
        if !own.is_empty() {
            return Ok((Some(Server::Own), own));
        }
        let serves = |entry: &Entry| {
            let (any, is_absent) = (entry.local.ip(), self.absent_address().is_some());
            let has_family =
                any.is_ipv4() == address.is_ipv4() || address.is_ipv4() && !entry.is_v6_only;
            any.is_unspecified() && has_family && !is_absent
        };
        let any = listeners(&serves);
        Ok(((!any.is_empty()).then_some(Server::Any), any))
    }

    /// The listening sockets that serve it.
    ///
    /// # Errors
    /// When there is no complete dump.
    pub fn listening(&self) -> Result<Vec<Listener>, WitnessError> {
        Ok(self.serving()?.1)
    }

    /// The same, and keeps in mind who serves it.
    pub(super) fn note_listening(&self) -> Result<Vec<Listener>, WitnessError> {
        // What two threads see is noted in the order in which they see it.
        let mut tenure = lock(self.tenure());
        let (server, sockets) = self.serving()?;
        tenure.note(server, || {
            let open = self.open_sockets()?;
            Ok::<_, WitnessError>(open.iter().map(|socket| socket.cookie).collect())
        })?;
        Ok(sockets)
    }

    fn list(&self, states: States) -> Result<Vec<Listed>, WitnessError> {
        let place = self.place()?;
        let mut lists = list(&mut lock(&place.connections), &[self], states)?;
        Ok(lists.pop().unwrap_or_default())
    }

    /// Whether a socket is the endpoint's, as the programs have it: its local address before its
    /// peer's, one address before any, and nobody has those of the peers that are left out.
    fn owns(&self, entry: &Entry, place: &Place, others: &[IpAddr]) -> bool {
        let is_at = |address: &TcpAddress, socket: &SocketAddr| {
            address.is_of(socket) && !others.contains(&socket.ip())
        };
        let is_own = match self.listen() {
            Listen::Tcp(address) => is_at(address, &entry.local),
            Listen::Outgoing(address) => {
                is_at(address, &entry.peer) && !self.is_local_to_another(place, entry.local)
            }
            Listen::Unix(_) => false,
        };
        is_own && !self.ignores(entry.peer.ip())
    }
}

/// The sockets of several endpoints of one network namespace in these states, in one dump; for each
/// endpoint in the order of their cookies.
///
/// # Errors
/// When there is no complete dump, or one of them is nowhere now.
pub(super) fn list(
    diag: &mut SockDiag,
    endpoints: &[&Endpoint],
    states: States,
) -> Result<Vec<Vec<Listed>>, WitnessError> {
    let locate = |endpoint: &&Endpoint| {
        let place = endpoint.place()?;
        let others = endpoint.others(&place);
        Ok::<_, WitnessError>((place, others))
    };
    let located: Vec<_> = endpoints.iter().map(locate).collect::<Result<_, _>>()?;
    let owns = |number: usize, entry: &Entry| {
        let (place, others) = &located[number];
        endpoints[number].owns(entry, place, others)
    };
    let mut lists = vec![Vec::new(); endpoints.len()];
    let mut by_port: HashMap<u16, Vec<usize>> = HashMap::new();
    for (number, (endpoint, list)) in endpoints.iter().zip(&mut lists).enumerate() {
        match endpoint.listen() {
            Listen::Tcp(address) => by_port.entry(address.port).or_default().push(number),
            Listen::Outgoing(to) => {
                *list = diag.list_to(to.port, states, |entry| owns(number, entry))?;
            }
            Listen::Unix(name) => {
                let sockets = diag.unix(bound(name), states)?;
                *list = sockets.iter().map(Listed::from).collect();
            }
        }
    }
    let owner = |entry: &Entry| {
        let of_port = by_port.get(&entry.local.port())?;
        of_port.iter().copied().find(|number| owns(*number, entry))
    };
    let ports: Vec<u16> = by_port.keys().copied().collect();
    let of_ports = diag.list(&ports, states, endpoints.len(), owner)?;
    for (list, of_port) in lists.iter_mut().zip(of_ports) {
        list.extend(of_port);
    }
    Ok(lists)
}

/// A name of a Unix socket, with the file that it is here.
fn bound(name: &UnixName) -> Bound<'_> {
    let file = name.path().and_then(|path| stat(path).ok());
    Bound {
        name: name.bytes(),
        file: file.map(|file| VfsId {
            inode: file.st_ino as u32,
            device: major(file.st_dev) << 20 | minor(file.st_dev),
        }),
    }
}
