//! Events between the engine and a host that takes them when it likes.
//!
//! A pigeonhole with a flag on it: a thread of ours moves events from the engine into it and raises
//! the flag (an eventfd) with the first one; whoever takes the last one lowers it. When the hole is
//! full the thread waits, the engine's own box fills behind it, and what is lost there is told by
//! an event of its own once the thread goes on.
//!
//! Invariant: the descriptor is readable exactly while an event waits.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use engine::{EventReader, HostEvent};

use crate::guard::Inside;
use crate::options::MeshGossipStartOptions;

/// Events that wait where the host says nothing else.
const CAPACITY: usize = 1_024;
/// Events are bounded, whatever the host wishes.
const MOST: usize = 1 << 20;

/// What a host finds in the hole.
pub(crate) enum Letter {
    /// From the engine.
    Event(Box<HostEvent>),
    /// There will be no more, since this time, Unix milliseconds.
    Ended(u64),
}

pub(crate) struct Hole {
    letters: Mutex<Inner>,
    room: Condvar,
    capacity: usize,
    flag: OwnedFd,
}

struct Inner {
    letters: VecDeque<Letter>,
    /// Nobody takes letters any more: do not wait for room.
    closing: bool,
}

/// Whom to wake.
struct Wake(MeshGossipStartOptions);

// SAFETY: the host says with `wake_user` that `wake` may be called with it from another thread.
unsafe impl Send for Wake {}

impl Wake {
    fn call(&self) {
        if let Some(wake) = self.0.wake {
            let _inside = Inside::callback();
            // SAFETY: the host gave both, for as long as the agent is not stopped.
            unsafe { wake(self.0.wake_user) };
        }
    }
}

impl Hole {
    /// A hole and the thread that fills it, which ends once the engine has no more.
    pub(crate) fn open(
        reader: EventReader,
        options: MeshGossipStartOptions,
    ) -> io::Result<(Arc<Self>, JoinHandle<()>)> {
        // SAFETY: plain numbers.
        let flag = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if flag < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, and nobody else's.
        let flag = unsafe { OwnedFd::from_raw_fd(flag) };
        let capacity = match options.events_capacity {
            0 => CAPACITY,
            wished => wished.min(MOST),
        };
        let letters = Mutex::new(Inner { letters: VecDeque::new(), closing: false });
        let hole = Arc::new(Self { letters, room: Condvar::new(), capacity, flag });
        let (filled, wake) = (Arc::clone(&hole), Wake(options));
        let body = move || {
            let wake = wake;
            // Signals belong to the host; a kernel that refuses this refuses malformed calls only.
            let _ = engine::io::signals::block_all();
            while let Some(events) = reader.wait() {
                for event in events {
                    filled.put(Letter::Event(Box::new(event)), &wake);
                }
            }
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            filled.put(Letter::Ended(now.as_millis() as u64), &wake);
        };
        let thread = thread::Builder::new().name("mesh-events".into()).spawn(body)?;
        Ok((hole, thread))
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.flag.as_raw_fd()
    }

    /// The oldest letters, at most so many.
    pub(crate) fn take(&self, most: usize) -> Vec<Letter> {
        let mut inner = self.inner();
        let count = inner.letters.len().min(most);
        let taken = inner.letters.drain(..count).collect();
        if inner.letters.is_empty() && count > 0 {
            let mut number = [0_u8; 8];
            // SAFETY: the descriptor is open, and the buffer as long as is said.
            unsafe { libc::read(self.descriptor(), number.as_mut_ptr().cast(), number.len()) };
        }
        self.room.notify_all();
        taken
    }

    /// The agent stops: what comes from now on is kept even beyond the capacity, since nobody may
    /// be left to make room. It is what the engine still had, which is bounded as well.
    pub(crate) fn close(&self) {
        self.inner().closing = true;
        self.room.notify_all();
    }

    fn put(&self, letter: Letter, wake: &Wake) {
        let mut inner = self.inner();
        while inner.letters.len() >= self.capacity && !inner.closing {
            inner = self.room.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        let first = inner.letters.is_empty();
        inner.letters.push_back(letter);
        if first {
            let one = 1_u64.to_ne_bytes();
            // SAFETY: the descriptor is open, and the buffer as long as is said.
            unsafe { libc::write(self.descriptor(), one.as_ptr().cast(), one.len()) };
        }
        drop(inner);
        if first {
            wake.call();
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
