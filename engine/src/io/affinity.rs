//! Pinning a thread to a core.

use std::io;

/// Pins the calling thread to the `number`-th core that it may run on, counted round.
///
/// # Errors
/// The kernel refused.
pub fn pin_to(number: usize) -> io::Result<()> {
    // SAFETY: `cpu_set_t` is a plain bit mask; all zero is the empty set.
    let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: `allowed` lives for the call and `size` is its size; 0 names this thread.
    check(unsafe { libc::sched_getaffinity(0, size, &raw mut allowed) })?;
    let cores: Vec<usize> = (0..libc::CPU_SETSIZE as usize)
        // SAFETY: the index lies within the mask.
        .filter(|core| unsafe { libc::CPU_ISSET(*core, &allowed) })
        .collect();
    let Some(core) = cores.get(number % cores.len().max(1)) else {
        return Err(io::Error::other("no core is allowed"));
    };
    // SAFETY: as above.
    let mut wanted: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the index came out of a mask of this size.
    unsafe { libc::CPU_SET(*core, &mut wanted) };
    // SAFETY: `wanted` lives for the call and `size` is its size; 0 names this thread.
    check(unsafe { libc::sched_setaffinity(0, size, &raw const wanted) })
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_runs_on_the_core_that_it_was_pinned_to() {
        std::thread::spawn(|| {
            pin_to(0).unwrap();
            // SAFETY: no arguments.
            let first = unsafe { libc::sched_getcpu() };
            pin_to(1).unwrap();
            // SAFETY: no arguments.
            let second = unsafe { libc::sched_getcpu() };
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            assert!(cores == 1 || first != second, "{first} {second}");
        })
        .join()
        .unwrap();
    }
}
