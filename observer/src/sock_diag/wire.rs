//! `sock_diag` messages: what is asked and what is answered. Pure.
//!
//! Source: sock_diag(7), `include/uapi/linux/inet_diag.h`.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, SockDiagMessage,
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, Timer, nlas::Nla},
};

/// An answer that cannot be understood, or that is a refusal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The kernel sent something that is no netlink message.
    #[error("not a sock_diag message")]
    Decode(#[from] netlink_packet_core::DecodeError),
    /// The kernel refused the request.
    #[error("the kernel refused the dump")]
    Refused(#[source] std::io::Error),
    /// The kernel sent a message whose length leads nowhere.
    #[error("a message of no length")]
    Empty,
}

/// A set of TCP states: bit `1 << state`, as in `inet_diag_req_v2.idiag_states`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct States(u32);

impl States {
    /// `TCP_LISTEN` of `include/net/tcp_states.h`.
    pub const LISTEN: Self = Self(1 << 10);
    /// What follows ESTABLISHED: FIN_WAIT1 (4), FIN_WAIT2 (5), CLOSE_WAIT (8), LAST_ACK (9),
    /// CLOSING (11). No TIME_WAIT: its socket is gone.
    pub const CLOSING: Self = Self(1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11);
    /// Open sockets: ESTABLISHED (1) and what follows it.
    pub const OPEN: Self = Self(1 << 1 | Self::CLOSING.0);
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
    /// Smoothed round-trip time.
    #[doc(alias = "tcpi_rtt")]
    pub rtt: Duration,
}

/// The requests that list the sockets with a local port: one a family.
pub(super) fn requests(port: u16, states: States, with_info: bool) -> [Vec<u8>; 2] {
    let extensions = || {
        if with_info {
            ExtensionFlags::INFO
        } else {
            ExtensionFlags::empty()
        }
    };
    [
        (AF_INET, SocketId::new_v4()),
        (AF_INET6, SocketId::new_v6()),
    ]
    .map(|(family, mut id)| {
        id.source_port = port;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut message = NetlinkMessage::new(
            header,
            NetlinkPayload::from(SockDiagMessage::InetRequest(InetRequest {
                family,
                protocol: IPPROTO_TCP,
                extensions: extensions(),
                states: StateFlags::from_bits_retain(states.0),
                socket_id: id,
            })),
        );
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    })
}

/// Reads one datagram of an answer into `entries`; returns whether the dump is complete.
///
/// # Errors
/// When the kernel refused the dump, or sent what no kernel sends.
pub fn parse(mut datagram: &[u8], entries: &mut Vec<Entry>) -> Result<bool, WireError> {
    while !datagram.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(datagram)?;
        let length = (message.header.length as usize).next_multiple_of(4);
        if length == 0 {
            return Err(WireError::Empty);
        }
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                entries.extend(entry(&response));
            }
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) if error.code.is_some() => {
                return Err(WireError::Refused(error.to_io()));
            }
            _ => {}
        }
        datagram = datagram.get(length..).unwrap_or_default();
    }
    Ok(false)
}

/// None for the mini socket that TIME_WAIT leaves behind, also in its FIN_WAIT2 half: it bears the
/// dead socket's cookie.
fn entry(response: &InetResponse) -> Option<Entry> {
    let header = &response.header;
    if header.timer == Some(Timer::TimeWait) {
        return None;
    }
    let id = &header.socket_id;
    let [a, b, c, d, e, f, g, h] = id.cookie;
    // Two native u32, the low half first: sock_diag_save_cookie() of net/core/sock_diag.c.
    let low = u32::from_ne_bytes([a, b, c, d]);
    let high = u32::from_ne_bytes([e, f, g, h]);
    Some(Entry {
        cookie: u64::from(high) << 32 | u64::from(low),
        state: header.state,
        local: SocketAddr::new(unmapped(id.source_address), id.source_port),
        peer: SocketAddr::new(unmapped(id.destination_address), id.destination_port),
        inode: header.inode,
        recv_queue: header.recv_queue,
        send_queue: header.send_queue,
        info: response.nlas.iter().find_map(|attribute| match attribute {
            Nla::TcpInfo(info) => Some(Info {
                since_data: Duration::from_millis(info.last_data_recv.into()),
                since_ack: Duration::from_millis(info.last_ack_recv.into()),
                bytes_received: info.bytes_received,
                bytes_acked: info.bytes_acked,
                rtt: Duration::from_micros(info.rtt.into()),
            }),
            _ => None,
        }),
    })
}

fn unmapped(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use netlink_packet_sock_diag::inet::InetResponseHeader;
    use proptest::prelude::*;

    use super::*;

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn answer(header: InetResponseHeader) -> Vec<u8> {
        let response = InetResponse {
            header,
            nlas: Default::default(),
        };
        let mut message = NetlinkMessage::new(
            NetlinkHeader::default(),
            NetlinkPayload::from(SockDiagMessage::InetResponse(Box::new(response))),
        );
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn header(local: IpAddr, timer: Option<Timer>) -> InetResponseHeader {
        let mut socket_id = match local {
            IpAddr::V4(_) => SocketId::new_v4(),
            IpAddr::V6(_) => SocketId::new_v6(),
        };
        socket_id.source_address = local;
        socket_id.source_port = 3000;
        socket_id.destination_port = 40_000;
        // Low half 1, high half 2.
        socket_id.cookie = [1, 0, 0, 0, 2, 0, 0, 0];
        InetResponseHeader {
            family: if local.is_ipv4() { AF_INET } else { AF_INET6 },
            state: 1,
            timer,
            socket_id,
            recv_queue: 3,
            send_queue: 4,
            uid: 0,
            inode: 5,
        }
    }

    fn parsed(datagram: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        parse(datagram, &mut entries).expect("a dump");
        entries
    }

    #[test]
    fn a_cookie_is_two_halves_the_low_one_first() {
        let entries = parsed(&answer(header(V4, None)));
        assert_eq!(entries[0].cookie, 2 << 32 | 1);
        assert_eq!(entries[0].local, SocketAddr::new(V4, 3000));
        assert_eq!((entries[0].recv_queue, entries[0].send_queue), (3, 4));
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address_that_it_stands_for() {
        let mapped = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
        assert_eq!(parsed(&answer(header(mapped, None)))[0].local.ip(), V4);
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        assert_eq!(parsed(&answer(header(v6, None)))[0].local.ip(), v6);
    }

    #[test]
    fn what_time_wait_leaves_behind_is_no_socket() {
        assert!(parsed(&answer(header(V4, Some(Timer::TimeWait)))).is_empty());
    }

    proptest! {
        #[test]
        fn no_datagram_panics(datagram in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&datagram, &mut Vec::new());
        }

        #[test]
        fn no_damaged_answer_panics(at in 0_usize..72, byte: u8, cut in 0_usize..100) {
            let mut datagram = answer(header(V4, None)).repeat(3);
            let length = datagram.len();
            datagram[at % length] = byte;
            datagram.truncate(length.saturating_sub(cut));
            let _ = parse(&datagram, &mut Vec::new());
        }
    }
}
