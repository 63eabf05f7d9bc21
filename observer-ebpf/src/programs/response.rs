//! The start of an HTTP/1.x response: is it a `101`?
//!
//! A response is looked for at the start of each segment, since servers send a response head in one
//! write; a head that is split over segments is followed. Message bodies are not parsed: a body
//! segment that itself begins with `HTTP/1.1 101` is taken for an upgrade.

use aya_ebpf::programs::SkBuffContext;
use observer_ebpf::Socket;

use crate::egress::Segment;

/// RFC 9112 section 4: the status line of the only response that makes a WebSocket.
const UPGRADE: [u8; 12] = *b"HTTP/1.1 101";
/// How much of it any HTTP/1.x response shares.
const VERSION: u8 = 7;

/// What a segment begins with.
pub(crate) enum Start {
    /// `HTTP/1.1 101`: the rest of its header block begins `header` bytes into the segment.
    Upgrade {
        /// Bytes.
        header: u32,
    },
    /// Another HTTP/1.x response.
    Response,
    /// As far as it goes it may be either; the next segment decides.
    Undecided,
    /// Neither.
    Other,
}

/// Reads the start of a segment, or goes on where the last one stopped.
#[inline(always)]
pub(crate) fn start(ctx: &SkBuffContext, socket: &mut Socket, segment: Segment) -> Start {
    let resumed = socket.matched != 0 && socket.next_seq == segment.seq;
    if !resumed && segment.len >= UPGRADE.len() as u32 {
        socket.matched = 0;
        return match ctx.load::<[u8; 12]>(segment.offset as usize) {
            Ok(UPGRADE) => Start::Upgrade {
                header: UPGRADE.len() as u32,
            },
            Ok([b'H', b'T', b'T', b'P', b'/', b'1', b'.', ..]) => Start::Response,
            _ => Start::Other,
        };
    }
    byte_by_byte(ctx, socket, segment, resumed)
}

#[inline(always)]
fn byte_by_byte(
    ctx: &SkBuffContext,
    socket: &mut Socket,
    segment: Segment,
    resumed: bool,
) -> Start {
    let mut matched = if resumed { socket.matched } else { 0 };
    let mut at = 0;
    socket.matched = 0;
    for (position, expected) in (0_u8..).zip(UPGRADE) {
        if position < matched {
            continue;
        }
        if at >= segment.len {
            socket.matched = matched;
            socket.next_seq = segment.seq.wrapping_add(segment.len);
            break;
        }
        let Ok(byte) = ctx.load::<u8>((segment.offset + at) as usize) else {
            return Start::Other;
        };
        if byte != expected {
            break;
        }
        at += 1;
        matched = position + 1;
    }
    if matched == UPGRADE.len() as u8 {
        Start::Upgrade { header: at }
    } else if matched >= VERSION {
        Start::Response
    } else if socket.matched != 0 {
        Start::Undecided
    } else {
        Start::Other
    }
}
