//! Where a target's sockets are kept: in the slot of its cookie, or where that is taken, in `SOCKETS`.
//!
//! The kernel gives out cookies in order, so sockets that are opened one after the other have slots
//! one after the other, in memory that their predecessors have left in the caches. A hash spreads
//! them over the whole of its map, and waits for memory at each step. A socket that lives long keeps
//! its slot; of those that come round to it, the map takes care. A socket stays where it is put.

use core::intrinsics::{AtomicOrdering::SeqCst, atomic_cxchg};

use aya_ebpf::bindings::BPF_NOEXIST;
use observer_ebpf::{Slot, Socket};

use crate::maps::{SLOT_MASK, SLOTS, SOCKETS};

/// The socket with this cookie, if it is kept.
#[inline(always)]
pub(crate) fn get(cookie: u64) -> Option<*mut Socket> {
    match slot(cookie) {
        // SAFETY: a live map value.
        Some(slot) if holds(slot, cookie) => Some(unsafe { &raw mut (*slot).socket }),
        _ => SOCKETS.get_ptr_mut(cookie),
    }
}

/// Keeps a socket; `false` if there is no room.
#[inline(always)]
pub(crate) fn insert(cookie: u64, socket: &Socket) -> bool {
    if let Some(slot) = slot(cookie)
        && claim(slot, cookie)
    {
        // SAFETY: a live map value; nobody else writes to a slot that is claimed.
        unsafe { (*slot).socket = *socket };
        return true;
    }
    SOCKETS
        .insert(cookie, socket, u64::from(BPF_NOEXIST))
        .is_ok()
}

/// Keeps a socket no more.
#[inline(always)]
pub(crate) fn remove(cookie: u64) {
    match slot(cookie) {
        Some(slot) if holds(slot, cookie) => {
            // SAFETY: a live map value, which is free for others from this store on.
            unsafe { (&raw mut (*slot).cookie).write_volatile(0) };
        }
        _ => {
            // It is there: nothing else removes the entry of an open socket.
            let _ = SOCKETS.remove(cookie);
        }
    }
}

#[inline(always)]
fn slot(cookie: u64) -> Option<*mut Slot> {
    SLOTS.get_ptr_mut(cookie as u32 & SLOT_MASK.load())
}

/// Whether the slot is this socket's. No socket has the cookie 0, a free slot has it.
#[inline(always)]
fn holds(slot: *mut Slot, cookie: u64) -> bool {
    // SAFETY: a live map value.
    cookie != 0 && unsafe { (&raw const (*slot).cookie).read_volatile() } == cookie
}

/// Takes a free slot, which another CPU may want at the same time.
#[inline(always)]
fn claim(slot: *mut Slot, cookie: u64) -> bool {
    // SAFETY: a live map value, its cookie aligned. `SeqCst`: see `count::one`.
    unsafe {
        (*slot).cookie == 0
            && atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(&raw mut (*slot).cookie, 0, cookie).1
    }
}
