//! How long sockets lived, and WebSockets: histograms of lives that are known from their beginning.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::{helpers::bpf_ktime_get_ns, maps::PerCpuArray};
use observer_ebpf::{Count as _, DURATION_BUCKETS, Durations, Socket};

use crate::{
    count::PerCpu,
    maps::{DURATIONS, WEBSOCKET_DURATIONS},
};

/// A socket reached CLOSE.
#[inline(always)]
pub(crate) fn closed(socket: &Socket) {
    add(&DURATIONS, socket.target, socket.opened_at);
}

/// A WebSocket may have shown the first sign of its end, which was counted by now.
#[inline(always)]
pub(crate) fn websocket_ended(socket: &Socket, had_ended: bool) {
    if !had_ended && socket.has_ended() {
        add(&WEBSOCKET_DURATIONS, socket.target, socket.upgraded_at);
    }
}

#[inline(always)]
fn add(histogram: &PerCpuArray<Durations>, target: u32, since: u64) {
    if since == 0 {
        return;
    }
    let Some(durations) = histogram.get_ptr_mut(target) else {
        return;
    };
    // SAFETY: the value of this CPU, live while the program runs.
    let durations = unsafe { &mut *durations };
    // SAFETY: no preconditions.
    let life = unsafe { bpf_ktime_get_ns() }.wrapping_sub(since);
    if let Some(bucket) = durations.buckets.get_mut(bits(life >> 20)) {
        PerCpu::one(bucket);
    }
    // SAFETY: as in `PerCpu::one`.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(&raw mut durations.sum_ns, life);
    }
}

/// How many bits a number has, at most the last bucket's. In steps that the verifier can follow:
/// of `leading_zeros`, a bit trick on this target, it knows no bounds.
#[inline(always)]
fn bits(mut number: u64) -> usize {
    let mut bits = 0;
    for shift in [16, 8, 4, 2, 1] {
        if number >> shift != 0 {
            number >>= shift;
            bits += shift;
        }
    }
    if number != 0 {
        bits += 1;
    }
    if bits < DURATION_BUCKETS {
        bits
    } else {
        DURATION_BUCKETS - 1
    }
}
