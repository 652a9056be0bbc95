//! Datagram backends: io_uring and recvmmsg/sendmmsg behind one trait.
//!
//! A shard queues what it wants to say, takes one turn, and is handed what others said. Which
//! system calls carry that is decided once, by [`start`], and shown to whoever runs the engine.
//!
//! Invariant: both backends pass the same tests; a difference between them is a defect.
//!
//! Everything here is best effort as UDP is: a datagram that the kernel refuses is counted and
//! forgotten. An error means that the backend itself cannot go on.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::options::BackendChoice;

mod address;
pub mod affinity;
mod ahead;
mod mmsg;
mod mmsg_batch;
mod pieces;
mod poll;
mod probe;
mod sends;
pub mod signals;
mod socket;
mod spin;
mod table;
mod uring;
mod uring_buffers;
mod uring_sends;
mod uring_tags;
mod waker;
#[cfg(feature = "weather")]
pub mod weather;

#[cfg(test)]
#[macro_use]
mod tests;
#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod trouble_tests;
#[cfg(all(test, feature = "weather"))]
mod weather_tests;

pub(crate) use ahead::fetch;
use pieces::Pieces;
pub use probe::{Refusal, Step};
use sends::{OneByOne, SendQueue};
pub use socket::{bind, bind_pair};
pub use waker::Waker;

/// Longest datagram that can be sent or received; longer ones are dropped and counted.
///
/// A receive buffer of 2 KiB holds it together with the kernel's header and the address, and it is
/// well above the 1,200 bytes that the protocol puts into one datagram.
pub const DATAGRAM_MAX_BYTES: usize = 2_000;

/// Datagrams that one turn hands out, so that timers and orders are never far away.
pub const TURN_MAX_DATAGRAMS: usize = 64;

/// Longest time that a loop looks for something to do before it sleeps.
pub const SPIN_MAX: Duration = Duration::from_millis(1);

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

/// A socket registered with a backend. The id of a closed socket names nothing, even when another
/// socket has taken its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoStats {
    /// Datagrams received.
    pub received: u64,
    /// Datagrams handed to the kernel, those that it then refused included.
    pub sent: u64,
    /// Datagrams that the kernel refused (full socket buffer, unreachable, interface down), or
    /// that could not be handed to it (an IPv6 address on an IPv4 socket, a closed socket).
    pub send_failed: u64,
    /// Datagrams longer than a buffer, dropped.
    pub truncated: u64,
    /// Sends that carried several datagrams to one peer, for the kernel to cut (GSO).
    pub runs: u64,
    /// Datagrams in them.
    pub run_datagrams: u64,
    /// Datagrams received that the kernel had joined to others of their sender.
    pub joined: u64,
    /// Runs that the kernel would not cut; their datagrams were sent one by one.
    pub runs_refused: u64,
    /// System calls.
    pub syscalls: u64,
    /// Times the receive buffers ran out (`uring`).
    pub out_of_buffers: u64,
    /// Turns in which the kernel had more completions than the ring has room for (`uring`); it
    /// keeps them.
    pub overflows: u64,
    /// Looks before a sleep, where spinning is switched on.
    pub spins: u64,
    /// Those that found something.
    pub spins_paid: u64,
}

impl IoStats {
    /// Hands out one datagram, unless it is longer than those of ours; whether it did.
    fn hand_piece(
        &mut self,
        (socket, from): (SocketId, SocketAddr),
        (piece, is_joined): (&mut [u8], bool),
        taker: &mut dyn Taker,
    ) -> bool {
        if piece.len() > DATAGRAM_MAX_BYTES {
            self.truncated += 1;
            return false;
        }
        self.received += 1;
        self.joined += u64::from(is_joined);
        taker.take(socket, from, piece);
        true
    }

    /// So many datagrams were handed to the kernel as one.
    fn count_run(&mut self, len: usize) -> usize {
        self.sent += len as u64;
        if len > 1 {
            self.runs += 1;
            self.run_datagrams += len as u64;
        }
        len
    }

    /// A run was refused and its datagrams were sent one by one.
    fn count_one_by_one(&mut self, outcome: OneByOne) {
        self.runs_refused += 1;
        self.syscalls += (outcome.sent + outcome.failed) as u64;
        self.sent += (outcome.sent + outcome.failed) as u64;
        self.send_failed += outcome.failed as u64;
    }
}

/// Takes a datagram: the socket that it arrived on, its sender, its bytes, which it may change.
pub type Reader<'a> = dyn FnMut(SocketId, SocketAddr, &mut [u8]) + 'a;

/// Takes what a turn hands out.
pub trait Taker {
    /// Takes a datagram, as a [`Reader`] does.
    fn take(&mut self, socket: SocketId, from: SocketAddr, datagram: &mut [u8]);

    /// A datagram that begins like this is taken before long: a hint, which may be wrong.
    fn foresee(&mut self, _socket: SocketId, _front: &[u8]) {}
}

/// How much of a datagram is shown before.
const FRONT_BYTES: usize = 16;

/// A reader that wants no hints.
struct Plainly<'a, 'b>(&'a mut Reader<'b>);

