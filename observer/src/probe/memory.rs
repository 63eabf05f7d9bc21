//! What loading took and nobody needs any more is given back to the kernel.

/// Returns freed memory to the kernel.
///
/// The kernel's types are 50 MiB of small allocations while they are parsed. What stays between
/// them keeps glibc from giving any back by itself: without this the observer is five times as
/// large for as long as it runs.
#[expect(
    unsafe_code,
    reason = "an allocator is told by a call of its C library"
)]
pub(super) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes no pointer and is safe to call from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
