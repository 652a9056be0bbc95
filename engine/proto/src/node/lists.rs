//! Revocation lists: who has a newer one, and who is told of ours (rule S-16).

use super::{Node, Peer};
use crate::dissemination::lists::Heard;
use crate::dissemination::queue::{LEAST_SENDS, transmit_limit};
use crate::event::{StreamRequest, Timer};
use crate::membership::table::MemberTable;
use crate::time::Instant;
use crate::wire::message::{ListNotice, Packet};

/// Wishes that wait for their driver; a further one is made again by the next notice.
const WISHES: usize = 16;

impl<T: MemberTable> Node<T> {
    /// These revocation lists are in force here, all of them: what is news among them is announced.
    pub fn handle_lists(&mut self, now: Instant, notices: &[ListNotice]) {
        if self.lists.hold(notices) && self.timers.deadline(Timer::Gossip).is_none() {
            self.timers.set(Timer::Gossip, now + self.config.gossip_interval);
        }
    }

    /// The next member that has a revocation list for us, and where it listens. No ids stand in it.
    pub fn poll_list_wish(&mut self) -> Option<StreamRequest> {
        self.list_wishes.pop_front()
    }

    pub(super) fn on_list_notice(&mut self, now: Instant, from: Peer, notice: &ListNotice) {
        match self.lists.heard(now, from.id, notice) {
            Heard::Nothing => {}
            Heard::Tell(ours) => self.send(from, &ours),
            Heard::Ask => {
                let Peer { id, address } = self.peer(from.id).unwrap_or(from);
                let wish = StreamRequest { peer: id, address, members: alloc::vec![] };
                if self.list_wishes.len() < WISHES && !self.list_wishes.contains(&wish) {
                    self.list_wishes.push_back(wish);
                }
            }
        }
    }

    pub(super) fn has_list_news(&self) -> bool {
        self.lists.is_waiting(self.list_sends())
    }

    /// Says whether a notice went in.
    pub(super) fn fill_with_a_list(&mut self, packet: &mut Packet) -> bool {
        if self.lists.is_empty() {
            return false;
        }
        let sends = self.list_sends();
        self.lists.fill(packet, self.config.max_payload, sends)
    }

    /// Whoever missed a notice learns of it from one that its neighbours send along now and then.
    pub(super) fn remind_of_lists(&mut self) {
        let sends = self.list_sends();
        self.lists.remind(sends);
    }

    fn list_sends(&self) -> u32 {
        transmit_limit(self.config.retransmit_limit, self.members(), LEAST_SENDS)
    }
}
