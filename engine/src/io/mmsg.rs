//! Datagrams over recvmmsg, sendmmsg and epoll.
//!
//! For kernels and containers without io_uring. A turn sends what is queued, asks which sockets are
//! readable, and takes a fair share from each.
//!
//! Invariant: a queued datagram belongs to an open socket; closing sends first.

use std::io;
use std::marker::PhantomData;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use super::address::{Family, RawAddress};
use super::mmsg_batch::{BATCH_MAX_DATAGRAMS, ReceiveTray};
use super::poll::PollSet;
use super::sends::{Call, SendQueue, is_refusal_to_cut};
use super::spin::Spin;
use super::table::Table;
use super::waker::Parking;
use super::{
    Arrival, Backend, DATAGRAM_MAX_BYTES, Datagrams, IoStats, SocketId, TURN_MAX_DATAGRAMS, Waker,
};

/// The `mmsg` backend.
pub struct Mmsg {
    poll: PollSet,
    parking: Parking,
    sockets: Table<Socket>,
    sends: SendQueue,
    arrivals: ReceiveTray,
    /// Readable sockets that may have more; kept for its memory.
    readable: Vec<SocketId>,
    spin: Spin,
    stats: IoStats,
    /// One thread only, as its sibling.
    _thread: PhantomData<*const ()>,
}

struct Socket {
    family: Family,
    socket: UdpSocket,
}

impl Mmsg {
    /// # Errors
    /// The process has run out of descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        let parking = Parking::new()?;
        let poll = PollSet::new(parking.fd())?;
        Ok(Self {
            poll,
            parking,
            sockets: Table::new(),
            sends: SendQueue::new(),
            arrivals: ReceiveTray::new(),
            readable: Vec::with_capacity(TURN_MAX_DATAGRAMS),
            spin: Spin::default(),
            stats: IoStats::default(),
            _thread: PhantomData,
        })
    }

    pub(super) fn queue(&mut self) -> &mut SendQueue {
        &mut self.sends
    }

    pub(super) fn spin(&mut self, most: Duration) {
        self.spin.set(most);
    }

    pub(super) fn descriptor(&self, id: SocketId) -> Option<RawFd> {
        self.sockets.get(id).map(|socket| socket.socket.as_raw_fd())
    }

    /// Looks for something to do; whether there is.
    fn look(&mut self, most: Duration) -> io::Result<bool> {
        self.stats.spins += 1;
        let begun = Instant::now();
        let mut found = false;
        while !found && begun.elapsed() < most {
            self.stats.syscalls += self.poll.wait(Some(Duration::ZERO))?;
            found = self.poll.has_found() || self.parking.is_rung();
        }
        self.stats.spins_paid += u64::from(found);
        self.spin.looked(found);
        Ok(found)
    }

    fn flush(&mut self) {
        self.sends.sort();
        let mut at = 0;
        while let Some(call) = self.sends.point_call(at) {
            self.stats.syscalls += 1;
            at += match self.sends.send(call) {
                Ok(messages) => {
                    let runs = self.sends.taken(messages);
                    runs.map(|len| self.stats.count_run(len)).sum()
                }
                Err(error) => self.refused(call, error.raw_os_error().unwrap_or(0)),
            };
        }
        self.sends.clear();
    }

    /// The first run of a call was refused; returns how many datagrams that settles.
    fn refused(&mut self, call: Call, errno: i32) -> usize {
        let lost = match errno {
            libc::EINTR => 0,
            // The socket is full: so it is for the rest of its datagrams.
            libc::EAGAIN | libc::ENOBUFS => call.datagrams,
            _ if call.first.len > 1 && is_refusal_to_cut(errno) => {
                let outcome = self.sends.send_one_by_one(call.first, errno);
                self.stats.count_one_by_one(outcome);
                return call.first.len;
            }
            _ => call.first.len,
        };
        self.stats.sent += lost as u64;
        self.stats.send_failed += lost as u64;
        lost
    }

    /// Takes a share from each readable socket until the turn is full or all are empty.
    fn take(&mut self, receive: &mut dyn FnMut(SocketId, SocketAddr, &mut [u8])) -> usize {
        self.readable.clear();
        self.readable.extend(self.poll.readable());
        let mut handed = 0;
        // Counts the dropped ones too: a flood of them must not hold the turn.
        let mut left = TURN_MAX_DATAGRAMS;
        while !self.readable.is_empty() && left > 0 {
            let share = (left / self.readable.len()).clamp(1, BATCH_MAX_DATAGRAMS);
            let mut readable = std::mem::take(&mut self.readable);
            readable.retain(|id| {
                let limit = share.min(left);
                let taken = if limit == 0 { 0 } else { self.take_from(*id, limit) };
                left -= taken;
                for at in 0..taken {
                    handed += usize::from(self.hand(*id, at, receive));
                }
                taken == limit
            });
            self.readable = readable;
        }
        handed
    }

    /// Fills the tray from one socket. An error there is one datagram's, or nothing at all.
    fn take_from(&mut self, id: SocketId, limit: usize) -> usize {
        let Some(Socket { socket, .. }) = self.sockets.get(id) else { return 0 };
        self.stats.syscalls += 1;
        self.arrivals.fill(socket.as_raw_fd(), limit).unwrap_or(0)
    }

    fn hand(
        &mut self,
        id: SocketId,
        at: usize,
        receive: &mut dyn FnMut(SocketId, SocketAddr, &mut [u8]),
    ) -> bool {
        match self.arrivals.arrival(at) {
            Arrival::Whole { from, payload } => {
                self.stats.received += 1;
                receive(id, from, payload);
                true
            }
            Arrival::Truncated => {
                self.stats.truncated += 1;
                false
            }
            Arrival::Foreign => false,
        }
    }
}

