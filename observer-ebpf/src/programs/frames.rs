//! WebSocket frames that a server sends (RFC 6455 section 5.2): where each begins, and which closes.
//!
//! Only headers are read. Following them from the `101` on is what tells a close frame from payload
//! that looks like one.

use aya_ebpf::programs::SkBuffContext;
use observer_ebpf::{Phase, Socket, Tally, flags};

use crate::{count, egress::Segment};

/// Most frames followed in one segment: a 64 KiB segment of frames of 512 bytes or more.
const FRAMES: u32 = 128;
/// Most frames for which a segment is recognised as a WebSocket's.
const EXACT_FRAMES: u32 = 16;
/// Longest header of a server's frame: 2 bytes and an 8-byte length.
const LONGEST_HEADER: u32 = 10;
/// Longest frame that is followed.
const LONGEST_FRAME: u64 = i32::MAX as u64;
/// Words of 8 bytes of a `101`'s header block that are read per segment: 2 KiB.
const WORDS: u32 = 256;
/// What ends a header block: RFC 9112 section 2.1.
const HEADERS_END: u32 = u32::from_be_bytes(*b"\r\n\r\n");

/// Opcodes 8 and above are control frames.
const CONTROL: u8 = 0x8;
const CLOSE: u8 = 0x8;
const PONG: u8 = 0xa;

/// A frame header that lies within one segment.
struct Header {
    /// FIN, RSV1 to RSV3 and the opcode.
    first: u8,
    /// Bytes of the header.
    size: u32,
    /// Bytes of the payload.
    length: u64,
}

impl Header {
    const fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    /// Whether RFC 6455 lets a server send it; RSV1 is permessage-deflate's (RFC 7692).
    const fn is_valid(&self) -> bool {
        let opcode = self.opcode();
        let is_final = self.first & 0x80 != 0;
        let is_shortest = match self.size {
            4 => self.length > 125,
            10 => self.length > 0xffff,
            _ => true,
        };
        self.first & 0x30 == 0
            && is_shortest
            && (opcode <= 2 || opcode >= CONTROL && opcode <= PONG && is_final && self.size == 2)
    }
}

/// Reads on in a WebSocket's bytes: `at` bytes of the segment are read already.
#[inline(always)]
pub(crate) fn follow(
    ctx: &SkBuffContext,
    socket: &mut Socket,
    tally: &mut Tally,
    segment: Segment,
    mut at: u32,
) {
    if socket.flags & flags::ENDED != 0 {
        return;
    }
    if socket.phase == Phase::Lost as u8 {
        if let Some(closes) = exact(ctx, segment) {
            count::one(&mut tally.lost_left);
            resume(socket, tally, segment, closes);
        }
        return;
    }
    if at == 0 {
        // Where reading goes on, seen from this segment: behind it for a retransmission, before
        // it if something was sent unseen.
        at = socket.next_seq.wrapping_sub(segment.seq);
        if at > i32::MAX as u32 {
            lose(socket, tally);
            return;
        }
    }
    if at >= segment.len && socket.header_read == 0 {
        if socket.phase == Phase::Headers as u8 {
            socket.next_seq = segment.seq.wrapping_add(at);
        }
        return;
    }
    if socket.phase == Phase::Headers as u8 {
        match skip_headers(ctx, socket, segment, at) {
            Some(end) => at = end,
            None => return,
        }
    }
    follow_frames(ctx, socket, tally, segment, at);
}

/// Takes up a WebSocket at the end of a segment of whole frames.
#[inline(always)]
pub(crate) fn resume(socket: &mut Socket, tally: &mut Tally, segment: Segment, closes: bool) {
    socket.phase = Phase::Frames as u8;
    socket.header_read = 0;
    socket.next_seq = segment.seq.wrapping_add(segment.len);
    if closes {
        end(socket, tally);
    }
}

/// Whether a segment is made of whole frames and nothing else; if so, whether the last one closes.
#[inline(always)]
pub(crate) fn exact(ctx: &SkBuffContext, segment: Segment) -> Option<bool> {
    let mut at = 0;
    for _ in 0..EXACT_FRAMES {
        let header = header(ctx, segment, at)?;
        if !header.is_valid() || header.length > LONGEST_FRAME {
            return None;
        }
        at += header.size + header.length as u32;
        if at > segment.len {
            return None;
        }
        let closes = header.opcode() == CLOSE;
        if at == segment.len {
            return Some(closes);
        }
        if closes {
            return None;
        }
    }
    None
}

