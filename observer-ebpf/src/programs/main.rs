//! The BPF programs: two hooks that count a target's sockets where the kernel changes them.
//!
//! They observe only: nothing is modified, dropped or sent to user space per event. All state is in
//! the maps of [`maps`]. Built for `bpfel-unknown-none` by `cargo xtask build-ebpf`; on the host
//! they are only type-checked.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(
    internal_features,
    reason = "core::sync::atomic has no read-modify-write on this target"
)]
#![expect(
    unsafe_code,
    reason = "kernel memory, packet bytes and helpers are reached by raw pointers"
)]

mod count;
mod durations;
mod egress;
mod lifecycle;
mod maps;
mod sockets;

/// The verifier proves that no program can reach this; the linker still wants the symbol.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Some helpers are reserved for GPL-compatible programs; the crate is MIT or GPL-2.0.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
