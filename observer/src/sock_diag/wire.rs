//! `sock_diag` messages: what is asked and what is answered. Pure.
//!
//! A dump is asked for by the message of `inet_diag`'s first version. The kernel answers it for both
//! families in one walk of its table; the second version (`SOCK_DIAG_BY_FAMILY`, as in sock_diag(7))
//! takes a walk for each, and the walk is what a dump costs on a quiet host.
//!
//! Sources: `include/uapi/linux/netlink.h`, `include/uapi/linux/inet_diag.h`,
//! `inet_diag_dump_compat()` of `net/ipv4/inet_diag.c`.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use observer_ebpf::TCP_ESTABLISHED;

use super::{filter, listed::Holder};

/// An answer that cannot be understood, or that is a refusal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The kernel sent something that is no netlink message, or no whole one.
    #[error("not a sock_diag message")]
    Malformed,
    /// The kernel refused the request; with [`io::ErrorKind::NotFound`] where nobody in it knows it.
    #[error("the kernel refused the dump{}", missing_module(.0))]
    Refused(#[source] io::Error),
    /// The answer to another request.
    #[error("the answer belongs to another request")]
    Unrelated,
    /// What was listed changed meanwhile in a way that the kernel cannot make up for.
    #[error("the kernel's list changed while it was read: it may lack sockets")]
    Interrupted,
}

/// What to do where the kernel finds nobody to answer: `sock_diag_lock_handler()` has loaded the module then,
/// if there is one and it may be loaded.
fn missing_module(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            " (a module is missing: `modprobe tcp_diag`, `modprobe unix_diag`)"
        }
        _ => "",
    }
}

/// Bytes of `struct nlmsghdr`.
pub(super) const NETLINK_HEADER: usize = 16;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
/// `NLM_F_DUMP_INTR`: the list is not consistent.
const INTERRUPTED: u16 = 0x10;
/// `TCPDIAG_GETSOCK`: the request, and each socket of the answer.
pub(super) const GET_SOCKETS: u16 = 18;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x1 | 0x300;
/// Bytes of `struct inet_diag_req`.
const REQUEST: usize = 60;
/// Bytes of `struct inet_diag_msg`, behind which attributes follow.
const MESSAGE: usize = 72;
/// `INET_DIAG_REQ_BYTECODE`: the attribute of a request that is the filter's code.
const BYTECODE: u16 = 1;
/// `INET_DIAG_INFO`: the attribute that is a `struct tcp_info`.
const TCP_INFO: u16 = 2;
/// `INET_DIAG_SKV6ONLY`: the attribute of a listening IPv6 socket that is one byte, 1 if it serves no
/// IPv4.
const V6_ONLY: u16 = 11;
/// `idiag_timer` of a mini socket in TIME_WAIT.
const TIME_WAIT_TIMER: u8 = 3;
/// `AF_INET`.
const INET: u8 = 2;

// States of `include/net/tcp_states.h`.
const FIN_WAIT1: u8 = 4;
const FIN_WAIT2: u8 = 5;
pub(super) const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const CLOSING: u8 = 11;

/// A set of TCP states: bit `1 << state`, as in `inet_diag_req_v2.idiag_states`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct States(u32);

impl States {
    /// `TCP_LISTEN` of `include/net/tcp_states.h`.
    pub const LISTEN: Self = Self(1 << 10);
    /// What follows ESTABLISHED. No TIME_WAIT: its socket is gone.
    pub const CLOSING: Self =
        Self(1 << FIN_WAIT1 | 1 << FIN_WAIT2 | 1 << CLOSE_WAIT | 1 << LAST_ACK | 1 << CLOSING);
    /// Open sockets: ESTABLISHED and what follows it.
    pub const OPEN: Self = Self(1 << TCP_ESTABLISHED | Self::CLOSING.0);

    /// Whether a state is one of these.
    pub(super) const fn has(self, state: u8) -> bool {
        self.0 >> state & 1 == 1
    }

    /// Those that the kernel has for Unix sockets: what is closing is ESTABLISHED there.
    pub(super) const fn asked_of_unix(self) -> u32 {
        match self.0 & Self::OPEN.0 {
            0 => self.0,
            _ => self.0 | 1 << TCP_ESTABLISHED,
        }
    }
}

