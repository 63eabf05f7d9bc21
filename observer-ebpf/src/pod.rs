//! Lets user space read and write the shared types as bytes.
#![expect(unsafe_code, reason = "`aya::Pod` is an unsafe marker trait")]

use crate::{Durations, Losses, Offsets, Peer, Ports, Slot, Socket, Tally, TargetKey};

// SAFETY: for all of them, `repr(C)` or `repr(transparent)` over integers, without padding (their
// layout tests), so that every bit pattern is a value and every byte is initialised.
unsafe impl aya::Pod for Durations {}
// SAFETY: see above.
unsafe impl aya::Pod for Losses {}
// SAFETY: see above.
unsafe impl aya::Pod for Offsets {}
// SAFETY: see above.
unsafe impl aya::Pod for Peer {}
// SAFETY: see above.
unsafe impl aya::Pod for Ports {}
// SAFETY: see above.
unsafe impl aya::Pod for Slot {}
// SAFETY: see above.
unsafe impl aya::Pod for Socket {}
// SAFETY: see above.
unsafe impl aya::Pod for Tally {}
// SAFETY: see above.
unsafe impl aya::Pod for TargetKey {}