/// The end of the `101`'s header block: the offset behind `\r\n\r\n`, if it is in this segment.
#[inline(always)]
fn skip_headers(
    ctx: &SkBuffContext,
    socket: &mut Socket,
    segment: Segment,
    mut at: u32,
) -> Option<u32> {
    let mut window = socket.window;
    for _ in 0..WORDS {
        if segment.len - at < 8 {
            break;
        }
        let Ok(word) = ctx.load::<[u8; 8]>((segment.offset + at) as usize) else {
            break;
        };
        for byte in word {
            at += 1;
            window = window << 8 | u32::from(byte);
            if window == HEADERS_END {
                socket.phase = Phase::Frames as u8;
                return Some(at);
            }
        }
    }
    for _ in 0..8 {
        if at >= segment.len {
            break;
        }
        let Ok(byte) = ctx.load::<u8>((segment.offset + at) as usize) else {
            break;
        };
        at += 1;
        window = window << 8 | u32::from(byte);
        if window == HEADERS_END {
            socket.phase = Phase::Frames as u8;
            return Some(at);
        }
    }
    socket.window = window;
    socket.next_seq = segment.seq.wrapping_add(at);
    None
}

#[inline(always)]
fn follow_frames(
    ctx: &SkBuffContext,
    socket: &mut Socket,
    tally: &mut Tally,
    segment: Segment,
    mut at: u32,
) {
    if socket.header_read != 0 {
        match split_header(ctx, socket, segment, at) {
            Some(behind) => at = behind,
            None => return,
        }
        if socket.opcode == CLOSE {
            end(socket, tally);
            return;
        }
        if socket.frame_length > LONGEST_FRAME {
            lose(socket, tally);
            return;
        }
        at += socket.frame_length as u32;
    }
    for _ in 0..FRAMES {
        if at >= segment.len {
            socket.next_seq = segment.seq.wrapping_add(at);
            return;
        }
        let Some(header) = header(ctx, segment, at) else {
            // The segment ends within the header.
            let _ = split_header(ctx, socket, segment, at);
            return;
        };
        if header.opcode() == CLOSE {
            end(socket, tally);
            return;
        }
        if header.length > LONGEST_FRAME {
            lose(socket, tally);
            return;
        }
        at += header.size + header.length as u32;
    }
    if at >= segment.len {
        // The last frame that may be followed was the last one of the segment, or reaches beyond.
        socket.next_seq = segment.seq.wrapping_add(at);
        return;
    }
    lose(socket, tally);
}

/// Reads the header at `at`, or none if the segment ends within it.
#[inline(always)]
fn header(ctx: &SkBuffContext, segment: Segment, at: u32) -> Option<Header> {
    let here = (segment.offset + at) as usize;
    let rest = segment.len.checked_sub(at)?;
    if rest < 2 {
        return None;
    }
    let [first, second] = ctx.load::<[u8; 2]>(here).ok()?;
    let (size, length) = match second {
        126 if rest >= 4 => (4, u64::from(u16::from_be(ctx.load(here + 2).ok()?))),
        127 if rest >= 10 => (10, u64::from_be(ctx.load(here + 2).ok()?)),
        126 | 127 => return None,
        0..126 => (2, u64::from(second)),
        // Masked: no server may send it, so it is no frame header of ours.
        128.. => (2, u64::MAX),
    };
    Some(Header {
        first,
        size,
        length,
    })
}

/// Reads a header byte by byte over as many segments as it takes; returns the offset behind it.
#[inline(always)]
fn split_header(
    ctx: &SkBuffContext,
    socket: &mut Socket,
    segment: Segment,
    mut at: u32,
) -> Option<u32> {
    for _ in 0..LONGEST_HEADER {
        if at >= segment.len {
            break;
        }
        let Ok(byte) = ctx.load::<u8>((segment.offset + at) as usize) else {
            break;
        };
        at += 1;
        match socket.header_read {
            0 => {
                socket.opcode = byte & 0x0f;
                socket.header_size = 2;
                socket.frame_length = 0;
            }
            1 => {
                (socket.header_size, socket.frame_length) = match byte {
                    126 => (4, 0),
                    127 => (10, 0),
                    0..126 => (2, u64::from(byte)),
                    128.. => (2, u64::MAX),
                };
            }
            _ => socket.frame_length = socket.frame_length << 8 | u64::from(byte),
        }
        socket.header_read += 1;
        if socket.header_read > 1 && socket.header_read == socket.header_size {
            socket.header_read = 0;
            return Some(at);
        }
    }
    socket.next_seq = segment.seq.wrapping_add(at);
    None
}

/// The server's close frame: the earliest sign of a WebSocket's end.
#[inline(always)]
fn end(socket: &mut Socket, tally: &mut Tally) {
    socket.flags |= flags::ENDED;
    count::one(&mut tally.websocket_ended);
}

#[inline(always)]
fn lose(socket: &mut Socket, tally: &mut Tally) {
    socket.phase = Phase::Lost as u8;
    socket.header_read = 0;
    count::one(&mut tally.lost_entered);
}