/// Which TCP sockets a dump is of.
#[derive(Clone, Copy, Debug)]
pub enum Ports<'a> {
    /// Those with one of these local ports, which are in order, each once, as many as a filter holds;
    /// where there are none, all.
    Local(&'a [u16]),
    /// Those whose peer has this port.
    Remote(u16),
}

/// A TCP state by the name that `ss` has for it.
#[must_use]
pub fn state_name(state: u8) -> &'static str {
    match state {
        1 => "ESTAB",
        2 => "SYN-SENT",
        3 => "SYN-RECV",
        4 => "FIN-WAIT-1",
        5 => "FIN-WAIT-2",
        6 => "TIME-WAIT",
        8 => "CLOSE-WAIT",
        9 => "LAST-ACK",
        10 => "LISTEN",
        11 => "CLOSING",
        _ => "UNCONN",
    }
}

impl Entry {
    /// Who has it.
    ///
    /// Only a close by the service's side leads to FIN_WAIT1, FIN_WAIT2, CLOSING and LAST_ACK, and
    /// what waits in the accept queue is closed by nobody: without a file, these states are those of
    /// an orphan. A service that has only shut down its half still has the file.
    #[must_use]
    pub const fn holder(&self) -> Holder {
        match (self.inode, self.state) {
            (0, FIN_WAIT1 | FIN_WAIT2 | LAST_ACK | CLOSING) => Holder::Kernel,
            (0, _) => Holder::AcceptQueue,
            _ => Holder::Process,
        }
    }
}

/// One socket of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The socket cookie: the same that the BPF programs have for it.
    pub cookie: u64,
    /// TCP state, `include/net/tcp_states.h`.
    pub state: u8,
    /// Local address; IPv4-mapped ones as IPv4.
    pub local: SocketAddr,
    /// The peer's address; IPv4-mapped ones as IPv4.
    pub peer: SocketAddr,
    /// Inode of the socket's file; 0 while nobody has accepted it, or after its last close.
    pub inode: u32,
    /// Bytes not read by the process; for a listening socket the accept queue's length.
    #[doc(alias = "idiag_rqueue")]
    pub recv_queue: u32,
    /// Bytes not acknowledged by the peer; for a listening socket the accept queue's limit.
    #[doc(alias = "idiag_wqueue")]
    pub send_queue: u32,
    /// Whether it is an IPv6 socket that listens and serves no IPv4 (IPV6_V6ONLY).
    pub is_v6_only: bool,
    /// More of it, where it was asked for.
    pub info: Option<Info>,
}

/// What `tcp_info` says of a socket. Source: `include/uapi/linux/tcp.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Since a segment with data came from the peer.
    #[doc(alias = "tcpi_last_data_recv")]
    pub since_data: Duration,
    /// Since an acknowledgement came from the peer.
    #[doc(alias = "tcpi_last_ack_recv")]
    pub since_ack: Duration,
    /// Payload that came from the peer. Unit: bytes.
    #[doc(alias = "tcpi_bytes_received")]
    pub bytes_received: u64,
    /// Payload that the peer has acknowledged. Unit: bytes; a SYN or FIN may count as one.
    #[doc(alias = "tcpi_bytes_acked")]
    pub bytes_acked: u64,
    /// Payload that was handed to IP, retransmissions included. Unit: bytes.
    #[doc(alias = "tcpi_bytes_sent")]
    pub bytes_sent: u64,
    /// Smoothed round-trip time.
    #[doc(alias = "tcpi_rtt")]
    pub rtt: Duration,
}

impl Info {
    /// Since anything came from the peer.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.since_data.min(self.since_ack)
    }
}

/// A request for a dump, with a body of so many zeros. Each part of its answer bears its number.
pub(super) fn dump_of(kind: u16, number: u32, body: usize) -> Vec<u8> {
    let mut bytes = vec![0; NETLINK_HEADER + body];
    let length = bytes.len() as u32;
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &length.to_ne_bytes());
    put(4, &kind.to_ne_bytes());
    put(6, &DUMP.to_ne_bytes());
    put(8, &number.to_ne_bytes());
    bytes
}

