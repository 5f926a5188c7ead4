//! Counts the bytes that a thread has allocated and not given back. Does not limit them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counted per thread: tests run side by side.
#[derive(Debug)]
pub struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counter is a plain cell that neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises about the layout are passed on.
        let pointer = unsafe { System.alloc(layout) };
        if !pointer.is_null() {
            count(layout.size() as isize);
        }
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the pointer came from `alloc` or `realloc` above, so from the system's allocator.
        unsafe { System.dealloc(pointer, layout) };
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        let moved = unsafe { System.realloc(pointer, layout, new_size) };
        if !moved.is_null() {
            count(new_size as isize - layout.size() as isize);
        }
        moved
    }
}

/// A thread that ends has no counter any more, and nobody asks for it.
fn count(change: isize) {
    let _ended = LIVE.try_with(|live| live.set(live.get() + change));
}

/// Bytes that this thread has allocated and not given back.
#[must_use]
pub fn live() -> isize {
    LIVE.with(Cell::get)
}

/// Adds to `held` what `work` allocates and does not give back.
pub fn counted<T>(held: &mut isize, work: impl FnOnce() -> T) -> T {
    let before = live();
    let result = work();
    *held += live() - before;
    result
}
