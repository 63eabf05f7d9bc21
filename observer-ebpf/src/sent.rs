//! What a socket is, by what its service sends on it: known, or doubtful.
//!
//! ```text
//!            first byte seen                 101 that says WebSocket
//!   Silent ───────────────────► responses ─────────────────────────► frames   (WebSocket)
//!      │                         │  ▲                                │   ▲
//!      │ bytes before it unseen  │  │ a response's head              ▼   │ whole messages
//!      ▼                         ▼  │ (not seen from the start)     lost ─┘
//!   doubtful ◄──── no HTTP, a gap, a body like a response
//!      └──────── whole messages (not seen from the start) ──────────► frames
//! ```
//!
//! A socket that was seen from its first byte on and is no HTTP stays doubtful for good. It knows
//! nothing of packets: a [`Segment`] is handed to it, in the order in which segments leave.

use core::ops::ControlFlow::{self, Break, Continue};

use crate::{Class, Count, Life, Phase, Segment, Socket, flags, frames, lines, response};

/// Most steps in one segment: bytes of lines, bodies and frames. It bounds how long a program takes.
pub const MAX_STEPS: u32 = 4_096;

/// Looks at a segment that the service sends. `steps` calls [`step`] until it breaks, at most
/// [`MAX_STEPS`] times: how to repeat something is all that kernel and host do differently.
#[inline(always)]
pub fn observe<S: Segment, C: Count>(
    life: &mut Life<'_, C>,
    segment: &S,
    steps: impl FnOnce(&mut Life<'_, C>, &S),
) {
    if !is_to_be_read(life, segment) {
        return;
    }
    // The first step is the only one for most packets of a WebSocket, and for a body's.
    if step(life, segment) == Continue(()) {
        steps(life, segment);
    }
    if is_unfinished(life.socket, segment) {
        life.missed();
    }
}

/// Repeats [`step`] as anybody would.
pub fn steps<S: Segment, C: Count>(life: &mut Life<'_, C>, segment: &S) {
    for _ in 0..MAX_STEPS {
        if step(life, segment) == Break(()) {
            return;
        }
    }
}

/// Goes on reading at [`Socket::next_seq`], one step: some bytes of a line, all of a body that is
/// in this segment, or a frame. Breaks where there is nothing more to read.
#[inline(always)]
pub fn step<S: Segment, C: Count>(life: &mut Life<'_, C>, segment: &S) -> ControlFlow<()> {
    let at = life.socket.next_seq.wrapping_sub(segment.seq());
    if at >= segment.size() {
        Break(())
    } else if life.socket.phase == Phase::Frames as u8 {
        frames::step(life, segment, at)
    } else {
        response::step(life, segment, at)
    }
}

/// Whether the segment has bytes that are to be read.
#[inline(always)]
fn is_to_be_read<S: Segment, C: Count>(life: &mut Life<'_, C>, segment: &S) -> bool {
    let socket = &mut *life.socket;
    if socket.flags & flags::HEARD == 0 {
        socket.flags |= flags::HEARD;
        if segment.is_first() {
            socket.flags |= flags::KNOWN;
            start(socket, segment);
            return true;
        }
        life.missed();
    }
    let socket = &mut *life.socket;
    if socket.phase == Phase::Lost as u8 {
        return is_taken_up(life, segment);
    }
    if socket.phase == Phase::Rest as u8 || socket.has_ended() {
        return false;
    }
    // Where reading goes on, seen from this segment: behind it for a retransmission, before it if
    // something was sent unseen.
    if socket.next_seq.wrapping_sub(segment.seq()) > i32::MAX as u32 {
        life.missed();
        return false;
    }
    true
}

/// Tries to tell from this segment on what a socket is, or where its frames begin, of which that is
/// not known. Whether the segment is to be read.
#[inline(always)]
fn is_taken_up<S: Segment, C: Count>(life: &mut Life<'_, C>, segment: &S) -> bool {
    let is_websocket = life.socket.class == Class::WebSocket as u8;
    // What was seen from its first byte on and is no HTTP is not a WebSocket's beginning later on.
    if life.socket.has_ended() || !is_websocket && life.socket.is_known() {
        return false;
    }
    if let Some(closes) = frames::whole_messages(segment) {
        if is_websocket {
            life.found();
        } else {
            life.recognised();
        }
        life.socket.next_seq = segment.seq().wrapping_add(segment.size());
        if closes {
            life.ended();
        }
        return false;
    }
    if !is_websocket && segment.load::<5>(0) == Some(*b"HTTP/") {
        start(life.socket, segment);
        return true;
    }
    false
}

/// Reads responses from this segment's first byte on.
#[inline(always)]
fn start<S: Segment>(socket: &mut Socket, segment: &S) {
    lines::begin(socket);
    socket.next_seq = segment.seq();
}

/// Whether the segment has bytes left that were to be read.
#[inline(always)]
fn is_unfinished<S: Segment>(socket: &Socket, segment: &S) -> bool {
    let is_read = socket.phase <= Phase::LAST_READ && !socket.has_ended();
    is_read && socket.next_seq.wrapping_sub(segment.seq()) < segment.size()
}
