//! A door bell that costs nothing while its owner is up.
//!
//! The loop says "parked" right before it waits. Whoever rings leaves "rung" behind and only when
//! it finds "parked" does it write the eventfd that ends the wait. Whoever rings a loop that is up
//! keeps it from parking at the end of its round.
//!
//! Invariant: after `wake` returned, a turn that begins or is under way ends without waiting for
//! anything else; at most one write per park.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const UP: u8 = 0;
const PARKED: u8 = 1;
const RUNG: u8 = 2;

#[derive(Debug)]
struct Bell {
    state: AtomicU8,
    eventfd: File,
}

/// Ends the wait of a [`Datagrams::turn`](super::Datagrams::turn) from another thread; cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct Waker {
    bell: Arc<Bell>,
}

impl Waker {
    /// Rings; costs a system call only when the loop is parked. What was written before is seen by
    /// the loop after the turn that this ends.
    pub fn wake(&self) {
        if self.bell.state.swap(RUNG, Ordering::AcqRel) == PARKED {
            // It can fail only when the counter is full, and then the loop is awake already.
            let _ = (&self.bell.eventfd).write(&1_u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
impl Waker {
    /// A bell that nobody listens to.
    pub(crate) fn unheard() -> Self {
        let parking = Parking::new().expect("a test has a descriptor to spare");
        Self { bell: parking.bell }
    }
}

/// The loop's end of the bell.
#[derive(Debug)]
pub(crate) struct Parking {
    bell: Arc<Bell>,
}

impl Parking {
    /// # Errors
    /// The process has run out of descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointer.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was made above and nobody else has it.
        let eventfd = unsafe { OwnedFd::from_raw_fd(fd) };
        let bell = Bell { state: AtomicU8::new(UP), eventfd: File::from(eventfd) };
        Ok(Self { bell: Arc::new(bell) })
    }

    /// The descriptor that becomes readable. Nobody reads it: both backends listen for the edge of
    /// each write.
    pub(crate) fn fd(&self) -> RawFd {
        self.bell.eventfd.as_raw_fd()
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker { bell: Arc::clone(&self.bell) }
    }

    /// Whether the loop may wait: nobody has rung since it was last up.
    pub(crate) fn park(&self) -> bool {
        let state = &self.bell.state;
        state.compare_exchange(UP, PARKED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether somebody has rung since the loop was last up.
    pub(crate) fn is_rung(&self) -> bool {
        self.bell.state.load(Ordering::Acquire) == RUNG
    }

    /// The wait is over; the loop answers every ring so far after this.
    pub(crate) fn unpark(&self) {
        self.bell.state.swap(UP, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn writes(parking: &Parking) -> u64 {
        let mut count = [0; 8];
        match (&parking.bell.eventfd).read_exact(&mut count) {
            Ok(()) => u64::from_ne_bytes(count),
            Err(_) => 0,
        }
    }

    #[test]
    fn a_loop_that_is_up_is_not_written_to_but_does_not_park() {
        let parking = Parking::new().unwrap();
        parking.waker().wake();
        assert_eq!(writes(&parking), 0);
        assert!(!parking.park());
        parking.unpark();
        assert!(parking.park(), "a ring counts once");
    }

    #[test]
    fn a_parked_loop_is_written_to_once() {
        let parking = Parking::new().unwrap();
        assert!(parking.park());
        for _ in 0..100 {
            parking.waker().wake();
        }
        assert_eq!(writes(&parking), 1);
    }
}
