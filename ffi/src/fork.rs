//! Whether a handle was made by this process or by the parent that it was forked from.
//!
//! Invariant: a child's generation differs from that of every handle that it inherited.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(0);
static WATCH: Once = Once::new();

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// The generation of this process; handles keep the one that they were made in.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// The same for who makes a handle: forks are watched from now on.
pub(crate) fn watched() -> u32 {
    WATCH.call_once(|| {
        // SAFETY: the handler only adds to an atomic number, and stays loaded: the shared library
        // is linked `nodelete`.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    generation()
}
