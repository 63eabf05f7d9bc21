//! One socket of a target: the value of the map `SOCKETS`, whose key is the socket cookie, and the
//! greater part of an element of `SLOTS`.
//!
//! Written by the programs, which the kernel serialises per socket by the socket's own lock, and
//! inserted by user space for sockets that were open before the programs were attached.

use crate::TCP_ESTABLISHED;

/// What a socket has shown itself to be, by the bytes that its service sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    /// Watched from its first moment; the service has sent nothing yet, or only interim responses.
    Silent = 0,
    /// Doubtful: it may be a WebSocket or not. It was open before the programs were attached, or it
    /// sent bytes that they did not see or that are no HTTP (TLS, say).
    Unknown = 1,
    /// The service has sent HTTP/1.x responses, and none that makes a WebSocket.
    Http = 2,
    /// The service has sent a `101` whose header fields say WebSocket (RFC 6455 section 4.2.2), or,
    /// for a socket that was open before, a segment of whole unmasked messages (section 5.2).
    WebSocket = 3,
}

/// What the next byte is that is to be read of what a service sends.
///
/// The order matters: [`Phase::LAST_OF_LINES`] and [`Phase::LAST_READ`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// A response's status line; [`Socket::position`] bytes of it were read.
    Start = 0,
    /// The first byte of a header field or of the empty line.
    LineStart = 1,
    /// The name of [`Socket::field`], as far as it is that name.
    Name = 2,
    /// The value of [`Socket::field`].
    Value = 3,
    /// The rest of a line that says nothing.
    Line = 4,
    /// The second byte of the empty line.
    BlankLine = 5,
    /// The size of a chunk (RFC 9112 section 7.1).
    ChunkSize = 6,
    /// The rest of the line with a chunk's size.
    ChunkExtension = 7,
    /// The line break behind a chunk's data.
    ChunkEnd = 8,
    /// The first bytes of a body, for as long as they may be a response's.
    BodyStart = 9,
    /// [`Socket::length`] more bytes of a body.
    Body = 10,
    /// [`Socket::length`] more bytes of a chunk.
    Chunk = 11,
    /// A WebSocket's frame header.
    Frames = 12,
    /// What goes on to the end of the connection: a body without a length, another protocol.
    Rest = 13,
    /// Where the next response or frame begins is not known: more frames in a segment than a program
    /// may read, a frame beyond 2 GiB, bytes that were not seen. A WebSocket may have sent a close
    /// frame.
    Lost = 14,
}

impl Phase {
    /// Up to this one, bytes of lines are read.
    pub const LAST_OF_LINES: u8 = Self::ChunkEnd as u8;
    /// Up to this one, there is something to read or to skip.
    pub const LAST_READ: u8 = Self::Frames as u8;
}

/// Bits of [`Socket::flags`].
pub mod flags {
    /// Every byte that the service sent was seen, from the first one on.
    pub const KNOWN: u8 = 1;
    /// It is a WebSocket that has ended: its close frame was sent or it left ESTABLISHED.
    pub const ENDED: u8 = 2;
    /// The programs have seen bytes that the service sent.
    pub const HEARD: u8 = 4;
}

/// Bits of [`Socket::head`]: what the header block that is being read has said so far.
pub mod head {
    /// `Content-Length`; its value is [`super::Socket::length`].
    pub const LENGTH: u8 = 1;
    /// `Transfer-Encoding`.
    pub const TRANSFER_ENCODING: u8 = 2;
    /// `Transfer-Encoding` whose last coding is `chunked`.
    pub const CHUNKED: u8 = 4;
    /// `Sec-WebSocket-Accept`, or `Upgrade: websocket`.
    pub const WEBSOCKET: u8 = 8;
    /// It is no header block but the trailer section behind the last chunk.
    pub const TRAILER: u8 = 16;
}

