//! What the kernel has put into buffers, on its way to whoever takes it.
//!
//! Invariant: a buffer goes back to the tray exactly once: when its last piece was handed out, or
//! at once when there is none for us.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::slice;

use io_uring::cqueue;

use super::super::ahead::AHEAD;
use super::super::pieces::Pieces;
use super::super::uring_tags::Tag;
use super::super::{Arrival, FRONT_BYTES, SocketId, TURN_MAX_DATAGRAMS, Taker};
use super::{Phase, Uring};

/// Pieces of a buffer that are to be handed out.
pub(super) struct Rest {
    id: SocketId,
    from: SocketAddr,
    buffer: u16,
    pieces: Pieces,
}

impl Uring {
    /// Takes a completion of a receive; returns what is to be handed out of it.
    pub(super) fn complete_receive(&mut self, id: SocketId, done: &cqueue::Entry) -> Option<Rest> {
        let is_last = !cqueue::more(done.flags());
        let socket = self.sockets.get_mut(id).expect("a place outlives its receive");
        let is_open = match std::mem::replace(&mut socket.phase, Phase::Closing) {
            Phase::Armed(inner) if is_last => {
                socket.phase = Phase::Unarmed(inner);
                self.unarmed.push_back(id);
                true
            }
            Phase::Armed(inner) => {
                socket.phase = Phase::Armed(inner);
                true
            }
            Phase::Closing => {
                if is_last {
                    self.sockets.remove(id);
                }
                false
            }
            Phase::Unarmed(_) => unreachable!("a receive completes only while it is armed"),
        };
        if done.result() == -libc::ENOBUFS {
            self.stats.out_of_buffers += 1;
        }
        let buffer = cqueue::buffer_select(done.flags())?;
        let written = usize::try_from(done.result()).unwrap_or(0);
        match self.buffers.arrival(buffer, written) {
            Arrival::Whole { from, pieces } if is_open => {
                return Some(Rest { id, from, buffer, pieces });
            }
            Arrival::Truncated => self.stats.truncated += 1,
            Arrival::Whole { .. } | Arrival::Foreign => {}
        }
        self.buffers.recycle(buffer);
        None
    }

    /// Hands out up to `room` pieces; what is left then waits for the next turn.
    fn hand(&mut self, mut rest: Rest, room: usize, taker: &mut dyn Taker) -> usize {
        let Rest { id, from, buffer, ref mut pieces } = rest;
        let (mut handed, is_joined) = (0, pieces.are_joined());
        while handed < room {
            let part = pieces.next();
            let piece = self.buffers.payload(buffer, part);
            handed += usize::from(self.stats.hand_piece((id, from), (piece, is_joined), taker));
            if !pieces.are_left() {
                self.buffers.recycle(buffer);
                return handed;
            }
        }
        self.rest = Some(rest);
        handed
    }

    /// Hands out what the last turn had no room for; of a socket that was closed since, nothing.
    fn hand_rest(&mut self, taker: &mut dyn Taker) -> usize {
        let Some(rest) = self.rest.take() else { return 0 };
        if self.descriptor(rest.id).is_some() {
            return self.hand(rest, TURN_MAX_DATAGRAMS, taker);
        }
        self.buffers.recycle(rest.buffer);
        0
    }

    /// Says what will be handed out before long.
    fn foresee(&mut self, done: &cqueue::Entry, taker: &mut dyn Taker) {
        if let Some(Tag::Receive(id)) = Tag::from_user_data(done.user_data())
            && let Some(buffer) = cqueue::buffer_select(done.flags())
        {
            taker.foresee(id, self.buffers.payload(buffer, 0..FRONT_BYTES));
        }
    }

    /// Hands out what has arrived, up to a turn's worth; the rest stays in the queue.
    pub(super) fn reap(&mut self, taker: &mut dyn Taker) -> usize {
        let mut handed = self.hand_rest(taker);
        let mut taken = [const { MaybeUninit::uninit() }; TURN_MAX_DATAGRAMS];
        while handed < TURN_MAX_DATAGRAMS {
            // Many at a time: the kernel is told of each batch, not of each completion.
            let batch = match self.sifted.pop_front() {
                Some(done) => slice::from_mut(taken[0].write(done)),
                None => self.ring.completion().fill(&mut taken[..TURN_MAX_DATAGRAMS - handed]),
            };
            if batch.is_empty() {
                break;
            }
            for ahead in batch.iter().take(AHEAD) {
                self.foresee(ahead, taker);
            }
            for (at, done) in batch.iter().enumerate() {
                if let Some(ahead) = batch.get(at + AHEAD) {
                    self.foresee(ahead, taker);
                }
                let room = TURN_MAX_DATAGRAMS - handed;
                if room == 0 {
                    self.sifted.push_back(done.clone());
                } else if let Some(rest) = self.complete(done) {
                    handed += self.hand(rest, room, taker);
                }
            }
        }
        self.buffers.publish();
        handed
    }
}
