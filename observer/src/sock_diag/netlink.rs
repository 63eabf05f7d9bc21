//! The netlink socket: one per network namespace. Blocking; the kernel answers at once.
//!
//! A socket on which anything went wrong is closed: what is left of its answer is never read as part
//! of the next one. The next dump opens another.

use std::{io, time::Duration};

use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};

use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::{
    filter,
    listed::Listed,
    unix::{self, Bound, UnixSocket},
    wire::{self, Entry, Ports, States, WireError},
};
use crate::netns::NetworkNamespace;

/// A dump failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// The socket failed.
    #[error("the netlink socket failed")]
    Io(#[from] io::Error),
    /// The answer was no dump.
    #[error("the answer is no sock_diag dump")]
    Wire(#[from] WireError),
}

/// The kernel fills at most 32 KiB per datagram of a dump: `netlink_recvmsg()`.
const DATAGRAM: usize = 32 * 1024;

/// Longest time for one datagram of an answer. The kernel makes it while it is asked for: it is late
/// only where something is wrong with it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lists sockets of one network namespace.
pub struct SockDiag {
    netns: NetworkNamespace,
    /// None after an error.
    socket: Option<Socket>,
    /// Requests so far, over all of its sockets.
    requests: u32,
    datagram: Vec<u8>,
}

impl SockDiag {
    /// Opens a netlink socket in a network namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered or the kernel has no `sock_diag`.
    pub fn open(netns: &NetworkNamespace) -> io::Result<Self> {
        let mut diag = Self::closed(netns);
        diag.socket = Some(diag.connect()?);
        Ok(diag)
    }

    /// One that opens its socket when it is used.
    #[must_use]
    pub fn closed(netns: &NetworkNamespace) -> Self {
        Self {
            netns: netns.clone(),
            socket: None,
            requests: 0,
            datagram: Vec::new(),
        }
    }

    fn connect(&self) -> io::Result<Socket> {
        self.netns.run(|| {
            let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
            socket.bind_auto()?;
            socket.connect(&NetlinkAddr::new(0, 0))?;
            set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
            Ok(socket)
        })
    }

    /// Lists the sockets with this local port in these states, each once, of both families, in the
    /// order of their cookies.
    ///
    /// It is no snapshot: a socket that comes or goes during the call may be in it or not.
    ///
    /// # Errors
    /// When the kernel does not answer with a complete dump.
    pub fn dump(&mut self, port: u16, states: States) -> Result<Vec<Entry>, DumpError> {
        let mut entries = Vec::new();
        self.ask(Ports::Local(&[port]), states, false, |entry| {
            entries.push(entry);
        })?;
        once(&mut entries, |entry| entry.cookie);
        Ok(entries)
    }

    /// The same with each socket's `tcp_info`, which costs more, and of each socket no more than is
    /// to be kept, with its cookie.
    ///
    /// # Errors
    /// When the kernel does not answer with a complete dump.
    pub fn dump_with_info<T>(
        &mut self,
        ports: Ports<'_>,
        states: States,
        mut keep: impl FnMut(&Entry) -> Option<T>,
    ) -> Result<Vec<(u64, T)>, DumpError> {
        let mut kept = Vec::new();
        self.ask(ports, states, true, |entry| {
            kept.extend(keep(&entry).map(|one| (entry.cookie, one)));
        })?;
        once(&mut kept, |one| one.0);
        Ok(kept)
    }

    /// The same of several local ports, sorted into as many lists as `owner` names by their places,
    /// without all that counting does not need: a service may have hundreds of thousands.
    ///
    /// # Errors
    /// When the kernel does not answer with a complete dump.
    pub fn list(
        &mut self,
        ports: &[u16],
        states: States,
        lists: usize,
        owner: impl Fn(&Entry) -> Option<usize>,
    ) -> Result<Vec<Vec<Listed>>, DumpError> {
        let mut listed = vec![Vec::new(); lists];
        let mut ports = ports.to_vec();
        ports.sort_unstable();
        ports.dedup();
        for ports in ports.chunks(filter::MAX_PORTS) {
            self.ask(Ports::Local(ports), states, false, |entry| {
                if let Some(list) = owner(&entry).and_then(|place| listed.get_mut(place)) {
                    list.push(Listed::from(&entry));
                }
            })?;
        }
        for list in &mut listed {
            once(list, |listed| listed.cookie);
        }
        Ok(listed)
    }

    /// The same of those whose peer has this port.
    ///
    /// # Errors
    /// When the kernel does not answer with a complete dump.
    pub fn list_to(
        &mut self,
        port: u16,
        states: States,
        is_wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Vec<Listed>, DumpError> {
        let mut listed = Vec::new();
        self.ask(Ports::Remote(port), states, false, |entry| {
            listed.extend(is_wanted(&entry).then(|| Listed::from(&entry)));
        })?;
        once(&mut listed, |listed| listed.cookie);
        Ok(listed)
    }

    /// The same of Unix sockets.
    ///
    /// # Errors
    /// When the kernel does not answer with a complete dump.
    pub fn unix(&mut self, bound: Bound<'_>, states: States) -> Result<Vec<UnixSocket>, DumpError> {
        self.requests = self.requests.wrapping_add(1);
        let request = unix::request(self.requests, states);
        let mut sockets = Vec::new();
        self.exchange(&request, unix::BY_FAMILY, |body| {
            let socket = unix::socket(body, bound)?;
            sockets.extend(socket.filter(|socket| states.has(socket.state)));
            Ok(())
        })?;
        once(&mut sockets, |socket| socket.cookie);
        Ok(sockets)
    }

    /// Hands over the sockets of a dump. One may be handed over twice: the kernel resumes a dump by
    /// bucket and position.
    fn ask(
        &mut self,
        ports: Ports<'_>,
        states: States,
        with_info: bool,
        mut each: impl FnMut(Entry),
    ) -> Result<(), DumpError> {
        self.requests = self.requests.wrapping_add(1);
        let request = wire::request(self.requests, ports, states, with_info);
        self.exchange(&request, wire::GET_SOCKETS, |body| {
            if let Some(entry) = wire::entry(body)? {
                each(entry);
            }
            Ok(())
        })
    }

    /// Sends a request, and hands over what is in each message of this kind of its answer.
    fn exchange(
        &mut self,
        request: &[u8],
        kind: u16,
        each: impl FnMut(&[u8]) -> Result<(), WireError>,
    ) -> Result<(), DumpError> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.connect()?,
        };
        self.receive(&socket, request, kind, each)?;
        self.socket = Some(socket);
        Ok(())
    }

    fn receive(
        &mut self,
        socket: &Socket,
        request: &[u8],
        kind: u16,
        mut each: impl FnMut(&[u8]) -> Result<(), WireError>,
    ) -> Result<(), DumpError> {
        self.datagram.resize(DATAGRAM, 0);
        socket.send(request, 0)?;
        loop {
            let received = socket.recv(&mut &mut self.datagram[..], libc::MSG_TRUNC);
            let length = received.map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
                _ => error,
            })?;
            // What did not fit is lost.
            let datagram = self.datagram.get(..length).ok_or(WireError::Malformed)?;
            if wire::bodies(datagram, self.requests, kind, &mut each)? {
                return Ok(());
            }
        }
    }
}

