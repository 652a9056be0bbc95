//! Messages out: what is meant for one peer travels together, and what room a datagram has left is
//! filled with updates (rule G-1).
//!
//! Invariants: a datagram to a member stays within `max_payload`; one to a seed carries no update; no
//! receiver has more than [`MOST_FOR_ONE`] that wait.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::{Node, clock};
use crate::dissemination::queue::{Carrier, Filling, LEAST_SENDS, Need, transmit_limit};
use crate::event::{Destination, Transmit};
use crate::member::MemberId;
use crate::membership::table::MemberTable;
use crate::time::Instant;
use crate::wire::message::{Body, Packet, kind};

/// Datagrams that wait for one receiver. What one asks for at once waits here before any of it leaves:
/// beyond this it is worth more to others, and is asked for again.
const MOST_FOR_ONE: usize = 1_024;

/// A datagram being put together. `gossip` ones are worth sending only if updates fill them.
pub(super) struct Outgoing {
    pub(super) transmit: Transmit,
    pub(super) packet: Packet,
    pub(super) gossip: bool,
    /// Which burst it belongs to; 0: none.
    pub(super) burst: u64,
    /// Begun for a body of some size that was asked for: whoever asks for a proof has heard the
    /// news, and an update that travels beside it is one that somebody else does not get.
    pub(super) bulk: bool,
    /// Its receiver's digest told which updates it lacks, and they are in it (rule G-6).
    pub(super) told: bool,
}

impl Outgoing {
    fn carrier(&self) -> Carrier {
        if self.told { Carrier::Told } else { Carrier::Any }
    }
}

/// The authenticated sender of a datagram and where it came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) id: MemberId,
    pub(super) address: SocketAddr,
}

impl<T: MemberTable> Node<T> {
    /// The next datagram, its plaintext in `buf`, which is overwritten.
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        loop {
            let Some(outgoing) = self.outbox.pop_front() else {
                // The next ones come to the same place: a ring would wander through memory.
                self.outbox.clear();
                return None;
            };
            let carrier = outgoing.carrier();
            let mut packet = outgoing.packet;
            if self.is_silent() && !clock::is_about_time(packet.as_bytes()) {
                self.recycle(packet.into_bytes());
                continue;
            }
            let updates = match outgoing.transmit.to {
                Destination::Member(_) if outgoing.bulk => 0,
                // A question about the time takes nothing along.
                Destination::Member(_) if self.is_silent() => 0,
                Destination::Member(to) => {
                    let notice = self.fill_with_a_list(&mut packet);
                    let burst = match outgoing.burst {
                        0 => self.next_burst(),
                        burst => burst,
                    };
                    usize::from(notice)
                        + self.fill_with_news(now, &mut packet, (to, burst, carrier))
                }
                // It waits for a handshake, with nobody perhaps: updates in it would count as sent,
                // and be yesterday's when it leaves.
                Destination::Seed => 0,
            };
            if outgoing.gossip && updates == 0 {
                self.recycle(packet.into_bytes());
                continue;
            }
            buf.clear();
            buf.extend_from_slice(packet.as_bytes());
            self.recycle(packet.into_bytes());
            self.stats.datagrams_out += 1;
            self.stats.bytes_out += buf.len() as u64;
            return Some(outgoing.transmit);
        }
    }

    /// A number for the datagrams that go to one target together.
    pub(super) fn next_burst(&mut self) -> u64 {
        self.bursts += 1;
        self.bursts
    }

    /// Appends updates to a datagram that may grow to `limit` bytes; returns how many went in.
    pub(super) fn fill_with_updates(
        &mut self,
        now: Instant,
        packet: &mut Packet,
        limit: usize,
        (to, burst, carrier): (MemberId, u64, Carrier),
    ) -> usize {
        if self.queue.is_empty() {
            return 0;
        }
        let sends = self.update_sends();
        let filling = Filling { sends, burst, carrier, to };
        let updates = self.queue.fill(now, packet, limit, filling);
        self.stats.updates_out += updates as u64;
        updates
    }

    /// How often an update is sent (rule G-1).
    pub(super) fn update_sends(&self) -> u32 {
        let least = if self.config.parts().extras { LEAST_SENDS } else { 1 };
        transmit_limit(self.config.retransmit_limit, self.members(), least)
    }

    /// How far an update has to go.
    pub(super) fn update_need(&self) -> Need {
        Need { sends: self.update_sends(), others: self.members().saturating_sub(1) }
    }

    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < 32 {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Sends one message to a member, in the datagram already waiting for it if it fits.
    pub(super) fn send<B: Body>(&mut self, to: Peer, body: &B) {
        self.send_raw(to, B::KIND, body.as_bytes());
    }

    pub(super) fn send_raw(&mut self, to: Peer, kind: u8, body: &[u8]) -> bool {
        let transmit = Transmit { to: Destination::Member(to.id), address: to.address };
        self.enqueue(transmit, kind, body)
    }

    pub(super) fn enqueue(&mut self, transmit: Transmit, kind: u8, body: &[u8]) -> bool {
        let limit = self.config.max_payload;
        // Only the newest datagrams are looked at: a burst to one peer ends up together, and the
        // search stays O(1).
        let recent = self.outbox.iter_mut().rev().take(4);
        for outgoing in recent {
            if outgoing.transmit.to == transmit.to && outgoing.transmit.address == transmit.address
            {
                if outgoing.packet.push_raw(limit, kind, body) {
                    outgoing.gossip = false;
                    return true;
                }
                break;
            }
        }
        if self.waits_for_too_much(transmit.to) {
            self.stats.outbox_refused += 1;
            return false;
        }
        let mut packet = Packet::on(self.spare.pop().unwrap_or_default());
        let fits = packet.push_raw(limit, kind, body);
        if fits {
            let bulk = matches!(kind, kind::PROOF | kind::PART | kind::CERTIFICATE);
            let outgoing =
                Outgoing { transmit, packet, gossip: false, burst: 0, bulk, told: false };
            self.outbox.push_back(outgoing);
        }
        fits
    }

    fn waits_for_too_much(&self, to: Destination) -> bool {
        // Nobody has more than there is, so that nobody is counted as long as little waits.
        self.outbox.len() >= MOST_FOR_ONE
            && self.outbox.iter().filter(|other| other.transmit.to == to).count() >= MOST_FOR_ONE
    }

    /// Where a member says that it listens.
    pub(super) fn peer(&self, id: MemberId) -> Option<Peer> {
        let address = *self.table.get(id)?.record.record().addresses.first()?;
        Some(Peer { id, address })
    }
}
