//! What was needed for a moment and is needed no more is given back to the kernel.

/// Returns freed memory to the kernel.
///
/// What stays between many small allocations keeps glibc from giving any back by itself: without
/// this the observer is as large for ever as it was once.
#[expect(
    unsafe_code,
    reason = "an allocator is told by a call of its C library"
)]
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes no pointer and is safe to call from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
