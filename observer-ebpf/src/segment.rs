//! What the parsers are given: one TCP segment that a service sends, and the time.
//!
//! The programs load its bytes from a packet, tests on the host from a slice. The parsers know no
//! difference, so what is fuzzed on the host is what runs in the kernel.

/// The payload of one TCP segment (possibly many wire packets at once: GSO).
pub trait Segment {
    /// Sequence number of the first payload byte, host order.
    fn seq(&self) -> u32;

    /// Payload length. Unit: bytes; never 0.
    fn size(&self) -> u32;

    /// The bytes at `at`, bytes from the beginning of the payload; none if they are not all there.
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]>;

    /// Whether it begins with the first byte that its socket ever sent.
    fn is_first(&self) -> bool;

    /// `CLOCK_MONOTONIC` nanoseconds.
    fn now(&self) -> u64;
}

/// A segment on the host, from a slice.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    /// Sequence number of its first byte.
    pub seq: u32,
    /// The payload.
    pub bytes: &'a [u8],
    /// Whether it begins with the first byte that its socket ever sent.
    pub is_first: bool,
}

impl Segment for Slice<'_> {
    fn seq(&self) -> u32 {
        self.seq
    }

    fn size(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        self.bytes.get(at as usize..)?.first_chunk().copied()
    }

    fn is_first(&self) -> bool {
        self.is_first
    }

    fn now(&self) -> u64 {
        1
    }
}
