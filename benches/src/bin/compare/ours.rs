//! Our datagram path, by the engine's own parts: a backend's turn, the links with their sessions,
//! the messages of a payload, and back.
//!
//! What a shard does around it is done here as well: one reading of the clock a turn, answers only
//! after the turn, and a look at the links' next deadline. What the node does with a message is not
//! in it: it is the membership protocol, and has benches of its own.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_gossip::io::{AnyDatagrams, Datagrams, SocketId, Taker, bind, start};
use mesh_gossip::link::{HotKeys, MOST_HOT};
use mesh_gossip::options::BackendChoice;
use mesh_gossip::tls::credentials::Credentials;
use mesh_gossip_benches::meeting::{End, meet, message};
use mesh_gossip_proto::wire::message::{Messages, Packet};
use mesh_gossip_proto::{Destination, Instant, MemberId, Transmit};

use crate::crowd::{Crowd, Shape, loopback, until_served};
use crate::turns::{Alternative, Mistake};

/// What a session adds to a payload: header and tag.
pub(crate) const SEAL_BYTES: usize = 32;
/// Between two handshakes, or strangers would use up what the links spend on them (rule S-7).
const HANDSHAKE_EVERY: Duration = Duration::from_millis(5);

/// Somebody to answer.
struct Owed {
    to: MemberId,
    path: SocketAddr,
}

/// The engine's side of a session, and the crowd's.
pub(crate) struct Ours<'a> {
    crowd: &'a RefCell<Crowd>,
    shape: Shape,
    name: &'static str,
    io: AnyDatagrams,
    socket: SocketId,
    hub: End,
    peers: Vec<End>,
    payload: Vec<u8>,
    owed: Vec<Owed>,
    plain: Vec<u8>,
    messages: u64,
    clock: (std::time::Instant, Instant),
}

/// What a turn hands out.
struct Taking<'a> {
    hub: &'a mut End,
    owed: &'a mut Vec<Owed>,
    messages: &'a mut u64,
    clock: &'a (std::time::Instant, Instant),
    read_at: Option<Instant>,
}

impl Taker for Taking<'_> {
    fn take(&mut self, _: SocketId, from: SocketAddr, datagram: &mut [u8]) {
        let now = *self.read_at.get_or_insert_with(|| Ours::now(self.clock));
        let Some(delivery) = self.hub.links.receive(now, from, datagram) else { return };
        *self.messages += Messages::new(delivery.payload).filter(Result::is_ok).count() as u64;
        self.owed.push(Owed { to: delivery.from, path: delivery.path });
    }

    fn foresee(&mut self, _: SocketId, front: &[u8]) {
        self.hub.links.foresee(front);
    }
}

/// Who takes part.
pub(crate) struct Party<'a> {
    pub(crate) hub: &'a Arc<Credentials>,
    pub(crate) peers: &'a [Arc<Credentials>],
}

impl<'a> Ours<'a> {
    /// On the backend that `choice` names; both ends say `payload` and nothing else.
    pub(crate) fn new(
        crowd: &'a RefCell<Crowd>,
        shape: Shape,
        party: &Party<'_>,
        choice: BackendChoice,
        payload: Vec<u8>,
    ) -> io::Result<Self> {
        let (mut io, _) = start(choice).map_err(io::Error::other)?;
        let socket = bind(loopback())?;
        let mut hub = End::at(Arc::clone(party.hub), 1_000, socket.local_addr()?);
        hub.links.set_members(shape.peers);
        hub.links.share_keys(Arc::new(HotKeys::of(MOST_HOT)));
        let mut now = Instant::ORIGIN + Duration::from_secs(60);
        let mut peers = Vec::new();
        for (number, credentials) in party.peers[..shape.peers].iter().enumerate() {
            let address = crowd.borrow().address(number);
            let mut peer = End::at(Arc::clone(credentials), number as u32, address);
            now += HANDSHAKE_EVERY;
            let traffic = meet(now, &mut peer, &mut hub, &payload);
            assert_eq!(traffic.delivered, 1, "they know each other");
            peers.push(peer);
        }
        let name = match io.backend() {
            mesh_gossip::io::Backend::Uring => "mesh-gossip, uring",
            mesh_gossip::io::Backend::Mmsg => "mesh-gossip, mmsg",
        };
        Ok(Self {
            crowd,
            shape,
            name,
            socket: io.open(socket)?,
            io,
            hub,
            peers,
            payload,
            owed: Vec::new(),
            plain: Vec::new(),
            messages: 0,
            clock: (std::time::Instant::now(), now),
        })
    }

