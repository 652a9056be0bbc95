//! Engine threads take no signals: they belong to the host, whose handlers expect its own threads.
//!
//! Invariant: synchronous faults stay deliverable, so that a crash is reported where it happened.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Raised by the faulting instruction itself; blocking them would turn a report into a kill.
const FAULTS: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGABRT];

/// Blocks every asynchronous signal in the calling thread and in the threads that it starts.
///
/// # Errors
/// What the kernel said; it refuses only malformed calls.
pub fn block_all() -> io::Result<()> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `set` is writable memory of the type that the call initialises.
    check(unsafe { libc::sigfillset(set.as_mut_ptr()) })?;
    for fault in FAULTS {
        // SAFETY: the set was initialised by `sigfillset` above, and `fault` is a valid number.
        check(unsafe { libc::sigdelset(set.as_mut_ptr(), fault) })?;
    }
    // SAFETY: the set is initialised, and a null pointer says that the old mask is not wanted.
    let error = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()) };
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn check(outcome: libc::c_int) -> io::Result<()> {
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked(signal: libc::c_int) -> bool {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: a null new mask only reads the old one into `set`.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), set.as_mut_ptr()) };
        // SAFETY: `set` was filled by the call above.
        unsafe { libc::sigismember(set.as_ptr(), signal) == 1 }
    }

    #[test]
    fn asynchronous_signals_are_blocked_and_faults_are_not() {
        std::thread::spawn(|| {
            assert!(!blocked(libc::SIGTERM));
            block_all().unwrap();
            assert!(blocked(libc::SIGTERM) && blocked(libc::SIGINT) && blocked(libc::SIGHUP));
            assert!(!blocked(libc::SIGSEGV));
        })
        .join()
        .unwrap();
    }
}
