//! Is io_uring usable here?
//!
//! Features are not asked for but tried: the ring that the shard would use receives a datagram
//! that it has sent to itself. What fails on the way is the reason.
//!
//! Invariant: a ring that is handed out has carried a datagram both ways.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use super::uring::Uring;
use super::uring_sends::SendCall;
use super::{Datagrams, socket};

/// Loopback delivers while the datagram is being sent; the rest is for a machine that is busy.
const TRY_WAIT: Duration = Duration::from_millis(50);
const TRY_MAX_TURNS: usize = 20;
const GREETING: &[u8] = b"is anybody there?";

/// What was being tried when io_uring was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Making the ring.
    Ring,
    /// Registering the receive buffers.
    Buffers,
    /// Making the waker's eventfd.
    Waker,
    /// Binding a loopback socket.
    Loopback,
    /// Sending and receiving through the ring.
    Turn,
}

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ring => "making a ring",
            Self::Buffers => "registering a buffer ring",
            Self::Waker => "making an eventfd",
            Self::Loopback => "binding a loopback socket",
            Self::Turn => "a turn of the ring",
        }
    }
}

/// Why io_uring is not usable here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The kernel has no io_uring, or one that lacks what is needed (6.1 has it).
    Kernel {
        /// What it lacked.
        step: Step,
    },
    /// A security profile forbids it, as container runtimes do by default.
    Seccomp {
        /// What it forbade.
        step: Step,
    },
    /// The administrator has disabled it.
    Sysctl {
        /// The value of `kernel.io_uring_disabled`.
        value: u8,
    },
    /// Too little memory may be locked, or there is none.
    Memlock {
        /// The soft limit, where there is one.
        limit_bytes: Option<u64>,
    },
    /// The process or the system has no file descriptor left.
    Descriptors,
    /// The ring works, but a datagram that it sent to itself never arrived.
    Deaf,
    /// Anything else.
    Other {
        /// What failed.
        step: Step,
        /// What the kernel said.
        errno: i32,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel { step } => {
                write!(f, "the kernel lacks what is needed for {} (6.1 has it)", step.as_str())
            }
            Self::Seccomp { step } => write!(
                f,
                "{} is not permitted; a seccomp profile forbids it, as container runtimes do by \
                 default",
                step.as_str()
            ),
            Self::Sysctl { value } => {
                write!(f, "the administrator disabled it (kernel.io_uring_disabled = {value})")
            }
            Self::Memlock { limit_bytes: Some(limit) } => {
                write!(f, "no memory for a ring (RLIMIT_MEMLOCK is {limit} bytes)")
            }
            Self::Memlock { limit_bytes: None } => f.write_str("no memory for a ring"),
            Self::Descriptors => f.write_str("no file descriptor is left (RLIMIT_NOFILE)"),
            Self::Deaf => f.write_str("a datagram that the ring sent to itself never arrived"),
            Self::Other { step, errno } => {
                write!(f, "{}: {}", step.as_str(), io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    fn of(step: Step, error: &io::Error) -> Self {
        let errno = error.raw_os_error().unwrap_or(0);
        match errno {
            libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP => Self::Kernel { step },
            libc::EPERM | libc::EACCES => match disabled_by_sysctl() {
                Some(value) => Self::Sysctl { value },
                None => Self::Seccomp { step },
            },
            libc::ENOMEM => Self::Memlock { limit_bytes: memlock_limit() },
            libc::EMFILE | libc::ENFILE => Self::Descriptors,
            _ => Self::Other { step, errno },
        }
    }
}

/// A ring that has been seen to work.
pub(crate) fn uring() -> Result<Uring, Refusal> {
    let mut uring = Uring::new().map_err(|(step, error)| Refusal::of(step, &error))?;
    let loopback = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
    let refused = |error| Refusal::of(Step::Loopback, &error);
    let socket = socket::bind(loopback).map_err(refused)?;
    let addr = socket.local_addr().map_err(refused)?;
    let id = uring.open(socket).map_err(refused)?;
    let mut heard = false;
    let mut failures = uring.stats().send_failed;
    uring.send(id, addr, GREETING);
    for _ in 0..TRY_MAX_TURNS {
        uring
            .turn(Some(TRY_WAIT), &mut |_, from, bytes| heard |= from == addr && bytes == GREETING)
            .map_err(|error| Refusal::of(Step::Turn, &error))?;
        if heard {
            uring.close(id);
            uring.forget_stats();
            return Ok(uring);
        }
        if uring.stats().send_failed > failures && uring.send_call() == SendCall::Send {
            failures = uring.stats().send_failed;
            uring.send_without_address();
            uring.send(id, addr, GREETING);
        }
    }
    Err(Refusal::Deaf)
}

/// The sysctl that disables io_uring, when it does.
fn disabled_by_sysctl() -> Option<u8> {
    let text = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    text.trim().parse().ok().filter(|value| *value != 0)
}

fn memlock_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes to `limit` alone, which is ours.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    (result == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}
