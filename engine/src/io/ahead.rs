//! Asking for memory before it is needed.
//!
//! A session is a few steps away from the datagram that names it, and each step may wait for
//! memory. While one datagram is opened, what the next ones will need is on its way.

/// Datagrams that are looked at before they are handed out.
pub(crate) const AHEAD: usize = 4;
/// What is fetched of one value: the processor follows by itself beyond.
const LINES: usize = 6;
const LINE_BYTES: usize = 64;

/// Asks for the beginning of `what`; nothing waits for it.
#[inline]
pub(crate) fn fetch<T>(what: &T) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..size_of::<T>().div_ceil(LINE_BYTES).min(LINES) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let at = std::ptr::from_ref(what).cast::<i8>().wrapping_add(line * LINE_BYTES);
        // SAFETY: a hint: it reads nothing, and any address will do.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (what, LINES, LINE_BYTES);
}
