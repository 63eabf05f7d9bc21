//! `tp_btf/inet_sock_set_state`: the life of each socket, from ESTABLISHED to CLOSE.
//!
//! The tracepoint runs on every TCP state change of the host, in process context or softirq, with
//! the socket's lock held. What the server sends is not its concern (`egress`).

use aya_ebpf::{
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_skc_to_tcp_sock},
    macros::btf_tracepoint,
    maps::lpm_trie::Key,
    programs::BtfTracePointContext,
};
use aya_log_ebpf::warn;
use observer_ebpf::{
    IGNORES_PEERS, INCOMING, Life, Losses, OUTGOING, PORT_EXACT, PORT_REMOTE, PORT_WILDCARD, Peer,
    Socket, TCP_CLOSE, TCP_ESTABLISHED, Tally, TargetKey,
};

use crate::{
    count::{self, PerCpu},
    durations,
    maps::{IGNORED_PEERS, LOSSES, OFFSETS, PORTS, TALLIES, TARGETS},
    sockets,
};

/// `IPPROTO_TCP`.
const TCP: u16 = 6;
/// `AF_INET`.
const AF_INET: u16 = 2;
/// What a target may be to a port.
const KINDS: u8 = PORT_EXACT | PORT_WILDCARD;

/// `struct sock`, of which only the fields in `OFFSETS` are known.
type Sock = *const u8;

#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    let old: i32 = ctx.arg(1);
    let new: i32 = ctx.arg(2);
    // TP_PROTO(const struct sock *sk, const int oldstate, const int newstate)
    if new == i32::from(TCP_ESTABLISHED) {
        opened(&ctx, ctx.arg(0));
    } else if new == i32::from(TCP_CLOSE) {
        closed(ctx.arg(0));
    } else if old == i32::from(TCP_ESTABLISHED) {
        left(ctx.arg(0), new as u8);
    }
    0
}

/// A socket reached ESTABLISHED: ports, addresses and cookie are final only now.
#[inline(always)]
fn opened(ctx: &BtfTracePointContext, sk: Sock) {
    let offsets = OFFSETS.load();
    let local: u16 = field(sk, offsets.skc_num);
    let remote = host_order(field(sk, offsets.skc_dport));
    let (listens, connects) = (listens(local), connects(remote));
    if listens | connects == 0 || field::<u16>(sk, offsets.sk_protocol) != TCP {
        return;
    }
    let Some(losses) = LOSSES.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the value of this CPU, live while the program runs.
    let losses: &mut Losses = unsafe { &mut *losses };
    count::one(&mut losses.seen);

    let net: *const u8 = field(sk, offsets.skc_net);
    let mut key = TargetKey {
        netns: field(net, offsets.net_inum),
        port: local,
        direction: INCOMING,
        ..TargetKey::default()
    };
    let (v4, v6) = (offsets.skc_rcv_saddr, offsets.skc_v6_rcv_saddr);
    let mut target = target_at(sk, &mut key, listens, v4, v6);
    if target.is_none() && connects != 0 {
        key.port = remote;
        key.direction = OUTGOING;
        let (v4, v6) = (offsets.skc_daddr, offsets.skc_v6_daddr);
        target = target_at(sk, &mut key, connects, v4, v6);
    }
    let Some(target) = target else {
        count::one(&mut losses.ignored);
        return;
    };
    // SAFETY: a live map value; indices are only ever added.
    let mut target = unsafe { *target };
    if target & IGNORES_PEERS != 0 {
        target &= !IGNORES_PEERS;
        let address = address(sk, offsets.skc_daddr, offsets.skc_v6_daddr);
        let peer = Key::new(Peer::BITS, Peer { target, address });
        if IGNORED_PEERS.get(peer).is_some() {
            count::one(&mut losses.ignored);
            return;
        }
    }
    let Some(tally) = TALLIES.get_ptr_mut(target) else {
        return;
    };
    // SAFETY: as above.
    let tally: &mut Tally = unsafe { &mut *tally };

    // SAFETY: `sk` is the tracepoint's own trusted argument.
    let cookie = unsafe { bpf_get_socket_cookie(sk.cast_mut().cast()) };
    // SAFETY: no preconditions.
    let mut socket = Socket::opened(target, unsafe { bpf_ktime_get_ns() });
    if sockets::insert(cookie, &socket) {
        count::one(&mut losses.stored);
        Life::<PerCpu>::of(&mut socket, tally).opened();
    } else {
        if losses.map_full == 0 {
            warn!(
                ctx,
                "SOCKETS is full: connections of target {} are not tracked", target
            );
        }
        count::one(&mut losses.map_full);
        count::one(&mut tally.map_full);
    }
}

/// The target that has the key's port, on the address at one of these offsets or on any.
#[inline(always)]
fn target_at(sk: Sock, key: &mut TargetKey, kinds: u8, v4: u32, v6: u32) -> Option<*const u32> {
    let mut target = None;
    if kinds & PORT_EXACT != 0 {
        key.address = address(sk, v4, v6);
        target = TARGETS.get_ptr(*key);
        key.address = [0; 16];
    }
    if target.is_none() && kinds & PORT_WILDCARD != 0 {
        target = TARGETS.get_ptr(*key);
    }
    target
}