impl Datagrams for Mmsg {
    fn backend(&self) -> Backend {
        Backend::Mmsg
    }

    fn open(&mut self, socket: UdpSocket) -> io::Result<SocketId> {
        let family = Family::of(socket.local_addr()?);
        let fd = socket.as_raw_fd();
        let socket = Socket { family, socket };
        let id = self.sockets.insert(socket).ok_or(io::ErrorKind::QuotaExceeded)?;
        self.poll.add(fd, id).inspect_err(|_| {
            self.sockets.remove(id);
        })?;
        Ok(id)
    }

    fn close(&mut self, id: SocketId) {
        self.flush();
        if let Some(Socket { socket, .. }) = self.sockets.remove(id) {
            self.poll.remove(socket.as_raw_fd());
        }
    }

    fn send(&mut self, id: SocketId, to: SocketAddr, bytes: &[u8]) {
        assert!(bytes.len() <= DATAGRAM_MAX_BYTES, "{} bytes in a datagram", bytes.len());
        let place = self.sockets.get(id).and_then(|Socket { family, socket }| {
            Some((socket.as_raw_fd(), RawAddress::encode(to, *family)?))
        });
        let Some((fd, to)) = place else {
            self.stats.send_failed += 1;
            return;
        };
        if self.sends.is_full() {
            self.flush();
        }
        self.sends.queue(id, fd, to, bytes);
    }

    fn turn(
        &mut self,
        timeout: Option<Duration>,
        receive: &mut dyn FnMut(SocketId, SocketAddr, &mut [u8]),
    ) -> io::Result<usize> {
        self.flush();
        if let Some(most) = self.spin.before(timeout.unwrap_or(Duration::MAX))
            && self.look(most)?
        {
            self.parking.unpark();
            return Ok(self.take(receive));
        }
        let may_wait = timeout != Some(Duration::ZERO) && self.parking.park();
        let waited = self.poll.wait(if may_wait { timeout } else { Some(Duration::ZERO) });
        self.parking.unpark();
        self.stats.syscalls += waited?;
        Ok(self.take(receive))
    }

    fn waker(&self) -> Waker {
        self.parking.waker()
    }

    fn stats(&self) -> IoStats {
        self.stats
    }
}

impl Drop for Mmsg {
    /// Sends what is queued: a goodbye must not depend on one more turn.
    fn drop(&mut self) {
        self.flush();
    }
}
