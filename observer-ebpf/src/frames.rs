//! WebSocket frames that a server sends (RFC 6455 section 5.2): where each begins, and which closes.
//!
//! Only headers are read. Following them from the `101` on is what tells a close frame from payload
//! that looks like one.

use core::ops::ControlFlow::{self, Break, Continue};

use crate::{Count, Life, Segment, Socket};

/// Most frames by which a segment is recognised as a WebSocket's.
const MAX_WHOLE_FRAMES: u32 = 16;
/// Longest frame that is followed.
const MAX_LENGTH: u64 = i32::MAX as u64;

/// Opcodes 8 and above are control frames.
const CONTROL: u8 = 0x8;
const CLOSE: u8 = 0x8;
const PONG: u8 = 0xa;
/// The bits of a frame's first byte.
const FIN: u8 = 0x80;
/// Extensions define RSV1 (permessage-deflate, RFC 7692) and none of the other two.
const RSV2_RSV3: u8 = 0x30;

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

    /// Whether it is the whole of a message or of a control frame, as RFC 6455 lets a server send
    /// it. The FIN bit keeps it apart from text: ASCII has no byte with that bit.
    const fn is_whole_message(&self) -> bool {
        let opcode = self.opcode();
        let is_shortest = match self.size {
            4 => self.length > 125,
            10 => self.length > 0xffff,
            _ => true,
        };
        self.first & FIN != 0
            && self.first & RSV2_RSV3 == 0
            && is_shortest
            && (opcode == 1 || opcode == 2 || opcode >= CONTROL && opcode <= PONG && self.size == 2)
    }
}

/// Reads the frame header at `at`, or a byte of it where the segment does not have all of it.
#[inline(always)]
pub(crate) fn step<S: Segment, C: Count>(
    life: &mut Life<'_, C>,
    segment: &S,
    at: u32,
) -> ControlFlow<()> {
    if life.socket.header_read == 0
        && let Some(header) = header(segment, at)
    {
        return frame(life, header.opcode(), header.size, header.length);
    }
    let Some([byte]) = segment.load(at) else {
        return Break(());
    };
    if take(life.socket, byte) {
        let (opcode, length) = (life.socket.opcode, life.socket.length);
        return frame(life, opcode, 1, length);
    }
    life.socket.next_seq = life.socket.next_seq.wrapping_add(1);
    Continue(())
}

/// Goes on behind a frame: `size` more bytes of its header, and its payload.
#[inline(always)]
fn frame<C: Count>(life: &mut Life<'_, C>, opcode: u8, size: u32, length: u64) -> ControlFlow<()> {
    if opcode == CLOSE {
        life.ended();
        return Break(());
    }
    if length > MAX_LENGTH {
        life.lost();
        return Break(());
    }
    let frame = size + length as u32;
    life.socket.next_seq = life.socket.next_seq.wrapping_add(frame);
    Continue(())
}

/// Whether a segment is made of whole messages and nothing else; if so, whether the last one closes.
#[inline(always)]
pub(crate) fn whole_messages<S: Segment>(segment: &S) -> Option<bool> {
    let mut at = 0;
    for _ in 0..MAX_WHOLE_FRAMES {
        let header = header(segment, at)?;
        if !header.is_whole_message() || header.length > MAX_LENGTH {
            return None;
        }
        at += header.size + header.length as u32;
        if at > segment.size() {
            return None;
        }
        let closes = header.opcode() == CLOSE;
        if at == segment.size() {
            return Some(closes);
        }
        if closes {
            return None;
        }
    }
    None
}

/// Reads the header at `at`, or none if the segment ends within it.
#[inline(always)]
fn header<S: Segment>(segment: &S, at: u32) -> Option<Header> {
    let rest = segment.size().checked_sub(at)?;
    if rest < 2 {
        return None;
    }
    let [first, second] = segment.load(at)?;
    let (size, length) = match second {
        126 if rest >= 4 => (4, u64::from(u16::from_be_bytes(segment.load(at + 2)?))),
        127 if rest >= 10 => (10, u64::from_be_bytes(segment.load(at + 2)?)),
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

/// Takes one byte of a header that is split over segments; whether it was the last.
#[inline(always)]
fn take(socket: &mut Socket, byte: u8) -> bool {
    match socket.header_read {
        0 => {
            socket.opcode = byte & 0x0f;
            socket.header_size = 2;
            socket.length = 0;
        }
        1 => {
            (socket.header_size, socket.length) = match byte {
                126 => (4, 0),
                127 => (10, 0),
                0..126 => (2, u64::from(byte)),
                128.. => (2, u64::MAX),
            };
        }
        _ => socket.length = socket.length << 8 | u64::from(byte),
    }
    socket.header_read += 1;
    let is_whole = socket.header_read > 1 && socket.header_read == socket.header_size;
    if is_whole {
        socket.header_read = 0;
    }
    is_whole
}
