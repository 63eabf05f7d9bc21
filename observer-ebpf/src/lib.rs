//! What the BPF programs and user space agree on: the keys and values of the maps, and what
//! happens to a socket.
//!
//! - `socket`, `tally`, `target`: the maps' keys and values, `repr(C)`, without implicit padding.
//! - `life`: how a socket changes, and what is counted when it does.
//! - `sent`, `response`, `lines`, `frames`: what a socket is, by what its service sends.
//!
//! `no_std`. It knows nothing of how the kernel is read (`programs/`) nor of what the numbers mean
//! together (`observer`).
#![no_std]

mod frames;
mod life;
mod lines;
#[cfg(feature = "user")]
mod pod;
mod response;
mod segment;
mod sent;
mod socket;
mod tally;
mod target;
#[cfg(test)]
mod tests;

pub use life::{Alone, Count, Life};
pub use segment::{Segment, Slice};
pub use sent::{MAX_STEPS, observe, step, steps};
pub use socket::{Class, Phase, Slot, Socket, flags, head, slots};
pub use tally::{DURATION_BUCKETS, Durations, Losses, Tally};
pub use target::{
    IGNORES_PEERS, INCOMING, MAX_IGNORED_PEERS, MAX_TARGETS, OUTGOING, Offsets, PORT_EXACT,
    PORT_REMOTE, PORT_WILDCARD, Peer, Ports, TargetKey,
};

/// `TCP_ESTABLISHED` of the kernel's `enum` in `include/net/tcp_states.h`.
pub const TCP_ESTABLISHED: u8 = 1;
/// `TCP_CLOSE` of the kernel's `enum` in `include/net/tcp_states.h`.
pub const TCP_CLOSE: u8 = 7;
