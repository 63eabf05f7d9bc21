//! What the BPF programs and user space agree on: the keys and values of the maps.
//!
//! `no_std`, `repr(C)`, no implicit padding, no behaviour beyond packing. It knows nothing of
//! how the kernel is read (`programs/`) nor of what the numbers mean together (`observer`).
#![no_std]

#[cfg(feature = "user")]
mod pod;
mod socket;
mod tally;
mod target;

pub use socket::{Class, Phase, Slot, Socket, flags, slots};
pub use tally::{DURATION_BUCKETS, Durations, Losses, Tally};
pub use target::{MAX_TARGETS, Offsets, PORT_EXACT, PORT_WILDCARD, Ports, TargetKey};

/// `TCP_ESTABLISHED` of the kernel's `enum` in `include/net/tcp_states.h`.
pub const TCP_ESTABLISHED: u8 = 1;
/// `TCP_CLOSE` of the kernel's `enum` in `include/net/tcp_states.h`.
pub const TCP_CLOSE: u8 = 7;
