//! `cgroup_skb/egress`: what a target's service sends tells what a socket is.
//!
//! A packet of any other port costs a few loads. Every packet is let through. It finds the payload;
//! what the bytes mean is `observer_ebpf`'s concern.
//!
//! The port is the socket's own, never the packet's: a packet is seen behind POSTROUTING, where NAT
//! may have rewritten it.

use core::{
    ffi::{c_long, c_void},
    ops::ControlFlow::Break,
    ptr,
};

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::{
        bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_loop, bpf_skb_load_bytes, bpf_tcp_sock,
    },
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use observer_ebpf::{Life, MAX_STEPS, Segment, Socket, Tally};

use crate::{count::PerCpu, durations, lifecycle, maps::TALLIES, sockets};

/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// Let the packet pass.
const PASS: i32 = 1;
/// Most IPv6 extension headers that are passed over.
const MAX_EXTENSIONS: usize = 4;

/// The payload of one TCP packet.
#[derive(Clone, Copy)]
struct Packet {
    skb: *mut __sk_buff,
    sk: *mut bpf_sock,
    seq: u32,
    /// Where the payload begins, from the IP header, bytes.
    offset: u32,
    size: u32,
}

/// What a packet of a target's socket holds.
enum Content {
    /// Bytes of the service.
    Payload(Packet),
    /// None: an acknowledgement.
    Nothing,
    /// No TCP that can be read: it was encrypted on its way (IPsec).
    Unreadable,
}

#[cgroup_skb(egress)]
fn egress(ctx: SkBuffContext) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: the program's own context.
    let sk = unsafe { (*skb).__bindgen_anon_2.sk };
    // SAFETY: the verifier demands the comparison with null, and knows the fields.
    if sk.is_null() || lifecycle::listens(unsafe { (*sk).src_port } as u16) == 0 {
        return PASS;
    }
    match content(skb, sk) {
        Content::Payload(packet) => observe(skb, Some(packet)),
        Content::Unreadable => observe(skb, None),
        Content::Nothing => {}
    }
    PASS
}

/// Finds the TCP payload.
#[inline(always)]
fn content(skb: *mut __sk_buff, sk: *mut bpf_sock) -> Content {
    // RFC 791 section 3.1, RFC 8200 section 3: what we need is in the first 20 bytes of both.
    let Some(ip) = direct::<20>(skb, 0) else {
        return Content::Unreadable;
    };
    let (protocol, tcp) = if ip[0] >> 4 == 4 {
        (ip[9], u32::from(ip[0] & 0x0f) * 4)
    } else {
        behind_extensions(skb, ip[6])
    };
    if protocol != TCP {
        return Content::Unreadable;
    }
    let Some(header) = direct::<20>(skb, tcp) else {
        return Content::Unreadable;
    };
    let offset = tcp + u32::from(header[12] >> 4) * 4;
    // SAFETY: the program's own context.
    let size = unsafe { (*skb).len }.saturating_sub(offset);
    if size == 0 {
        return Content::Nothing;
    }
    Content::Payload(Packet {
        skb,
        sk,
        seq: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        offset,
        size,
    })
}

/// The protocol behind IPv6's extension headers, and where it begins.
#[inline(always)]
fn behind_extensions(skb: *mut __sk_buff, mut next: u8) -> (u8, u32) {
    let mut at = 40;
    for _ in 0..MAX_EXTENSIONS {
        // RFC 8200 section 4: hop-by-hop options, routing, destination options.
        if !matches!(next, 0 | 43 | 60) {
            break;
        }
        let Some([following, length]) = direct(skb, at) else {
            break;
        };
        next = following;
        at += (u32::from(length) + 1) * 8;
    }
    (next, at)
}

/// What the callback of `bpf_loop` is given.
struct Steps {
    packet: Packet,
    socket: *mut Socket,
    tally: *mut Tally,
}

#[inline(always)]
fn observe(skb: *mut __sk_buff, packet: Option<Packet>) {
    // SAFETY: the program's own context.
    let cookie = unsafe { bpf_get_socket_cookie(skb.cast()) };
    let Some(socket) = sockets::get(cookie) else {
        return;
    };
    // SAFETY: a live map value; TCP sends with the socket's lock held, so nobody else writes.
    let Some(tally) = TALLIES.get_ptr_mut(unsafe { (*socket).target }) else {
        return;
    };
    // SAFETY: both are live map values; the tally is this CPU's.
    let mut life = unsafe { Life::<PerCpu>::of(&mut *socket, &mut *tally) };
    let Some(packet) = packet else {
        life.missed();
        return;
    };
    let had_ended = life.socket.has_ended();
    observer_ebpf::observe(&mut life, &packet, |_, packet| {
        let mut steps = Steps {
            packet: *packet,
            socket,
            tally,
        };
        // SAFETY: the callback has the signature that the helper calls, and `steps` outlives it.
        unsafe {
            bpf_loop(
                MAX_STEPS,
                step as *mut c_void,
                ptr::from_mut(&mut steps).cast(),
                0,
            );
        }
    });
    durations::websocket_ended(life.socket, had_ended);
}

/// One step of reading a packet: the callback of `bpf_loop`. Not 0 ends it.
extern "C" fn step(_index: u32, steps: *mut c_void) -> c_long {
    // SAFETY: `observe` hands over its own `Steps`, whose pointers are live map values.
    let (mut life, packet) = unsafe {
        let steps = &mut *steps.cast::<Steps>();
        (
            Life::<PerCpu>::of(&mut *steps.socket, &mut *steps.tally),
            &steps.packet,
        )
    };
    c_long::from(observer_ebpf::step(&mut life, packet) == Break(()))
}

impl Segment for Packet {
    #[inline(always)]
    fn seq(&self) -> u32 {
        self.seq
    }

    #[inline(always)]
    fn size(&self) -> u32 {
        self.size
    }

    #[inline(always)]
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        // SAFETY: the program's own context, and a buffer of `N` bytes.
        let failed = unsafe {
            bpf_skb_load_bytes(
                self.skb.cast(),
                self.offset + at,
                bytes.as_mut_ptr().cast(),
                N as u32,
            )
        };
        (failed == 0).then_some(bytes)
    }

    /// A socket that was accepted has sent `bytes_acked` bytes up to `snd_una`.
    #[inline(always)]
    fn is_first(&self) -> bool {
        // SAFETY: a socket of the packet, which is not null.
        let tcp = unsafe { bpf_tcp_sock(self.sk) };
        if tcp.is_null() {
            return false;
        }
        // SAFETY: the verifier demands the comparison with null, and knows the fields.
        let (unacked, acked) = unsafe { ((*tcp).snd_una, (*tcp).bytes_acked) };
        unacked.wrapping_sub(acked as u32) == self.seq
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: no preconditions.
        unsafe { bpf_ktime_get_ns() }
    }
}

/// Bytes of the linear part, where the headers are, without a helper call.
#[inline(always)]
fn direct<const N: usize>(skb: *mut __sk_buff, offset: u32) -> Option<[u8; N]> {
    // SAFETY: the program's own context.
    let (data, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
    let start = data + offset as usize;
    if start + N > end {
        return None;
    }
    // SAFETY: in bounds by the comparison above, which the verifier demands.
    Some(unsafe { *(start as *const [u8; N]) })
}