/// What is kept of one socket. 48 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Socket {
    /// `CLOCK_MONOTONIC` nanoseconds at ESTABLISHED; 0 if the socket was open before.
    pub opened_at: u64,
    /// `CLOCK_MONOTONIC` nanoseconds at which its service made it a WebSocket; 0 if that was not
    /// seen.
    pub upgraded_at: u64,
    /// Bytes to come of a body, a chunk or a frame's payload, as far as it is known.
    pub length: u64,
    /// TCP sequence number (host order) at which reading continues.
    pub next_seq: u32,
    /// Index of the target, into `TALLIES` and `DURATIONS`.
    pub target: u32,
    /// Status code of the response, as far as it was read.
    pub status: u16,
    /// TCP state: ESTABLISHED, or that for which it was left.
    pub state: u8,
    /// A [`Class`].
    pub class: u8,
    /// A [`Phase`].
    pub phase: u8,
    /// [`flags`].
    pub flags: u8,
    /// [`head`].
    pub head: u8,
    /// Which header field is being read: an index of `response`.
    pub field: u8,
    /// Bytes read of what the phase reads, as far as they decide.
    pub position: u8,
    /// Bytes read of a frame header that is split over segments.
    pub header_read: u8,
    /// Size of that header in bytes (2 until its second byte is known).
    pub header_size: u8,
    /// Opcode of that frame.
    pub opcode: u8,
    /// Zero.
    pub reserved: u32,
}

impl Socket {
    /// A socket that reaches ESTABLISHED before the programs' eyes.
    #[must_use]
    #[inline(always)]
    pub const fn opened(target: u32, at: u64) -> Self {
        Self {
            opened_at: at,
            target,
            state: TCP_ESTABLISHED,
            class: Class::Silent as u8,
            phase: Phase::Start as u8,
            ..Self::UNUSED
        }
    }

    /// A socket that was open before, of which nothing but its TCP state is known.
    #[must_use]
    pub const fn found(target: u32, state: u8) -> Self {
        Self {
            target,
            state,
            class: Class::Unknown as u8,
            phase: Phase::Lost as u8,
            ..Self::UNUSED
        }
    }

    const UNUSED: Self = Self {
        opened_at: 0,
        upgraded_at: 0,
        length: 0,
        next_seq: 0,
        target: 0,
        status: 0,
        state: 0,
        class: 0,
        phase: 0,
        flags: 0,
        head: 0,
        field: 0,
        position: 0,
        header_read: 0,
        header_size: 0,
        opcode: 0,
        reserved: 0,
    };

    /// Whether every byte was seen that its service sent.
    #[must_use]
    #[inline(always)]
    pub const fn is_known(&self) -> bool {
        self.flags & flags::KNOWN != 0
    }

    /// Whether it is a WebSocket that has shown a sign of its end.
    #[must_use]
    #[inline(always)]
    pub const fn has_ended(&self) -> bool {
        self.flags & flags::ENDED != 0
    }

    /// Whether it was watched from its first moment, and the programs have seen no byte of its
    /// service: either it has sent none, or none that they could see.
    #[must_use]
    #[inline(always)]
    pub const fn is_unheard(&self) -> bool {
        self.class == Class::Silent as u8 && self.flags & flags::HEARD == 0
    }
}

/// A place for one socket: the value of the array `SLOTS`. 64 bytes, as a line of most CPUs' caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Slot {
    /// The socket's cookie; 0 if the slot is free. Its lowest bits are the slot's index.
    pub cookie: u64,
    /// The socket; of a free slot, the one that was there.
    pub socket: Socket,
    /// Zero.
    pub reserved: u64,
}

/// How many slots there are where so many sockets are to be tracked: a power of two, at most a
/// quarter of them, and no more than make a difference.
#[must_use]
pub const fn slots(max_sockets: u32) -> u32 {
    const MOST: u32 = 65_536;
    match max_sockets / 4 {
        0 => 1,
        quarter if quarter >= MOST => MOST,
        quarter => 1 << quarter.ilog2(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_no_padding() {
        assert_eq!(size_of::<Socket>(), 3 * 8 + 2 * 4 + 2 + 10 + 4);
        assert_eq!(align_of::<Socket>(), 8);
        assert_eq!(size_of::<Slot>(), 8 + size_of::<Socket>() + 8);
    }

    #[test]
    fn slots_are_a_power_of_two_and_at_most_a_quarter_of_the_sockets() {
        for (max_sockets, expected) in [
            (1, 1),
            (7, 1),
            (8, 2),
            (100, 16),
            (262_143, 32_768),
            (262_144, 65_536),
            (u32::MAX, 65_536),
        ] {
            assert_eq!(slots(max_sockets), expected, "{max_sockets}");
        }
    }
}
