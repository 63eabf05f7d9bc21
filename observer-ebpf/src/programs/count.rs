//! The one way in which a count grows.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use observer_ebpf::Count;

/// Counts that are written by one CPU and read by others.
///
/// Atomic although each CPU has its own counts: a softirq may interrupt a program between its load
/// and its store and run the other program, or, before Linux 6.1, the same one. Without a result
/// the instruction is `lock add` on a line that no other CPU touches. `SeqCst`, since LLVM 22
/// miscompiles the relaxed form as soon as its result is used.
pub(crate) struct PerCpu;

impl Count for PerCpu {
    #[inline(always)]
    fn one(count: &mut u64) {
        // SAFETY: `count` is an aligned, live u64 of a map value.
        unsafe {
            atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(core::ptr::from_mut(count), 1);
        }
    }
}

/// Adds one.
#[inline(always)]
pub(crate) fn one(count: &mut u64) {
    PerCpu::one(count);
}
