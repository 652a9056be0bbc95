//! A network that loses, delays, cuts and holds back, between sockets that do none of it.
//!
//! For experiments on one machine whose kernel has no impairments to offer. A [`Weather`] says what
//! becomes of each datagram; [`Weathered`] carries it out around either backend, where a datagram has
//! arrived and its receiver has not seen it. So whoever dies has said what it said, and whoever is
//! gone hears nothing more.
//!
//! Invariants: without a weather this module is not there; with one, datagrams of one delay keep
//! their order, and nothing waits without bound: what does not find room is lost, as in a socket.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use mesh_gossip_proto::Instant;

use super::{
    AnyDatagrams, Backend, DATAGRAM_MAX_BYTES, Datagrams, IoStats, SocketId, TURN_MAX_DATAGRAMS,
    Taker, Waker, Writer,
};
use crate::clock::Clock;

/// Datagrams that wait for their time on one shard, at most.
const MOST_WAITING: usize = 65_536;
/// Whoever is blocked is looked after so often.
const BLOCKED_LOOK: Duration = Duration::from_millis(2);

/// What the network between sockets does. Asked by every shard, so it should answer soon.
pub trait Weather: Send + Sync {
    /// What becomes of a datagram: taken after so long, or `None` where it is lost.
    fn carry(&self, from: SocketAddr, to: SocketAddr) -> Option<Duration>;

    /// Whether who is bound to this address neither sends nor receives at the moment. What waits
    /// goes on when that ends.
    fn is_blocked(&self, at: SocketAddr) -> bool;

    /// A datagram waits for who is blocked.
    fn holds(&self);

    /// Whether a stream from the member at one address reaches that at another.
    fn connects(&self, from: SocketAddr, to: SocketAddr) -> bool;
}

/// Something on its way: by time, then as it came.
struct Late {
    due: Instant,
    number: u64,
    socket: SocketId,
    from: SocketAddr,
    bytes: Vec<u8>,
}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Late {}

impl Ord for Late {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A backend under a weather.
pub struct Weathered {
    inner: Box<AnyDatagrams>,
    way: Way,
    /// What blocked members have said.
    unsent: VecDeque<(SocketId, SocketAddr, Vec<u8>)>,
    due: Vec<Late>,
}

/// What is between the backend and whoever receives.
struct Way {
    weather: Arc<dyn Weather>,
    clock: Clock,
    sockets: HashMap<SocketId, SocketAddr>,
    late: BinaryHeap<Reverse<Late>>,
    taken: u64,
    /// What blocked members will hear.
    unheard: VecDeque<(SocketId, SocketAddr, Vec<u8>)>,
}

impl Weathered {
    /// Puts a backend under a weather.
    pub(crate) fn new(inner: AnyDatagrams, weather: Arc<dyn Weather>, clock: Clock) -> Self {
        let way = Way {
            weather,
            clock,
            sockets: HashMap::new(),
            late: BinaryHeap::new(),
            taken: 0,
            unheard: VecDeque::new(),
        };
        Self { inner: Box::new(inner), way, unsent: VecDeque::new(), due: Vec::new() }
    }

    pub(super) fn inner(&self) -> &AnyDatagrams {
        &self.inner
    }

    pub(super) fn inner_mut(&mut self) -> &mut AnyDatagrams {
        &mut self.inner
    }

    /// Sends what waited for senders that are blocked no longer.
    fn send_unblocked(&mut self) {
        for _ in 0..self.unsent.len() {
            let Some((socket, to, bytes)) = self.unsent.pop_front() else { return };
            if self.way.is_blocked(socket) {
                self.unsent.push_back((socket, to, bytes));
            } else if self.way.sockets.contains_key(&socket) {
                self.inner.send(socket, to, &bytes);
            }
        }
    }

    /// Takes out what may be heard now.
    fn take_due(&mut self) {
        self.way.let_hear();
        let now = self.way.clock.now();
        while self.due.len() < TURN_MAX_DATAGRAMS
            && self.way.late.peek().is_some_and(|Reverse(next)| next.due <= now)
        {
            let Some(Reverse(next)) = self.way.late.pop() else { return };
            if self.way.is_blocked(next.socket) {
                self.way.wait_to_hear(next.socket, next.from, next.bytes);
            } else if self.way.sockets.contains_key(&next.socket) {
                self.due.push(next);
            }
        }
    }

