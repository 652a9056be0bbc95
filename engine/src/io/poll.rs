//! Which sockets have something to read.
//!
//! Invariant: sockets are level-triggered, so that what one turn leaves is reported by the next,
//! and the kernel moves a reported socket to the end of its list: nobody is starved. The waker is
//! edge-triggered, so that nobody has to read it.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::{SocketId, TURN_MAX_DATAGRAMS};

/// No socket id is this wide.
const WAKER: u64 = u64::MAX;
/// A wait for ever is a wait for this long, again and again.
const WAIT_MAX: Duration = Duration::from_secs(86_400);

/// An epoll set.
pub(crate) struct PollSet {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
    ready: usize,
    clock: Clock,
}

/// How a wait shorter than a millisecond is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Clock {
    /// `epoll_pwait2`, since 5.11.
    Pwait2,
    /// `ppoll` on the set itself, then a look into it: one call more.
    Ppoll,
}

impl PollSet {
    /// An empty set with a waker.
    pub(crate) fn new(waker: RawFd) -> io::Result<Self> {
        // SAFETY: the call takes no pointer.
        let fd = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor was made above and nobody else has it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        // There is never more to report than a turn can hand out.
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; TURN_MAX_DATAGRAMS];
        let set = Self { epoll, events, ready: 0, clock: Clock::Pwait2 };
        set.control(libc::EPOLL_CTL_ADD, waker, libc::EPOLLIN | libc::EPOLLET, WAKER)?;
        Ok(set)
    }

    /// Watches a socket.
    pub(crate) fn add(&self, fd: RawFd, id: SocketId) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN, u64::from(id.0))
    }

    /// Stops watching a socket.
    pub(crate) fn remove(&self, fd: RawFd) {
        // Closing the descriptor would do it too, unless a copy of it lives in a child process.
        let removed = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
        debug_assert!(removed.is_ok(), "only watched sockets are removed: {removed:?}");
    }

    fn control(&self, op: i32, fd: RawFd, events: i32, data: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: data };
        let epoll = self.epoll.as_raw_fd();
        // SAFETY: the kernel reads `event`, which is ours, during the call.
        checked(unsafe { libc::epoll_ctl(epoll, op, fd, &raw mut event) })?;
        Ok(())
    }

    /// Waits until a socket is readable, the waker rings, a signal comes or `timeout` has passed.
    /// Returns how many system calls that took.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<u64> {
        let timeout = timeout.unwrap_or(WAIT_MAX).min(WAIT_MAX);
        self.ready = 0;
        if timeout.is_zero() {
            self.look()?;
            return Ok(1);
        }
        if self.clock == Clock::Pwait2 {
            match interruptible(self.pwait2(timeout)) {
                Ok(ready) => {
                    self.ready = ready;
                    return Ok(1);
                }
                // An old kernel, or a seccomp profile older than the call.
                Err(error) if is_missing_call(&error) => self.clock = Clock::Ppoll,
                Err(error) => return Err(error),
            }
        }
        interruptible(self.ppoll(timeout))?;
        self.look()?;
        Ok(2)
    }

    /// Whether the last wait found anything.
    pub(crate) fn has_found(&self) -> bool {
        self.ready > 0
    }

    /// The sockets that the last wait found readable, the waker left out.
    pub(crate) fn readable(&self) -> impl Iterator<Item = SocketId> {
        let ready = self.events[..self.ready].iter();
        ready.map(|event| event.u64).filter(|data| *data != WAKER).map(|data| SocketId(data as u32))
    }

    fn look(&mut self) -> io::Result<()> {
        let (epoll, room) = (self.epoll.as_raw_fd(), self.events.len() as i32);
        // SAFETY: the kernel writes at most `room` events, for which there is room.
        let ready = checked(unsafe { libc::epoll_wait(epoll, self.events.as_mut_ptr(), room, 0) });
        self.ready = interruptible(ready.map(|ready| ready as usize))?;
        Ok(())
    }

    fn pwait2(&mut self, timeout: Duration) -> io::Result<usize> {
        let time = timespec(timeout);
        let (epoll, room) = (self.epoll.as_raw_fd(), self.events.len());
        // SAFETY: the kernel writes at most `room` events, for which there is room, reads `time`
        // during the call, and changes no signal mask.
        let ready = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                epoll,
                self.events.as_mut_ptr(),
                room,
                &raw const time,
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        usize::try_from(ready).map_err(|_| io::Error::last_os_error())
    }

    fn ppoll(&self, timeout: Duration) -> io::Result<usize> {
        let time = timespec(timeout);
        let fd = self.epoll.as_raw_fd();
        let mut set = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one `pollfd` and one `timespec`, both ours, and no signal mask.
        let ready = unsafe { libc::ppoll(&raw mut set, 1, &raw const time, std::ptr::null()) };
        checked(ready).map(|ready| ready as usize)
    }
}

fn timespec(wait: Duration) -> libc::timespec {
    // Cannot overflow: a wait is at most `WAIT_MAX`.
    libc::timespec {
        tv_sec: wait.as_secs() as libc::time_t,
        tv_nsec: wait.subsec_nanos() as libc::c_long,
    }
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A signal ends a wait as a timeout does.
fn interruptible(waited: io::Result<usize>) -> io::Result<usize> {
    match waited {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Ok(_) | Err(_) => waited,
    }
}

fn is_missing_call(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}
