//! The one instruction that asks for memory before it is needed.

/// Has the processor fetch the line at this address, and goes on at once. Any address will do.
#[inline]
pub(crate) fn fetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction is a hint that every x86-64 processor takes. It shows the program
        // nothing of what stands there, changes nothing, and faults at no address, valid or not.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::fetch;

    #[test]
    fn any_address_may_be_fetched() {
        let there = 7u64;
        for address in
            [(&raw const there).cast(), std::ptr::null(), std::ptr::without_provenance(1)]
        {
            fetch(address);
        }
        assert_eq!(there, 7);
    }
}