/// The request that lists TCP sockets, of both families.
pub(super) fn request(number: u32, ports: Ports<'_>, states: States, with_info: bool) -> Vec<u8> {
    let mut bytes = dump_of(GET_SOCKETS, number, REQUEST);
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    // Of `struct inet_diag_req`: family (not looked at), idiag_ext, id.idiag_sport, id.idiag_dport,
    // idiag_states.
    put(NETLINK_HEADER, &[INET]);
    if with_info {
        put(NETLINK_HEADER + 3, &[1 << (TCP_INFO - 1)]);
    }
    put(NETLINK_HEADER + 52, &states.0.to_ne_bytes());
    match ports {
        Ports::Local([]) => {}
        // The kernel compares it before anything else.
        Ports::Local([port]) => put(NETLINK_HEADER + 4, &port.to_be_bytes()),
        Ports::Remote(port) => put(NETLINK_HEADER + 6, &port.to_be_bytes()),
        Ports::Local(ports) => {
            let code = filter::any_of(ports);
            bytes.extend(((4 + code.len()) as u16).to_ne_bytes());
            bytes.extend(BYTECODE.to_ne_bytes());
            bytes.extend(code);
        }
    }
    let length = bytes.len() as u32;
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes
}

/// Reads one datagram of the answer to the request of this number, socket by socket; returns whether
/// the dump is complete.
///
/// # Errors
/// When the kernel refused the dump, or sent what no kernel sends, or what answers no such request.
pub fn parse(datagram: &[u8], number: u32, mut each: impl FnMut(Entry)) -> Result<bool, WireError> {
    bodies(datagram, number, GET_SOCKETS, |body| {
        if let Some(entry) = entry(body)? {
            each(entry);
        }
        Ok(())
    })
}

