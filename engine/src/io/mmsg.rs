//! Datagrams over recvmmsg, sendmmsg and epoll.
//!
//! For kernels and containers without io_uring. A turn sends what is queued, asks which sockets are
//! readable, and takes a fair share from each.
//!
//! Invariant: a queued datagram belongs to an open socket; closing sends first.

use std::io;
use std::marker::PhantomData;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use super::address::{Family, RawAddress};
use super::ahead::AHEAD;
use super::mmsg_batch::{BATCH_MAX_DATAGRAMS, ReceiveTray};
use super::pieces;
use super::poll::PollSet;
use super::sends::SendQueue;
use super::spin::Spin;
use super::table::Table;
use super::waker::Parking;
use super::{
    Arrival, Backend, Datagrams, FRONT_BYTES, IoStats, SocketId, TURN_MAX_DATAGRAMS, Taker, Waker,
    Writer,
};

/// The `mmsg` backend.
pub struct Mmsg {
    poll: PollSet,
    parking: Parking,
    sockets: Table<Socket>,
    sends: SendQueue,
    arrivals: ReceiveTray,
    /// What the last turn had no room for; it stands in the tray.
    rest: Option<Rest>,
    /// Readable sockets that may have more; kept for its memory.
    readable: Vec<SocketId>,
    /// Counts turns that took something.
    first: usize,
    spin: Spin,
    stats: IoStats,
    /// One thread only, as its sibling.
    _thread: PhantomData<*const ()>,
}

struct Socket {
    family: Family,
    socket: UdpSocket,
}

/// Messages of the tray that are to be handed out.
struct Rest {
    id: SocketId,
    at: usize,
    taken: usize,
    /// The message at `at`, or what is left of it.
    arrival: Arrival,
}

/// Datagrams for which a turn has room, and that it has handed out.
struct Room {
    left: usize,
    handed: usize,
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
            rest: None,
            readable: Vec::with_capacity(TURN_MAX_DATAGRAMS),
            first: 0,
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
            at += self.sends.call(call, &mut self.stats);
        }
        self.sends.clear();
    }

    /// Takes a share from each readable socket until the turn is full or all are empty.
    fn take(&mut self, taker: &mut dyn Taker) -> usize {
        let mut room = Room { left: TURN_MAX_DATAGRAMS, handed: 0 };
        self.hand_rest(&mut room, taker);
        if self.rest.is_some() {
            return room.handed;
        }
        self.readable.clear();
        self.readable.extend(self.poll.readable());
        // One message may fill a turn: another socket is first in each.
        self.first = self.first.wrapping_add(1);
        let first = self.first % self.readable.len().max(1);
        self.readable.rotate_left(first);
        while !self.readable.is_empty() && room.left > 0 {
            let share = (room.left / self.readable.len()).clamp(1, BATCH_MAX_DATAGRAMS);
            let mut readable = std::mem::take(&mut self.readable);
            readable.retain(|id| {
                let limit = share.min(room.left);
                let taken = if limit == 0 { 0 } else { self.take_from(*id, limit) };
                if taken > 0 {
                    let arrival = self.arrivals.arrival(0);
                    self.hand(Rest { id: *id, at: 0, taken, arrival }, &mut room, taker);
                }
                taken == limit
            });
            self.readable = readable;
        }
        room.handed
    }

    /// Fills the tray from one socket. An error there is one datagram's, or nothing at all.
    fn take_from(&mut self, id: SocketId, limit: usize) -> usize {
        let Some(Socket { socket, .. }) = self.sockets.get(id) else { return 0 };
        self.stats.syscalls += 1;
        self.arrivals.fill(socket.as_raw_fd(), limit).unwrap_or(0)
    }

    /// Hands out messages of the tray, piece by piece, while there is room; the next turn begins
    /// with what is left.
    fn hand(&mut self, mut rest: Rest, room: &mut Room, taker: &mut dyn Taker) {
        let Self { arrivals, stats, .. } = self;
        for at in rest.at..rest.taken.min(rest.at + AHEAD) {
            taker.foresee(rest.id, arrivals.payload(at, 0..FRONT_BYTES));
        }
        loop {
            if rest.at + AHEAD < rest.taken {
                taker.foresee(rest.id, arrivals.payload(rest.at + AHEAD, 0..FRONT_BYTES));
            }
            match &mut rest.arrival {
                Arrival::Whole { from, pieces } => {
                    let whence = (rest.id, *from);
                    let is_joined = pieces.are_joined();
                    loop {
                        if room.left == 0 {
                            self.rest = Some(rest);
                            return;
                        }
                        room.left -= 1;
                        let piece = arrivals.payload(rest.at, pieces.next());
                        let is_handed = stats.hand_piece(whence, (piece, is_joined), taker);
                        room.handed += usize::from(is_handed);
                        if !pieces.are_left() {
                            break;
                        }
                    }
                }
                // Counts too: a flood of them must not hold the turn.
                Arrival::Truncated => {
                    stats.truncated += 1;
                    room.left = room.left.saturating_sub(1);
                }
                Arrival::Foreign => room.left = room.left.saturating_sub(1),
            }
            rest.at += 1;
            if rest.at == rest.taken {
                return;
            }
            rest.arrival = arrivals.arrival(rest.at);
        }
    }

    /// Hands out what the last turn had no room for; of a socket that was closed since, nothing.
    fn hand_rest(&mut self, room: &mut Room, taker: &mut dyn Taker) {
        if let Some(rest) = self.rest.take().filter(|rest| self.sockets.get(rest.id).is_some()) {
            self.hand(rest, room, taker);
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
        pieces::join(fd);
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

    fn send_with(&mut self, id: SocketId, write: &mut Writer<'_>) -> bool {
        if self.sends.is_full() {
            self.flush();
        }
        let Some((len, to)) = write(self.sends.room()) else { return false };
        let place = self.sockets.get(id).and_then(|Socket { family, socket }| {
            Some((socket.as_raw_fd(), RawAddress::encode(to, *family)?))
        });
        match place {
            Some((fd, to)) => self.sends.queue(id, fd, to, len),
            None => self.stats.send_failed += 1,
        }
        true
    }

    fn turn_into(&mut self, timeout: Option<Duration>, taker: &mut dyn Taker) -> io::Result<usize> {
        self.flush();
        if self.rest.is_none()
            && let Some(most) = self.spin.before(timeout.unwrap_or(Duration::MAX))
            && self.look(most)?
        {
            self.parking.unpark();
            return Ok(self.take(taker));
        }
        let is_busy = timeout == Some(Duration::ZERO) || self.rest.is_some();
        let may_wait = !is_busy && self.parking.park();
        let waited = self.poll.wait(if may_wait { timeout } else { Some(Duration::ZERO) });
        self.parking.unpark();
        self.stats.syscalls += waited?;
        Ok(self.take(taker))
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