/// A socket left ESTABLISHED for another state than CLOSE.
#[inline(always)]
fn left(sk: Sock, new: u8) {
    if let Some((_, mut life)) = kept(sk, field(sk, OFFSETS.load().skc_num)) {
        let had_ended = life.socket.has_ended();
        life.left(new);
        durations::websocket_ended(life.socket, had_ended);
    }
}

/// A socket reached CLOSE from whatever state.
#[inline(always)]
fn closed(sk: Sock) {
    let Some(tcp) = tcp_sock(sk) else {
        return;
    };
    // `skc_num` is 0 by now for accepted sockets, `inet_sport` is not.
    let port = host_order(field(tcp, OFFSETS.load().inet_sport));
    let Some((cookie, mut life)) = kept(sk, port) else {
        return;
    };
    if life.socket.is_unheard() && field::<u64>(tcp, OFFSETS.load().tcp_bytes_sent) != 0 {
        life.closed_unseen();
    }
    let had_ended = life.socket.has_ended();
    life.left(TCP_CLOSE);
    life.closed();
    durations::websocket_ended(life.socket, had_ended);
    durations::closed(life.socket);
    sockets::remove(cookie);
}

/// The socket with its cookie, if it is kept.
#[inline(always)]
fn kept(sk: Sock, port: u16) -> Option<(u64, Life<'static, PerCpu>)> {
    if listens(port) == 0 && connects(host_order(field(sk, OFFSETS.load().skc_dport))) == 0 {
        return None;
    }
    // SAFETY: `sk` is the tracepoint's own trusted argument.
    let cookie = unsafe { bpf_get_socket_cookie(sk.cast_mut().cast()) };
    let socket = sockets::get(cookie)?;
    // SAFETY: a live map value; the socket's lock keeps every other writer out.
    let socket: &mut Socket = unsafe { &mut *socket };
    let tally = TALLIES.get_ptr_mut(socket.target)?;
    // SAFETY: the value of this CPU, live while the program runs.
    Some((cookie, Life::of(socket, unsafe { &mut *tally })))
}

/// The socket as a `tcp_sock`, of which fields beyond `struct sock` may be read; none if it is not
/// TCP's.
#[inline(always)]
fn tcp_sock(sk: Sock) -> Option<Sock> {
    // SAFETY: `sk` is the tracepoint's own trusted argument.
    let tcp: Sock = unsafe { bpf_skc_to_tcp_sock(sk.cast_mut().cast()) }.cast();
    if !tcp.is_null() {
        return Some(tcp);
    }
    if field::<u16>(sk, OFFSETS.load().sk_protocol) == TCP
        && let Some(losses) = LOSSES.get_ptr_mut(0)
    {
        // SAFETY: the value of this CPU, live while the program runs.
        count::one(unsafe { &mut (*losses).read_failed });
    }
    None
}

/// A port as it is on the wire, in host order.
///
/// By volatile bytes and a shift, lest the compiler makes a byte swap of it: of that instruction's
/// result the verifiers of Linux 6.1 and 6.12 know no bounds, and refuse to index `PORTS` with it.
#[inline(always)]
pub(crate) fn host_order(port: [u8; 2]) -> u16 {
    // SAFETY: an initialised local.
    let [high, low] = port
        .each_ref()
        .map(|byte| u16::from(unsafe { core::ptr::from_ref(byte).read_volatile() }));
    high << 8 | low
}

/// Which kinds of target listen on a port.
#[inline(always)]
pub(crate) fn listens(port: u16) -> u8 {
    kinds(port) & KINDS
}

/// Which kinds of target connect to a port.
#[inline(always)]
fn connects(port: u16) -> u8 {
    // Where none connects to any, the port is not looked at: it is seldom the same one twice.
    match kinds(0) {
        0 => 0,
        _ => kinds(port) >> PORT_REMOTE,
    }
}

#[inline(always)]
fn kinds(port: u16) -> u8 {
    match PORTS.get_ptr(0) {
        // SAFETY: a live map value; a `u16` cannot leave it.
        Some(ports) => unsafe { (*ports).0[usize::from(port)] },
        None => 0,
    }
}

/// The address at one of these offsets, by the socket's family, as `TargetKey` has it.
#[inline(always)]
fn address(sk: Sock, v4: u32, v6: u32) -> [u8; 16] {
    if field::<u16>(sk, OFFSETS.load().skc_family) == AF_INET {
        let v4: u32 = field(sk, v4);
        let [a, b, c, d] = v4.to_ne_bytes();
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
    } else {
        let high: u64 = field(sk, v6);
        let low: u64 = field(sk, v6 + 8);
        let mut address = [0; 16];
        address[..8].copy_from_slice(&high.to_ne_bytes());
        address[8..].copy_from_slice(&low.to_ne_bytes());
        address
    }
}

/// Reads a field of a kernel struct that the tracepoint handed over, or of one that such a struct
/// points to. A bad address reads as zero: the kernel handles the fault.
#[inline(always)]
fn field<T: Copy>(of: *const u8, offset: u32) -> T {
    // SAFETY: the verifier knows the type behind `of` and admits only fields of it.
    unsafe { of.add(offset as usize).cast::<T>().read_volatile() }
}