/// Puts what was listed into the order of its cookies, each once.
fn once<T>(listed: &mut Vec<T>, cookie: impl Fn(&T) -> u64) {
    listed.sort_unstable_by_key(&cookie);
    listed.dedup_by_key(|one| cookie(one));
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;
    use crate::config::Netns;

    fn sock_diag() -> SockDiag {
        let netns = NetworkNamespace::open(&Netns::SelfNs).expect("one's own");
        SockDiag::open(&netns).expect("sock_diag")
    }

    /// A listener and its connections, of which nobody has accepted any.
    fn connected(count: usize) -> (TcpListener, Vec<TcpStream>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
        rustix::net::listen(&listener, 1_024).expect("a longer queue");
        let address = listener.local_addr().expect("its address");
        let connect = |_| TcpStream::connect(address).expect("connect");
        let clients = (0..count).map(connect).collect();
        (listener, clients)
    }

    fn lengths(lists: &[Vec<Listed>]) -> Vec<usize> {
        lists.iter().map(Vec::len).collect()
    }

    fn port((listener, _): &(TcpListener, Vec<TcpStream>)) -> u16 {
        listener.local_addr().expect("its address").port()
    }

    #[test]
    fn what_is_left_of_an_answer_is_not_read_as_the_next_one() {
        // More than a datagram holds, by far.
        let many = connected(900);
        let few = connected(3);
        let mut diag = sock_diag();
        diag.requests += 1;
        let whole = wire::request(
            diag.requests,
            Ports::Local(&[port(&many)]),
            States::OPEN,
            false,
        );
        let socket = diag.socket.take().expect("it is open");
        let mut listed = 0;
        diag.datagram.resize(DATAGRAM, 0);
        socket.send(&whole, 0).expect("ask");
        let length = socket.recv(&mut &mut diag.datagram[..], 0).expect("answer");
        let first = wire::parse(&diag.datagram[..length], diag.requests, |_| listed += 1);
        assert!(
            !first.expect("a part") && listed > 0,
            "{listed} in one part"
        );
        // As it was left by a dump that failed in the middle.
        diag.socket = Some(socket);

        let refused = diag.dump(port(&few), States::OPEN);
        assert!(refused.is_err(), "{refused:?}");
        for _ in 0..2 {
            let entries = diag.dump(port(&few), States::OPEN).expect("a dump");
            let ports: Vec<_> = entries.iter().map(|entry| entry.local.port()).collect();
            assert_eq!(ports, [port(&few); 3]);
        }
        let all = diag.dump(port(&many), States::OPEN).expect("a dump");
        assert_eq!(all.len(), 900);
    }

    #[test]
    fn a_kernel_that_does_not_answer_is_an_error_and_the_next_dump_is_whole() {
        let few = connected(3);
        let mut diag = sock_diag();
        diag.requests += 1;
        let mut request = wire::request(
            diag.requests,
            Ports::Local(&[port(&few)]),
            States::OPEN,
            false,
        );
        // Without NLM_F_REQUEST the kernel answers nothing at all.
        request[6] = 0;
        let began = std::time::Instant::now();
        let silent = diag.exchange(&request, wire::GET_SOCKETS, |_| Ok(()));
        let Err(DumpError::Io(error)) = silent else {
            panic!("{silent:?}")
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= PATIENCE);
        let entries = diag.dump(port(&few), States::OPEN).expect("a dump");
        assert_eq!(entries.len(), 3);
    }

    #[test]
    fn the_kernel_lists_several_ports_in_one_dump_and_none_of_the_others() {
        let groups = [1, 2, 3, 4].map(connected);
        let mut diag = sock_diag();
        let wanted = [port(&groups[3]), port(&groups[0]), port(&groups[2])];
        let owner = |entry: &Entry| wanted.iter().position(|port| *port == entry.local.port());
        let lists = diag.list(&wanted, States::OPEN, 3, owner).expect("a dump");
        assert_eq!(lengths(&lists), [4, 1, 3]);
        let one = diag
            .list(&wanted[..1], States::OPEN, 3, owner)
            .expect("a dump");
        assert_eq!(lengths(&one), [4, 0, 0]);
        // More than one filter takes; a port more or less changes nothing.
        let all: Vec<u16> = (1_024..u16::MAX).collect();
        let lists = diag.list(&all, States::OPEN, 3, owner).expect("dumps");
        assert_eq!(lengths(&lists), [4, 1, 3]);
    }
}
