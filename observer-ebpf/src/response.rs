//! HTTP/1.x responses (RFC 9112): where each begins and ends, and which one makes a WebSocket.
//!
//! Every byte that a socket has sent is either read or is part of a body whose length is known, so
//! that nothing in a body passes for a response. What breaks that chain makes the socket doubtful:
//! bytes that were not seen, a grammar that is not HTTP's, and a body that itself begins like a
//! response, since it may as well be one: the answer to a HEAD request announces a body that does
//! not come. Requests are not read.

use core::ops::ControlFlow::{self, Break, Continue};

use crate::{
    Count, Life, Phase, Segment, Socket, head,
    lines::{self, Taken, VERSION, begin, begin_chunk, enter},
};

/// `101 Switching Protocols` (RFC 9110 section 15.2.2).
const SWITCHING_PROTOCOLS: u16 = 101;
/// How far one step goes on within a body. Unit: bytes; sequence numbers are compared up to 2^31.
const STRIDE: u64 = 1 << 30;

/// Reads some bytes of a line, or skips a body.
#[inline(always)]
pub(crate) fn step<S: Segment, C: Count>(
    life: &mut Life<'_, C>,
    segment: &S,
    at: u32,
) -> ControlFlow<()> {
    match life.socket.phase {
        phase if phase <= Phase::LAST_OF_LINES => read(life, segment, at),
        phase if phase == Phase::BodyStart as u8 => body_start(life, segment, at),
        phase if phase == Phase::Body as u8 || phase == Phase::Chunk as u8 => {
            skip(life.socket);
            Continue(())
        }
        _ => Break(()),
    }
}

/// Skips what is left of a body, or a stride of it.
#[inline(always)]
fn skip(socket: &mut Socket) {
    let stride = if socket.length < STRIDE {
        socket.length
    } else {
        STRIDE
    };
    socket.length -= stride;
    socket.next_seq = socket.next_seq.wrapping_add(stride as u32);
    if socket.length == 0 {
        if socket.phase == Phase::Chunk as u8 {
            enter(socket, Phase::ChunkEnd);
        } else {
            begin(socket);
        }
    }
}

/// Reads the first bytes of a body, for as long as they may be a response's.
#[inline(always)]
fn body_start<S: Segment, C: Count>(
    life: &mut Life<'_, C>,
    segment: &S,
    at: u32,
) -> ControlFlow<()> {
    let Some([byte]) = segment.load::<1>(at) else {
        return Break(());
    };
    let socket = &mut *life.socket;
    let expected = VERSION.get(usize::from(socket.position));
    if expected != Some(&byte) {
        let is_endless = socket.head & head::LENGTH == 0;
        socket.phase = if is_endless { Phase::Rest } else { Phase::Body } as u8;
        return Continue(());
    }
    socket.position += 1;
    if socket.position == VERSION.len() as u8 {
        life.doubted();
        return Break(());
    }
    socket.next_seq = socket.next_seq.wrapping_add(1);
    if socket.head & head::LENGTH != 0 {
        socket.length -= 1;
        if socket.length == 0 {
            begin(socket);
        }
    }
    Continue(())
}

/// Reads up to eight bytes of a header block, a chunk's size or a trailer section.
#[inline(always)]
fn read<S: Segment, C: Count>(life: &mut Life<'_, C>, segment: &S, at: u32) -> ControlFlow<()> {
    let socket = &mut *life.socket;
    if segment.size() - at >= 8
        && let Some(word) = segment.load::<8>(at)
        && let Some(taken) = lines::take_word(socket, word)
    {
        socket.next_seq = socket.next_seq.wrapping_add(taken);
        return Continue(());
    }
    let Some([byte]) = segment.load::<1>(at) else {
        return Break(());
    };
    socket.next_seq = socket.next_seq.wrapping_add(1);
    match lines::take(socket, byte) {
        Taken::Byte => {}
        Taken::Status => {
            // Read from somewhere in the middle on, more than a line has to look like a response.
            if socket.status >= 200 && socket.is_known() {
                life.answered();
            }
        }
        Taken::HeaderBlock => return header_block_ended(life, segment),
        Taken::Chunk if socket.length == 0 => {
            socket.head = head::TRAILER;
            enter(socket, Phase::LineStart);
        }
        Taken::Chunk => enter(socket, Phase::Chunk),
        Taken::Nonsense => {
            life.doubted();
            return Break(());
        }
    }
    Continue(())
}

/// A header block, or the trailer section behind the last chunk, is complete.
#[inline(always)]
fn header_block_ended<S: Segment, C: Count>(
    life: &mut Life<'_, C>,
    segment: &S,
) -> ControlFlow<()> {
    let socket = &mut *life.socket;
    let has = |bit| socket.head & bit != 0;
    match socket.status {
        _ if has(head::TRAILER) => begin(socket),
        SWITCHING_PROTOCOLS => {
            if !has(head::WEBSOCKET) {
                // Another protocol from here on: surely no WebSocket.
                enter(socket, Phase::Rest);
                life.answered();
            } else if socket.is_known() {
                socket.upgraded_at = segment.now();
                life.upgraded();
            } else {
                // It was read from somewhere in the middle on: this may be part of a body.
                life.doubted();
            }
        }
        // Interim responses have no body.
        0..200 => begin(socket),
        _ => {
            begin_body(socket);
            life.answered();
        }
    }
    Continue(())
}

/// What follows the header block of a final response: a body, or the next response (RFC 9112 section
/// 6.3).
#[inline(always)]
fn begin_body(socket: &mut Socket) {
    let has = |bit| socket.head & bit != 0;
    // A transfer coding overrides the length; one without chunks ends with the connection.
    let has_length = has(head::LENGTH) && !has(head::TRANSFER_ENCODING);
    if matches!(socket.status, 204 | 304) {
        begin(socket);
    } else if has(head::CHUNKED) {
        begin_chunk(socket);
    } else if has_length && socket.length == 0 {
        begin(socket);
    } else {
        if !has_length {
            socket.head &= !head::LENGTH;
        }
        enter(socket, Phase::BodyStart);
    }
}
