//! `tp_btf/inet_sock_set_state`: the life of each socket, from ESTABLISHED to CLOSE.
//!
//! The tracepoint runs on every TCP state change of the host, in process context or softirq, with
//! the socket's lock held. What the server sends is not its concern (`egress`).

use aya_ebpf::{
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_skc_to_tcp_sock},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use aya_log_ebpf::warn;
use observer_ebpf::{
    Class, DURATION_BUCKETS, Losses, PORT_EXACT, PORT_WILDCARD, Phase, Socket, TCP_CLOSE,
    TCP_ESTABLISHED, Tally, TargetKey, flags,
};

use crate::{
    count,
    maps::{DURATIONS, LOSSES, OFFSETS, PORTS, TALLIES, TARGETS},
    sockets,
};

/// `IPPROTO_TCP`.
const TCP: u16 = 6;
/// `AF_INET`.
const AF_INET: u16 = 2;

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
        ended(ctx.arg(0), TCP_CLOSE);
    } else if old == i32::from(TCP_ESTABLISHED) {
        ended(ctx.arg(0), new as u8);
    }
    0
}

/// A socket reached ESTABLISHED: ports, addresses and cookie are final only now.
#[inline(always)]
fn opened(ctx: &BtfTracePointContext, sk: Sock) {
    let offsets = OFFSETS.load();
    let port: u16 = field(sk, offsets.skc_num);
    let listens = listens(port);
    if listens == 0 || field::<u16>(sk, offsets.sk_protocol) != TCP {
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
        port,
        ..TargetKey::default()
    };
    let mut target = None;
    if listens & PORT_EXACT != 0 {
        key.address = local_address(sk);
        target = TARGETS.get_ptr(key);
        key.address = [0; 16];
    }
    if target.is_none() && listens & PORT_WILDCARD != 0 {
        target = TARGETS.get_ptr(key);
    }
    let Some(target) = target else {
        count::one(&mut losses.ignored);
        return;
    };
    // SAFETY: a live map value; indices are only ever added.
    let target = unsafe { *target };
    let Some(tally) = TALLIES.get_ptr_mut(target) else {
        return;
    };
    // SAFETY: as above.
    let tally: &mut Tally = unsafe { &mut *tally };

    // SAFETY: `sk` is the tracepoint's own trusted argument.
    let cookie = unsafe { bpf_get_socket_cookie(sk.cast_mut().cast()) };
    let socket = Socket {
        // SAFETY: no preconditions.
        opened_at: unsafe { bpf_ktime_get_ns() },
        target,
        state: TCP_ESTABLISHED,
        class: Class::Silent as u8,
        flags: flags::BORN,
        ..Socket::default()
    };
    if sockets::insert(cookie, &socket) {
        count::one(&mut losses.stored);
        count::one(&mut tally.opened);
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

/// A socket left ESTABLISHED, or reached CLOSE from whatever state.
#[inline(always)]
fn ended(sk: Sock, new: u8) {
    let port = if new == TCP_CLOSE {
        let Some(port) = closed_port(sk) else {
            return;
        };
        port
    } else {
        field(sk, OFFSETS.load().skc_num)
    };
    if listens(port) == 0 {
        return;
    }
    // SAFETY: `sk` is the tracepoint's own trusted argument.
    let cookie = unsafe { bpf_get_socket_cookie(sk.cast_mut().cast()) };
    let Some(socket) = sockets::get(cookie) else {
        return;
    };
    // SAFETY: a live map value; the socket's lock keeps every other writer out.
    let socket: &mut Socket = unsafe { &mut *socket };
    let Some(tally) = TALLIES.get_ptr_mut(socket.target) else {
        return;
    };
    // SAFETY: the value of this CPU, live while the program runs.
    let tally: &mut Tally = unsafe { &mut *tally };

    if socket.state == TCP_ESTABLISHED {
        socket.state = new;
        left(socket, tally);
    }
    if new == TCP_CLOSE {
        count::one(&mut tally.closed);
        if socket.class == Class::WebSocket as u8 {
            count::one(&mut tally.websocket_closed);
        } else if socket.class == Class::Unknown as u8 {
            count::one(&mut tally.unknown_left);
        }
        lived(socket);
        sockets::remove(cookie);
    } else {
        socket.state = new;
    }
}

/// The local port of a socket that reaches CLOSE, in host order; none if it is not TCP's.
///
/// `skc_num` is 0 then for accepted sockets, `inet_sport` is not; but it lies beyond `struct sock`,
/// where the verifier allows no direct read: only of what a helper has found to be a `tcp_sock`.
#[inline(always)]
fn closed_port(sk: Sock) -> Option<u16> {
    // SAFETY: `sk` is the tracepoint's own trusted argument.
    let tcp: Sock = unsafe { bpf_skc_to_tcp_sock(sk.cast_mut().cast()) }.cast();
    if !tcp.is_null() {
        return Some(host_order(field(tcp, OFFSETS.load().inet_sport)));
    }
    if field::<u16>(sk, OFFSETS.load().sk_protocol) == TCP
        && let Some(losses) = LOSSES.get_ptr_mut(0)
    {
        // SAFETY: the value of this CPU, live while the program runs.
        count::one(unsafe { &mut (*losses).read_failed });
    }
    None
}

#[inline(always)]
fn left(socket: &mut Socket, tally: &mut Tally) {
    count::one(&mut tally.left);
    if socket.class == Class::Http as u8 {
        count::one(&mut tally.http_left);
    } else if socket.class == Class::WebSocket as u8 {
        count::one(&mut tally.websocket_left);
        if socket.flags & flags::ENDED == 0 {
            socket.flags |= flags::ENDED;
            count::one(&mut tally.websocket_ended);
        }
        if socket.phase == Phase::Lost as u8 {
            count::one(&mut tally.lost_left);
        }
    }
}

/// Adds a life that is known from its beginning to the histogram.
#[inline(always)]
fn lived(socket: &Socket) {
    if socket.opened_at == 0 {
        return;
    }
    let Some(durations) = DURATIONS.get_ptr_mut(socket.target) else {
        return;
    };
    // SAFETY: the value of this CPU, live while the program runs.
    let durations = unsafe { &mut *durations };
    // SAFETY: no preconditions.
    let life = unsafe { bpf_ktime_get_ns() }.wrapping_sub(socket.opened_at);
    if let Some(bucket) = durations.buckets.get_mut(bits(life >> 20)) {
        count::one(bucket);
    }
    // SAFETY: as in `count::one`.
    unsafe {
        core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::SeqCst }>(
            &raw mut durations.sum_ns,
            life,
        );
    }
}

/// How many bits a number has, at most the last bucket's. In steps that the verifier can follow:
/// of `leading_zeros`, a bit trick on this target, it knows no bounds.
#[inline(always)]
fn bits(mut number: u64) -> usize {
    let mut bits = 0;
    for shift in [16, 8, 4, 2, 1] {
        if number >> shift != 0 {
            number >>= shift;
            bits += shift;
        }
    }
    if number != 0 {
        bits += 1;
    }
    if bits < DURATION_BUCKETS {
        bits
    } else {
        DURATION_BUCKETS - 1
    }
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
    match PORTS.get_ptr(0) {
        // SAFETY: a live map value; a `u16` cannot leave it.
        Some(ports) => unsafe { (*ports).0[usize::from(port)] },
        None => 0,
    }
}

/// The local address as `TargetKey` has it.
#[inline(always)]
fn local_address(sk: Sock) -> [u8; 16] {
    let offsets = OFFSETS.load();
    if field::<u16>(sk, offsets.skc_family) == AF_INET {
        let v4: u32 = field(sk, offsets.skc_rcv_saddr);
        let [a, b, c, d] = v4.to_ne_bytes();
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
    } else {
        let high: u64 = field(sk, offsets.skc_v6_rcv_saddr);
        let low: u64 = field(sk, offsets.skc_v6_rcv_saddr + 8);
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
