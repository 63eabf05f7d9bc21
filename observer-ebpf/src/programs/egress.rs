//! `cgroup_skb/egress`: what a target's server sends tells what a socket is.
//!
//! A packet of any other port costs a few loads. Every packet is let through.

use aya_ebpf::{helpers::bpf_get_socket_cookie, macros::cgroup_skb, programs::SkBuffContext};
use observer_ebpf::{Class, Phase, Socket, TCP_ESTABLISHED, Tally, flags};

use crate::{
    count, frames, lifecycle,
    maps::TALLIES,
    response::{self, Start},
    sockets,
};

/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// Let the packet pass.
const PASS: i32 = 1;

/// The payload of one TCP segment (possibly many wire packets at once: GSO).
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    /// Sequence number of the first payload byte, host order.
    pub(crate) seq: u32,
    /// Where the payload begins, from the IP header, bytes.
    pub(crate) offset: u32,
    /// Payload length, bytes; never 0.
    pub(crate) len: u32,
}

#[cgroup_skb(egress)]
fn egress(ctx: SkBuffContext) -> i32 {
    if let Some(segment) = segment(&ctx) {
        observe(&ctx, segment);
    }
    PASS
}

/// Finds a TCP payload that leaves from the port of a target.
#[inline(always)]
fn segment(ctx: &SkBuffContext) -> Option<Segment> {
    // RFC 791 section 3.1, RFC 8200 section 3: what we need is in the first 20 bytes of both.
    let ip: [u8; 20] = direct(ctx, 0)?;
    let (protocol, tcp) = if ip[0] >> 4 == 4 {
        (ip[9], u32::from(ip[0] & 0x0f) * 4)
    } else {
        // Extension headers are none of TCP's ordinary traffic; such a packet is not looked at.
        (ip[6], 40)
    };
    if protocol != TCP {
        return None;
    }
    let header: [u8; 20] = direct(ctx, tcp)?;
    if lifecycle::listens(lifecycle::host_order([header[0], header[1]])) == 0 {
        return None;
    }
    let offset = tcp + u32::from(header[12] >> 4) * 4;
    let len = ctx.len().checked_sub(offset)?;
    if len == 0 {
        return None;
    }
    Some(Segment {
        seq: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        offset,
        len,
    })
}

#[inline(always)]
fn observe(ctx: &SkBuffContext, segment: Segment) {
    // SAFETY: the program's own context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.skb.skb.cast()) };
    let Some(socket) = sockets::get(cookie) else {
        return;
    };
    // SAFETY: a live map value; TCP sends with the socket's lock held, so nobody else writes.
    let socket: &mut Socket = unsafe { &mut *socket };
    let Some(tally) = TALLIES.get_ptr_mut(socket.target) else {
        return;
    };
    // SAFETY: the value of this CPU, live while the program runs.
    let tally: &mut Tally = unsafe { &mut *tally };

    if socket.class == Class::WebSocket as u8 {
        frames::follow(ctx, socket, tally, segment, 0);
        return;
    }
    if socket.class == Class::Unknown as u8 && socket.flags & flags::BORN != 0 {
        return;
    }
    match response::start(ctx, socket, segment) {
        Start::Upgrade { header } => {
            become_websocket(socket, tally);
            // SAFETY: no preconditions.
            socket.upgraded_at = unsafe { aya_ebpf::helpers::bpf_ktime_get_ns() };
            socket.phase = Phase::Headers as u8;
            frames::follow(ctx, socket, tally, segment, header);
        }
        Start::Response => become_http(socket, tally),
        Start::Undecided => {}
        Start::Other if socket.class == Class::Silent as u8 => {
            socket.class = Class::Unknown as u8;
            count::one(&mut tally.unknown_entered);
        }
        Start::Other if socket.class == Class::Unknown as u8 => {
            if let Some(closes) = frames::exact(ctx, segment) {
                become_websocket(socket, tally);
                count::one(&mut tally.recognised);
                frames::resume(socket, tally, segment, closes);
            }
        }
        Start::Other => {}
    }
}

#[inline(always)]
fn become_http(socket: &mut Socket, tally: &mut Tally) {
    if socket.class == Class::Http as u8 {
        return;
    }
    if socket.class == Class::Unknown as u8 {
        count::one(&mut tally.unknown_left);
    }
    socket.class = Class::Http as u8;
    count::one(&mut tally.http_entered);
    if socket.state != TCP_ESTABLISHED {
        // Its peer has closed already: it was never an open HTTP connection of this class.
        count::one(&mut tally.http_left);
    }
}

#[inline(always)]
fn become_websocket(socket: &mut Socket, tally: &mut Tally) {
    if socket.class == Class::Unknown as u8 {
        count::one(&mut tally.unknown_left);
    }
    if socket.class == Class::Http as u8 && socket.state == TCP_ESTABLISHED {
        count::one(&mut tally.http_left);
    }
    socket.class = Class::WebSocket as u8;
    count::one(&mut tally.upgraded);
    if socket.state != TCP_ESTABLISHED {
        // The `101` came after the peer's FIN: opened and ended at once.
        count::one(&mut tally.websocket_left);
        socket.flags |= flags::ENDED;
        count::one(&mut tally.websocket_ended);
    }
}

/// Bytes of the linear part, where the headers are, without a helper call.
#[inline(always)]
fn direct<const N: usize>(ctx: &SkBuffContext, offset: u32) -> Option<[u8; N]> {
    // SAFETY: the program's own context.
    let (data, end) = unsafe {
        (
            (*ctx.skb.skb).data as usize,
            (*ctx.skb.skb).data_end as usize,
        )
    };
    let start = data + offset as usize;
    if start + N > end {
        return None;
    }
    // SAFETY: in bounds by the comparison above, which the verifier demands.
    Some(unsafe { *(start as *const [u8; N]) })
}