    fn patience(&self, wished: Option<Duration>) -> Option<Duration> {
        if !self.due.is_empty() {
            return Some(Duration::ZERO);
        }
        let now = self.way.clock.now();
        let next = self.way.late.peek().map(|Reverse(next)| next.due.since(now));
        let blocked = !(self.unsent.is_empty() && self.way.unheard.is_empty());
        let look = blocked.then_some(BLOCKED_LOOK);
        [wished, next, look].into_iter().flatten().min()
    }
}

impl Way {
    fn is_blocked(&self, socket: SocketId) -> bool {
        self.sockets.get(&socket).is_some_and(|at| self.weather.is_blocked(*at))
    }

    /// A datagram has arrived: it takes its way.
    fn arrive(&mut self, socket: SocketId, from: SocketAddr, bytes: &[u8]) {
        let Some(to) = self.sockets.get(&socket) else { return };
        let Some(delay) = self.weather.carry(from, *to) else { return };
        if self.late.len() < MOST_WAITING {
            self.taken += 1;
            let due = self.clock.now() + delay;
            let bytes = bytes.to_vec();
            self.late.push(Reverse(Late { due, number: self.taken, socket, from, bytes }));
        }
    }

    fn wait_to_hear(&mut self, socket: SocketId, from: SocketAddr, bytes: Vec<u8>) {
        if self.unheard.len() < MOST_WAITING {
            self.weather.holds();
            self.unheard.push_back((socket, from, bytes));
        }
    }

    /// Who is blocked no longer hears at once what waited, before what comes now.
    fn let_hear(&mut self) {
        for _ in 0..self.unheard.len() {
            let Some((socket, from, bytes)) = self.unheard.pop_front() else { return };
            if self.is_blocked(socket) {
                self.unheard.push_back((socket, from, bytes));
            } else {
                self.taken += 1;
                let late =
                    Late { due: Instant::from_nanos(0), number: self.taken, socket, from, bytes };
                self.late.push(Reverse(late));
            }
        }
    }
}

impl Datagrams for Weathered {
    fn backend(&self) -> Backend {
        self.inner.backend()
    }

    fn open(&mut self, socket: UdpSocket) -> io::Result<SocketId> {
        let at = socket.local_addr()?;
        let id = self.inner.open(socket)?;
        self.way.sockets.insert(id, at);
        Ok(id)
    }

    fn close(&mut self, socket: SocketId) {
        self.way.sockets.remove(&socket);
        self.unsent.retain(|(from, ..)| *from != socket);
        self.way.unheard.retain(|(at, ..)| *at != socket);
        self.inner.close(socket);
    }

    fn send_with(&mut self, socket: SocketId, write: &mut Writer<'_>) -> bool {
        if !self.way.is_blocked(socket) {
            return self.inner.send_with(socket, write);
        }
        let mut room = [0; DATAGRAM_MAX_BYTES];
        let Some((len, to)) = write(&mut room) else { return false };
        if self.unsent.len() < MOST_WAITING {
            self.way.weather.holds();
            self.unsent.push_back((socket, to, room[..len].to_vec()));
        }
        true
    }

    fn turn_into(&mut self, timeout: Option<Duration>, taker: &mut dyn Taker) -> io::Result<usize> {
        self.send_unblocked();
        self.take_due();
        let patience = self.patience(timeout);
        let way = &mut self.way;
        self.inner.turn(patience, &mut |socket, from, bytes| way.arrive(socket, from, bytes))?;
        self.take_due();
        let due = self.due.len();
        for Late { socket, from, mut bytes, .. } in self.due.drain(..) {
            taker.take(socket, from, &mut bytes);
        }
        Ok(due)
    }

    fn waker(&self) -> Waker {
        self.inner.waker()
    }

    fn stats(&self) -> IoStats {
        self.inner.stats()
    }
}
