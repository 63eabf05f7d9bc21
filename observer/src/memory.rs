//! What was needed for a moment and is needed no more is given back to the kernel.

/// Has glibc map each list of sockets by itself, so that its memory is the kernel's again as soon as
/// the list is dropped. To be called before there are other threads.
///
/// By itself glibc takes the first such list as a sign that there will be more, and puts them among
/// the small allocations of their thread from then on, where [`give_back`] does not reach all.
#[expect(
    unsafe_code,
    reason = "an allocator is told by a call of its C library"
)]
pub fn keep_lists_apart() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) takes no pointer. 128 KiB is glibc's own first choice, before it adapts.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024);
    }
}

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