    /// Datagrams of `size` bytes with one message each.
    pub(crate) fn payload_of(size: usize) -> Vec<u8> {
        message(size - SEAL_BYTES)
    }

    fn now(clock: &(std::time::Instant, Instant)) -> Instant {
        clock.1 + clock.0.elapsed()
    }

    /// One turn of a shard.
    fn turn(&mut self, patience: Duration) -> usize {
        let Self { io, hub, owed, messages, clock, .. } = self;
        let mut taking = Taking { hub, owed, messages, clock, read_at: None };
        io.turn_into(Some(patience), &mut taking).expect("the backend goes on");
        let answered = self.owed.len();
        self.answer();
        answered
    }

    /// Says as much to everybody who is owed an answer.
    fn answer(&mut self) {
        let now = Self::now(&self.clock);
        let Self { io, hub, owed, plain, payload, .. } = self;
        for Owed { to, path } in owed.drain(..) {
            plain.clear();
            let mut packet = Packet::on(std::mem::take(plain));
            for (kind, body) in frames(payload) {
                packet.push_raw(payload.len(), kind, body);
            }
            *plain = packet.into_bytes();
            let transmit = Transmit { to: Destination::Member(to), address: path };
            let mut seal = |room: &mut [u8]| hub.links.send_into(now, &transmit, plain, room);
            io.send_with(self.socket, &mut seal);
        }
        std::hint::black_box(hub.links.poll_timeout());
    }
}

/// The frames of a payload.
fn frames(mut payload: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [kind, low, high, rest @ ..] = payload else { return None };
        let (body, rest) = rest.split_at(usize::from(u16::from_le_bytes([*low, *high])));
        payload = rest;
        Some((*kind, body))
    })
}

impl Alternative for Ours<'_> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&mut self) -> usize {
        let now = Self::now(&self.clock);
        let crowd = self.crowd.borrow();
        let to = self.hub.address();
        let mut run = Vec::new();
        for (number, peer) in self.peers.iter_mut().enumerate() {
            run.clear();
            for _ in 0..self.shape.depth {
                run.extend(peer.send(now, &self.hub, &self.payload).unwrap_or_default());
            }
            crowd.say(number, to, &run, self.payload.len() + SEAL_BYTES);
        }
        self.shape.batch()
    }

    fn serve(&mut self) -> usize {
        let batch = self.shape.batch();
        let served = until_served(batch, || self.turn(Duration::ZERO));
        // What was answered last leaves with the next turn.
        served + self.turn(Duration::ZERO)
    }

    fn collect(&mut self) -> Result<(), Mistake> {
        let now = Self::now(&self.clock);
        let mut crowd = self.crowd.borrow_mut();
        let from = self.hub.address();
        for (number, peer) in self.peers.iter_mut().enumerate() {
            while let Some(answer) = crowd.take(number) {
                let opened = peer.links.receive(now, from, answer);
                if opened.is_none_or(|opened| opened.payload != self.payload) {
                    return Err(Mistake("an answer does not open, or says something else"));
                }
            }
            peer.run_until(now);
        }
        self.hub.run_until(now);
        if self.messages == 0 {
            return Err(Mistake("nothing was parsed"));
        }
        Ok(())
    }
}