/// The same of any kind of message: what is in each of this kind.
pub(super) fn bodies(
    mut datagram: &[u8],
    number: u32,
    wanted: u16,
    mut each: impl FnMut(&[u8]) -> Result<(), WireError>,
) -> Result<bool, WireError> {
    while !datagram.is_empty() {
        let length = u32::from_ne_bytes(field(datagram, 0)?) as usize;
        let body = datagram.get(NETLINK_HEADER..length);
        let body = body.ok_or(WireError::Malformed)?;
        if u32::from_ne_bytes(field(datagram, 8)?) != number {
            return Err(WireError::Unrelated);
        }
        if u16::from_ne_bytes(field(datagram, 6)?) & INTERRUPTED != 0 {
            return Err(WireError::Interrupted);
        }
        match u16::from_ne_bytes(field(datagram, 4)?) {
            kind if kind == wanted => each(body)?,
            // Both begin with an errno: negative, or 0 for none.
            kind @ (DONE | ERROR) => {
                let errno = i32::from_ne_bytes(field(body, 0)?);
                if errno != 0 {
                    let error = io::Error::from_raw_os_error(errno.saturating_neg());
                    return Err(WireError::Refused(error));
                }
                if kind == DONE {
                    return Ok(true);
                }
            }
            _ => {}
        }
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Ok(false)
}

/// Reads a `struct inet_diag_msg` and its attributes. None for the mini socket that TIME_WAIT
/// leaves behind, also in its FIN_WAIT2 half: it bears the dead socket's cookie.
pub(super) fn entry(body: &[u8]) -> Result<Option<Entry>, WireError> {
    let message: &[u8; MESSAGE] = body.first_chunk().ok_or(WireError::Malformed)?;
    let [family, state, timer, _] = field(message, 0)?;
    if timer == TIME_WAIT_TIMER {
        return Ok(None);
    }
    let address = |address: usize, port: usize| -> Result<SocketAddr, WireError> {
        let ip = if family == INET {
            IpAddr::V4(Ipv4Addr::from(field::<4>(message, address)?))
        } else {
            // As IPv4 where it is mapped.
            IpAddr::V6(Ipv6Addr::from(field::<16>(message, address)?)).to_canonical()
        };
        Ok(SocketAddr::new(
            ip,
            u16::from_be_bytes(field(message, port)?),
        ))
    };
    let number = |at: usize| Ok(u32::from_ne_bytes(field(message, at)?));
    // Two native u32, the low half first: sock_diag_save_cookie() of net/core/sock_diag.c.
    let (low, high) = (number(44)?, number(48)?);
    Ok(Some(Entry {
        cookie: u64::from(high) << 32 | u64::from(low),
        state,
        local: address(8, 4)?,
        peer: address(24, 6)?,
        recv_queue: number(56)?,
        send_queue: number(60)?,
        inode: number(68)?,
        is_v6_only: attribute(&body[MESSAGE..], V6_ONLY)?
            .is_some_and(|value| value.first() == Some(&1)),
        info: attribute(&body[MESSAGE..], TCP_INFO)?
            .map(tcp_info)
            .transpose()?,
    }))
}

/// The value of the first attribute of this kind, if it is among these.
pub(super) fn attribute(mut attributes: &[u8], kind: u16) -> Result<Option<&[u8]>, WireError> {
    while !attributes.is_empty() {
        let length = usize::from(u16::from_ne_bytes(field(attributes, 0)?));
        let value = attributes.get(4..length).ok_or(WireError::Malformed)?;
        if u16::from_ne_bytes(field(attributes, 2)?) == kind {
            return Ok(Some(value));
        }
        attributes = attributes
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Ok(None)
}

/// Reads a `struct tcp_info`.
fn tcp_info(value: &[u8]) -> Result<Info, WireError> {
    let number = |at: usize| Ok(u32::from_ne_bytes(field(value, at)?));
    Ok(Info {
        since_data: Duration::from_millis(number(52)?.into()),
        since_ack: Duration::from_millis(number(56)?.into()),
        rtt: Duration::from_micros(number(68)?.into()),
        bytes_acked: u64::from_ne_bytes(field(value, 120)?),
        bytes_received: u64::from_ne_bytes(field(value, 128)?),
        bytes_sent: u64::from_ne_bytes(field(value, 200)?),
    })
}

pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], WireError> {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.first_chunk().copied().ok_or(WireError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const NUMBER: u32 = 7;

    /// As the kernel writes it, field by field in its order.
    fn answer(local: IpAddr, timer: u8, attributes: &[u8]) -> Vec<u8> {
        let mut body = match local {
            IpAddr::V4(_) => vec![2],
            IpAddr::V6(_) => vec![10],
        };
        body.extend([1, timer, 0]);
        body.extend(3000_u16.to_be_bytes());
        body.extend(40_000_u16.to_be_bytes());
        let mut source = match local {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        source.resize(16, 0);
        body.extend(source);
        body.extend([0; 16]);
        // Interface; the cookie's low half 1, its high half 2; expires, queues, user, inode.
        for number in [0_u32, 1, 2, 0, 3, 4, 0, 5] {
            body.extend(number.to_ne_bytes());
        }
        body.extend(attributes);
        message(GET_SOCKETS, &body)
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 2]);
        bytes.extend(NUMBER.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn parsed(datagram: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        parse(datagram, NUMBER, |entry| entries.push(entry)).expect("a dump");
        entries
    }

    #[test]
    fn a_cookie_is_two_halves_the_low_one_first() {
        let entries = parsed(&answer(V4, 0, &[]));
        assert_eq!(entries[0].cookie, 2 << 32 | 1);
        assert_eq!(entries[0].state, 1);
        assert_eq!(entries[0].local, SocketAddr::new(V4, 3000));
        assert_eq!(entries[0].peer, SocketAddr::from(([0, 0, 0, 0], 40_000)));
        assert_eq!((entries[0].recv_queue, entries[0].send_queue), (3, 4));
        assert_eq!(entries[0].inode, 5);
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address_that_it_stands_for() {
        let mapped = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
        assert_eq!(parsed(&answer(mapped, 0, &[]))[0].local.ip(), V4);
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        assert_eq!(parsed(&answer(v6, 0, &[]))[0].local.ip(), v6);
    }

    #[test]
    fn what_time_wait_leaves_behind_is_no_socket() {
        assert!(parsed(&answer(V4, TIME_WAIT_TIMER, &[])).is_empty());
    }

    #[test]
    fn a_dump_ends_with_done_or_with_the_errno_of_its_refusal() {
        let mut datagram = answer(V4, 0, &[]).repeat(2);
        assert!(!parse(&datagram, NUMBER, |_| {}).unwrap());
        datagram.extend(message(DONE, &0_i32.to_ne_bytes()));
        assert!(parse(&datagram, NUMBER, |_| {}).unwrap());
        for kind in [DONE, ERROR] {
            let refused = message(kind, &(-1_i32).to_ne_bytes());
            let Err(WireError::Refused(error)) = parse(&refused, NUMBER, |_| {}) else {
                panic!("not refused");
            };
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        }
    }

    #[test]
    fn the_answer_to_another_request_is_refused_and_so_is_an_interrupted_one() {
        let mut datagram = answer(V4, 0, &[]).repeat(2);
        let other = parse(&datagram, NUMBER + 1, |_| panic!("it is another's"));
        assert!(matches!(other, Err(WireError::Unrelated)));
        datagram[6] = INTERRUPTED as u8;
        let interrupted = parse(&datagram, NUMBER, |_| panic!("it may be wrong"));
        assert!(matches!(interrupted, Err(WireError::Interrupted)));
    }

    #[test]
    fn tcp_info_is_found_behind_other_attributes() {
        // INET_DIAG_SHUTDOWN, one byte and its padding, then INET_DIAG_INFO.
        let mut attributes = vec![5, 0, 8, 0, 3, 0, 0, 0];
        attributes.extend([212, 0, 2, 0]);
        let mut info = [0; 208];
        info[52..56].copy_from_slice(&7_u32.to_ne_bytes());
        info[68..72].copy_from_slice(&9_u32.to_ne_bytes());
        info[128..136].copy_from_slice(&11_u64.to_ne_bytes());
        info[200..208].copy_from_slice(&13_u64.to_ne_bytes());
        attributes.extend(info);
        let info = parsed(&answer(V4, 0, &attributes))[0]
            .info
            .expect("it has one");
        assert_eq!(info.since_data, Duration::from_millis(7));
        assert_eq!(info.rtt, Duration::from_micros(9));
        assert_eq!((info.bytes_received, info.bytes_sent), (11, 13));
    }

    #[test]
    fn a_socket_of_ipv6_alone_says_so() {
        // INET_DIAG_SKV6ONLY, one byte and its padding.
        let attribute = |value| [5, 0, 11, 0, value, 0, 0, 0];
        for (attributes, is_v6_only) in [
            (&attribute(1)[..], true),
            (&attribute(0), false),
            (&[], false),
        ] {
            let entry = parsed(&answer(Ipv6Addr::UNSPECIFIED.into(), 0, attributes))[0];
            assert_eq!(entry.is_v6_only, is_v6_only);
        }
    }

    #[test]
    fn without_a_file_a_socket_is_the_kernels_or_the_accept_queues() {
        let of = |inode, state| {
            let entry = parsed(&answer(V4, 0, &[]))[0];
            Entry {
                inode,
                state,
                ..entry
            }
            .holder()
        };
        for state in [FIN_WAIT1, FIN_WAIT2, CLOSING, LAST_ACK] {
            assert_eq!(of(0, state), Holder::Kernel);
            assert_eq!(of(7, state), Holder::Process);
        }
        for state in [TCP_ESTABLISHED, CLOSE_WAIT] {
            assert_eq!(of(0, state), Holder::AcceptQueue);
            assert_eq!(of(7, state), Holder::Process);
        }
    }

    proptest! {
        #[test]
        fn no_datagram_panics(datagram in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&datagram, NUMBER, |_| {});
        }

        #[test]
        fn no_damaged_answer_panics(at in 0_usize..264, byte: u8, cut in 0_usize..100) {
            let mut datagram = answer(V4, 0, &[4, 0, 2, 0]).repeat(3);
            let length = datagram.len();
            datagram[at % length] = byte;
            datagram.truncate(length.saturating_sub(cut));
            let _ = parse(&datagram, NUMBER, |_| {});
        }
    }
}
