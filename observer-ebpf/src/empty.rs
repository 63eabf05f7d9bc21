//! Programs that do nothing, on the hooks of the real ones: what a hook costs before anybody works.
//!
//! `cargo xtask bench kernel` measures the real ones beside them. No product loads them.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "the loader finds programs by their sections")]

use aya_ebpf::{
    macros::{btf_tracepoint, cgroup_skb},
    programs::{BtfTracePointContext, SkBuffContext},
};

/// Let the packet pass.
const PASS: i32 = 1;

#[btf_tracepoint(function = "inet_sock_set_state")]
fn empty_inet_sock_set_state(_: BtfTracePointContext) -> i32 {
    0
}

#[cgroup_skb(egress)]
fn empty_egress(_: SkBuffContext) -> i32 {
    PASS
}

/// The verifier proves that no program can reach this; the linker still wants the symbol.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// As the real programs have it.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