impl Taker for Plainly<'_, '_> {
    fn take(&mut self, socket: SocketId, from: SocketAddr, datagram: &mut [u8]) {
        (self.0)(socket, from, datagram);
    }
}

/// Writes a datagram, if there is one; returns its length and its recipient.
pub type Writer<'a> = dyn FnMut(&mut [u8]) -> Option<(usize, SocketAddr)> + 'a;

/// Sends and receives datagrams for the sockets of one shard.
pub trait Datagrams {
    /// Which one this is.
    fn backend(&self) -> Backend;

    /// Takes over a bound socket, IPv4 or IPv6.
    ///
    /// # Errors
    /// What the kernel said when the socket could not be registered.
    fn open(&mut self, socket: UdpSocket) -> io::Result<SocketId>;

    /// Gives a socket up and closes it: its port is free again when this returns. Datagrams queued
    /// by `send` leave before; those that wait to be received are lost.
    fn close(&mut self, socket: SocketId);

    /// Queues the datagram that `write` puts into the [`DATAGRAM_MAX_BYTES`] that it is lent, if
    /// it puts one there; whether it did. It leaves at the next `turn`, or earlier when the slots
    /// are used up. A refusal by the kernel is counted and nothing else: datagrams may be lost.
    fn send_with(&mut self, socket: SocketId, write: &mut Writer<'_>) -> bool;

    /// Queues one datagram, likewise.
    ///
    /// # Panics
    /// When `bytes` is longer than [`DATAGRAM_MAX_BYTES`].
    fn send(&mut self, socket: SocketId, to: SocketAddr, bytes: &[u8]) {
        assert!(bytes.len() <= DATAGRAM_MAX_BYTES, "{} bytes in a datagram", bytes.len());
        self.send_with(socket, &mut |room| {
            room[..bytes.len()].copy_from_slice(bytes);
            Some((bytes.len(), to))
        });
    }

    /// One turn of the loop: submits what is queued, waits until a datagram arrives, the waker
    /// rings or `timeout` has passed (zero does not wait; `None` waits for ever), and hands at
    /// most [`TURN_MAX_DATAGRAMS`] to `taker`, which may change them in place. Returns how many
    /// were received.
    ///
    /// A turn may end early with none received (a signal, a refused send): look at the clock and
    /// take another.
    ///
    /// # Errors
    /// The ring or the poll set itself failed: the backend cannot go on.
    fn turn_into(&mut self, timeout: Option<Duration>, taker: &mut dyn Taker) -> io::Result<usize>;

    /// Likewise, without hints.
    ///
    /// # Errors
    /// Likewise.
    fn turn(&mut self, timeout: Option<Duration>, receive: &mut Reader<'_>) -> io::Result<usize> {
        self.turn_into(timeout, &mut Plainly(receive))
    }

    /// Rings the loop from another thread.
    fn waker(&self) -> Waker;

    /// Counters.
    fn stats(&self) -> IoStats;
}

/// What a receive buffer holds.
#[derive(Clone, Copy)]
pub(crate) enum Arrival {
    /// Whole datagrams.
    Whole {
        /// Their sender.
        from: SocketAddr,
        /// Where each is.
        pieces: Pieces,
    },
    /// It was longer than a buffer.
    Truncated,
    /// Their sender's address is of a family that none of our sockets has.
    Foreign,
}

/// The backend that [`start`] chose. It stays on the thread that started it: a ring serves one
/// thread only, and the type is not `Send`.
pub enum AnyDatagrams {
    /// io_uring.
    Uring(Box<uring::Uring>),
    /// recvmmsg/sendmmsg.
    Mmsg(Box<mmsg::Mmsg>),
    /// Either of them, on a network that is not as good as the machine's.
    #[cfg(feature = "weather")]
    Weathered(Box<weather::Weathered>),
}

/// What [`start`] chose and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Startup {
    /// The backend in use.
    pub backend: Backend,
    /// Why io_uring is not, where it was wished for.
    pub fallback: Option<Refusal>,
}

impl fmt::Display for Startup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.backend.as_str())?;
        match self.fallback {
            Some(refusal) => write!(f, " (io_uring is not usable: {refusal})"),
            None => Ok(()),
        }
    }
}

/// No backend could be started.
#[derive(Debug)]
pub enum IoError {
    /// io_uring was forced and is not usable here.
    UringRefused(Refusal),
    /// The poll set or the eventfd of `mmsg` could not be made.
    Mmsg(io::Error),
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UringRefused(refusal) => {
                write!(f, "the backend is forced to uring, and io_uring is not usable: {refusal}")
            }
            Self::Mmsg(error) => write!(f, "the mmsg backend could not be started: {error}"),
        }
    }
}

impl std::error::Error for IoError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::UringRefused(refusal) => Some(refusal),
            Self::Mmsg(error) => Some(error),
        }
    }
}

