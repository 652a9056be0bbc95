//! Whoever shows by its digest what it has not heard of is told just that (rule G-6).
//!
//! While few updates wait they are sent a few times only; somebody is left out now and then. Every
//! ping and ack carries a digest, so whoever was left out is found within an interval, by what its
//! digest differs in.

use super::{Node, Peer};
use crate::event::Destination;
use crate::member::{MemberId, State};
use crate::membership::table::MemberTable;
use crate::time::Instant;
use crate::wire::message::Update;

impl<T: MemberTable> Node<T> {
    /// `to` has shown its digest: what it lacks of our latest changes goes to it, in the datagram
    /// that waits for it if there is one. That one needs no other updates then.
    pub(super) fn tell_what_is_lacking(&mut self, now: Instant, to: Peer, digest: u64) {
        if !self.observes() || self.is_departed(to.id) {
            return;
        }
        let difference = self.table.digest() ^ digest;
        if difference != 0 {
            // Acks of whoever was held up come together; what several of them show is told once.
            if self.answered.replace(digest) == Some(digest) {
                return;
            }
            if !self.flooding.lacking.take(now, to.id) {
                return self.stats.reject("lacking-budget");
            }
            let lacking = self.recent.explain(now, difference);
            if lacking.is_empty() {
                self.stats.unexplained += 1;
                return;
            }
            for id in lacking {
                self.tell_the_latest(now, to, id);
            }
        }
        let told = Destination::Member(to.id);
        if let Some(last) = self.outbox.back_mut()
            && last.transmit.to == told
        {
            last.told = true;
        }
    }

    fn tell_the_latest(&mut self, now: Instant, to: Peer, id: MemberId) {
        let Some(member) = self.table.get(id) else { return };
        match member.state {
            // It would be asked for.
            State::Alive | State::Suspect if self.flooding.bodies.take(now, to.id) => {
                self.send_record(to, id);
            }
            State::Alive | State::Suspect | State::Left => {
                let state = if member.state == State::Left { State::Left } else { State::Alive };
                let update = Update::new(id, member.incarnation(), state, member.record.hash());
                self.send(to, &update);
            }
            State::Dead => self.tell_what_is_known(now, to, id),
        }
    }
}
