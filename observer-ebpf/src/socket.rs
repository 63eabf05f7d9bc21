//! One socket of a target: the value of the map `SOCKETS`, whose key is the socket cookie, and the
//! greater part of an element of `SLOTS`.
//!
//! Written by the programs, which the kernel serialises per socket by the socket's own lock, and
//! inserted by user space for sockets that were open before the programs were attached.

/// What a socket has shown itself to be, by the bytes that its server sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    /// Watched from its first moment; the server has sent nothing yet.
    Silent = 0,
    /// Open before the programs were attached and silent since, or its first bytes are nothing
    /// that we know (TLS, say).
    Unknown = 1,
    /// The server has sent HTTP/1.x responses, none of them a `101`.
    Http = 2,
    /// The server has sent `HTTP/1.1 101` (RFC 6455 section 4.2.2), or, for a socket that was open
    /// before, a segment made of exactly whole unmasked frames (section 5.2).
    WebSocket = 3,
}

/// How far the programs have read in what the server of a [`Class::WebSocket`] sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// In the header block of the `101`: [`Socket::window`] holds its last four bytes.
    Headers = 0,
    /// Between or in frames: [`Socket::next_seq`] is where the next unread header byte is.
    Frames = 1,
    /// The frame boundary was lost: more frames in a segment than a program may read, or a frame
    /// beyond 2 GiB. The socket may have sent a close frame unseen.
    Lost = 2,
}

/// Bits of [`Socket::flags`].
pub mod flags {
    /// The programs saw the socket reach ESTABLISHED.
    pub const BORN: u8 = 1;
    /// It is a WebSocket that has ended: its close frame was sent or it left ESTABLISHED.
    pub const ENDED: u8 = 2;
}

/// What is kept of one socket. 48 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Socket {
    /// `CLOCK_MONOTONIC` nanoseconds at ESTABLISHED; 0 if the socket was open before.
    pub opened_at: u64,
    /// `CLOCK_MONOTONIC` nanoseconds at which it was found to be a WebSocket; 0 if it is none.
    pub upgraded_at: u64,
    /// Payload length of the frame whose header is being read, as far as it is known.
    pub frame_length: u64,
    /// TCP sequence number (host order) at which reading continues.
    pub next_seq: u32,
    /// The last four bytes read of the `101`'s header block, the newest lowest.
    pub window: u32,
    /// Index of the target, into `TALLIES` and `DURATIONS`.
    pub target: u32,
    /// TCP state: ESTABLISHED, or that for which it was left.
    pub state: u8,
    /// A [`Class`].
    pub class: u8,
    /// A [`Phase`].
    pub phase: u8,
    /// [`flags`].
    pub flags: u8,
    /// Bytes of `HTTP/1.1 101` matched at the end of the last segment.
    pub matched: u8,
    /// Bytes read of a frame header that is split over segments.
    pub header_read: u8,
    /// Size of that header in bytes (2 until its second byte is known).
    pub header_size: u8,
    /// Opcode of that frame.
    pub opcode: u8,
    /// Zero.
    pub reserved: u32,
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
        assert_eq!(size_of::<Socket>(), 3 * 8 + 3 * 4 + 8 + 4);
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