/// Starts the backend for the calling thread, which has to be the one that takes the turns.
///
/// # Errors
/// io_uring is forced and not usable, or the process has run out of descriptors or memory.
pub fn start(choice: BackendChoice) -> Result<(AnyDatagrams, Startup), IoError> {
    match choice {
        BackendChoice::Uring => {
            let uring = probe::uring().map_err(IoError::UringRefused)?;
            Ok(AnyDatagrams::of_uring(uring))
        }
        BackendChoice::Mmsg => AnyDatagrams::of_mmsg(None),
        BackendChoice::Auto => match probe::uring() {
            Ok(uring) => Ok(AnyDatagrams::of_uring(uring)),
            Err(refusal) => AnyDatagrams::of_mmsg(Some(refusal)),
        },
    }
}

impl AnyDatagrams {
    fn of_uring(uring: uring::Uring) -> (Self, Startup) {
        (Self::Uring(Box::new(uring)), Startup { backend: Backend::Uring, fallback: None })
    }

    fn of_mmsg(fallback: Option<Refusal>) -> Result<(Self, Startup), IoError> {
        let mmsg = mmsg::Mmsg::new().map_err(IoError::Mmsg)?;
        Ok((Self::Mmsg(Box::new(mmsg)), Startup { backend: Backend::Mmsg, fallback }))
    }
}

impl AnyDatagrams {
    /// A backend under a weather.
    #[cfg(feature = "weather")]
    pub(crate) fn weathered(
        self,
        weather: std::sync::Arc<dyn weather::Weather>,
        clock: crate::clock::Clock,
    ) -> Self {
        Self::Weathered(Box::new(weather::Weathered::new(self, weather, clock)))
    }

    fn queue(&mut self) -> &mut SendQueue {
        match self {
            Self::Uring(io) => io.queue(),
            Self::Mmsg(io) => io.queue(),
            #[cfg(feature = "weather")]
            Self::Weathered(io) => io.inner_mut().queue(),
        }
    }

    /// Whether datagrams to one peer are handed to the kernel in runs, which it cuts. They are
    /// until it refuses.
    pub fn makes_runs(&mut self) -> bool {
        self.queue().makes_runs()
    }

    /// Looks for something to do for so long before each sleep, [`SPIN_MAX`] at most, as long as
    /// that pays; zero sleeps at once.
    pub fn spin(&mut self, most: Duration) {
        match self {
            Self::Uring(io) => io.spin(most),
            Self::Mmsg(io) => io.spin(most),
            #[cfg(feature = "weather")]
            Self::Weathered(io) => io.inner_mut().spin(most),
        }
    }

    /// Datagrams that the kernel dropped because nobody read a socket in time; none where it does
    /// not tell, or for a closed socket.
    pub fn receive_drops(&self, id: SocketId) -> u64 {
        let fd = match self {
            Self::Uring(io) => io.descriptor(id),
            Self::Mmsg(io) => io.descriptor(id),
            #[cfg(feature = "weather")]
            Self::Weathered(io) => return io.inner().receive_drops(id),
        };
        fd.and_then(socket::receive_drops).unwrap_or(0)
    }

    /// Hands every datagram over by itself from here on, or no longer.
    pub fn make_runs(&mut self, wanted: bool) {
        self.queue().make_runs(wanted);
    }
}

impl Datagrams for AnyDatagrams {
    fn backend(&self) -> Backend {
        match self {
            Self::Uring(io) => io.backend(),
            Self::Mmsg(io) => io.backend(),
            #[cfg(feature = "weather")]
            Self::Weathered(io) => io.backend(),
        }
    }

    fn open(&mut self, socket: UdpSocket) -> io::Result<SocketId> {
        match self {
            Self::Uring(io) => io.open(socket),
            Self::Mmsg(io) => io.open(socket),
            #[cfg(feature = "weather")]
            Self::Weathered(io) => io.open(socket),
        }
    }

    fn close(&mut self, socket: SocketId) {
        match self {
            Self::Uring(io) => io.close(socket),
            Self::Mmsg(io) => io.close(socket),
            #[cfg(feature = "weather")]
            Self::Weathered(io) => io.close(socket),
        }
    }

    fn send_with(&mut self, socket: SocketId, write: &mut Writer<'_>) -> bool {
        match self {
            Self::Uring(io) => io.send_with(socket, write),
            Self::Mmsg(io) => io.send_with(socket, write),
            #[cfg(feature = "weather")]
            Self::Weathered(io) => io.send_with(socket, write),
        }
    }

    fn turn_into(&mut self, timeout: Option<Duration>, taker: &mut dyn Taker) -> io::Result<usize> {
        match self {
            Self::Uring(io) => io.turn_into(timeout, taker),
            Self::Mmsg(io) => io.turn_into(timeout, taker),
            #[cfg(feature = "weather")]
            Self::Weathered(io) => io.turn_into(timeout, taker),
        }
    }

    fn waker(&self) -> Waker {
        match self {
            Self::Uring(io) => io.waker(),
            Self::Mmsg(io) => io.waker(),
            #[cfg(feature = "weather")]
            Self::Weathered(io) => io.waker(),
        }
    }

    fn stats(&self) -> IoStats {
        match self {
            Self::Uring(io) => io.stats(),
            Self::Mmsg(io) => io.stats(),
            #[cfg(feature = "weather")]
            Self::Weathered(io) => io.stats(),
        }
    }
}
