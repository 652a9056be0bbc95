//! An allocator that counts, for `tests/allocations.rs` alone: no part of the library. It stands
//! here because an allocator is unsafe code.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Set, each allocation is printed with where it comes from.
const SHOW_SITES: &str = "MESH_GOSSIP_ALLOCATION_SITES";

/// Counts what a thread asks for while it is watched.
pub(crate) struct Counting;

thread_local! {
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    if WATCHING.get() {
        WATCHING.set(false);
        ASKED.set(ASKED.get() + 1);
        if std::env::var_os(SHOW_SITES).is_some() {
            eprintln!("{}", std::backtrace::Backtrace::force_capture());
        }
        WATCHING.set(true);
    }
}

// SAFETY: every call goes on to the system's allocator with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as our caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// What `act` asks the allocator for.
pub(crate) fn asked_by(act: impl FnOnce()) -> u64 {
    let before = ASKED.get();
    WATCHING.set(true);
    act();
    WATCHING.set(false);
    ASKED.get() - before
}
