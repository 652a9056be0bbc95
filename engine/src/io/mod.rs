//! Datagram backends: io_uring and recvmmsg/sendmmsg behind one trait.

pub mod signals;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// The backend in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// io_uring.
    Uring,
    /// recvmmsg/sendmmsg with epoll.
    Mmsg,
}

impl Backend {
    /// The word used in settings, JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Mmsg => "mmsg",
        }
    }
}

/// A socket registered with a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoStats {
    /// Datagrams received.
    pub received: u64,
    /// Datagrams handed to the kernel.
    pub sent: u64,
    /// Datagrams that the kernel refused (full socket buffer, unreachable, interface down).
    pub send_failed: u64,
    /// Datagrams longer than a buffer, dropped.
    pub truncated: u64,
    /// System calls.
    pub syscalls: u64,
    /// Times the receive buffers ran out (`uring`).
    pub out_of_buffers: u64,
}

/// Sends and receives datagrams for the sockets of one shard.
pub trait Datagrams {
    /// Which one this is.
    fn backend(&self) -> Backend;

    /// Takes over a bound socket, IPv4 or IPv6.
    ///
    /// # Errors
    /// What the kernel said when the socket could not be registered.
    fn open(&mut self, socket: UdpSocket) -> io::Result<SocketId>;

    /// Gives a socket up and closes it. Datagrams queued for it may be lost.
    fn close(&mut self, socket: SocketId);

    /// Queues one datagram; it leaves at the next `turn`, or earlier when the slots are used up.
    /// A refusal by the kernel is counted and nothing else: datagrams may be lost.
    fn send(&mut self, socket: SocketId, to: SocketAddr, bytes: &[u8]);

    /// One turn of the loop: submits what is queued, waits until a datagram arrives, the waker
    /// rings or `timeout` has passed (zero does not wait; `None` waits for ever), and hands at
    /// most 64 datagrams to `receive`, which may change them in place. Sends must not be queued
    /// from inside `receive`. Returns how many were received.
    ///
    /// # Errors
    /// The ring or the poll set itself failed: the backend cannot go on.
    fn turn(
        &mut self,
        timeout: Option<Duration>,
        receive: &mut dyn FnMut(SocketId, SocketAddr, &mut [u8]),
    ) -> io::Result<usize>;

    /// Rings the loop from another thread.
    fn waker(&self) -> Waker;

    /// Counters.
    fn stats(&self) -> IoStats;
}

/// Ends the wait of a [`Datagrams::turn`] from another thread; cheap to clone.
#[derive(Clone, Debug)]
pub struct Waker;

impl Waker {
    /// Rings; costs a system call only when the loop is parked.
    pub fn wake(&self) {}
}
