//! Gives freed memory back to the system, where the allocator would keep it. Does not allocate and does not know what was freed.

/// Returns at once; what the allocator can spare goes back in the background.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn give_back() {
    use std::sync::atomic::{AtomicBool, Ordering};

    static IS_UNDER_WAY: AtomicBool = AtomicBool::new(false);
    if IS_UNDER_WAY.swap(true, Ordering::AcqRel) {
        return;
    }
    // It walks through the whole heap: not on the thread that serves sockets.
    crate::runtime::handle().spawn_blocking(|| {
        // SAFETY: malloc_trim has no preconditions and may be called from any thread (malloc_trim(3)).
        unsafe { libc::malloc_trim(0) };
        IS_UNDER_WAY.store(false, Ordering::Release);
    });
}

/// Other allocators do so by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}
