//! Gossip ticks and the redial of the dead (rules G-3, H-1 and H-2).

use super::{Node, Outgoing, Peer};
use crate::event::{Destination, Timer, Transmit};
use crate::member::{Incarnation, MemberId, State};
use crate::membership::roster::List;
use crate::membership::table::{Member, MemberTable};
use crate::time::Instant;
use crate::wire::message::{Notice, Packet};

/// A backlog sends up to so many full datagrams a target and tick.
const BURST: usize = 10;
/// Draws that look for a dead member among the departed,
const DRAWS: usize = 8;
/// and how many departed are looked through when they meet none.
const SCANNED: usize = 8_192;

impl<T: MemberTable> Node<T> {
    pub(super) fn gossip_tick(&mut self, now: Instant) {
        let (broadcasts, bytes) = self.speaking.waiting();
        if self.queue.is_empty() && broadcasts == 0 && !self.has_list_news() {
            return;
        }
        let fanout = self.fanout_at(now).min(self.config.max_outbound_per_round);
        let sends = self.update_sends();
        let fanout = match broadcasts == 0 && !self.has_list_news() {
            true => self.queue.targets(now, fanout, sends),
            false => fanout,
        };
        if fanout == 0 {
            return;
        }
        self.timers.set(Timer::Gossip, now + self.config.gossip_interval);
        let a_datagram = self.config.max_payload / 43;
        let backlog = self.queue.len() / a_datagram + bytes.div_ceil(self.config.max_payload) + 1;
        let (targets, datagrams) = if self.config.parts().extras {
            (self.draw_gossip_targets(fanout), backlog.min(BURST))
        } else {
            (self.draw_with_recently_dead(now, fanout), 1)
        };
        for id in targets {
            let Some(peer) = self.peer(id) else { continue };
            let burst = self.next_burst();
            for _ in 0..datagrams {
                self.enqueue_gossip(peer, burst);
            }
        }
    }

    /// Members that a tick reaches at `now`: one more for each tick that the oldest news has waited
    /// beyond the next one (rule G-5).
    fn fanout_at(&self, now: Instant) -> usize {
        let tick = self.config.gossip_interval.as_nanos().max(1);
        let late = (self.queue_age(now).as_nanos() / tick).saturating_sub(1);
        self.raised_fanout(usize::try_from(late).unwrap_or(usize::MAX))
    }

    fn draw_gossip_targets(&mut self, fanout: usize) -> alloc::vec::Vec<MemberId> {
        if self.observes() {
            let active = self.draw_active(fanout);
            if !active.is_empty() {
                return active;
            }
        }
        self.draw_present(fanout)
    }

    fn enqueue_gossip(&mut self, to: Peer, burst: u64) {
        let transmit = Transmit { to: Destination::Member(to.id), address: to.address };
        let packet = Packet::on(self.spare.pop().unwrap_or_default());
        self.outbox.push_back(Outgoing {
            transmit,
            packet,
            gossip: true,
            burst,
            bulk: false,
            told: false,
        });
    }

    /// Each interval one of the dead is told so, with probability min(½, dead/(5·alive)): if it
    /// lives, it answers with a higher incarnation. Seeds that are absent are dialled as well.
    pub(super) fn redial(&mut self, now: Instant) {
        let counts = self.table.counts();
        let odds = (counts.dead as f64 / (5 * counts.present().max(1)) as f64).min(0.5);
        let odds = if self.misses_somebody() { 1.0 } else { odds };
        if self.rng.f64() < odds && !self.is_exiled() {
            self.redial_one_dead();
        }
        self.dial_an_absent_seed(now);
    }

    /// One of the dead, at random, among those that left.
    fn draw_a_dead(&mut self) -> Option<(MemberId, Incarnation)> {
        let counts = self.table.counts();
        if counts.dead == 0 {
            return None;
        }
        let named = |member: &Member| (member.id(), member.incarnation());
        for _ in 0..DRAWS {
            let member = self.table.sample(List::Departed, &mut self.rng)?;
            if member.state == State::Dead {
                return Some(named(member));
            }
        }
        // Few dead among many that left: a draw would hardly ever meet one.
        if counts.dead + counts.left > SCANNED {
            return None;
        }
        let turn = self.rng.usize(..counts.dead);
        let mut dead = self.table.members(List::Departed).filter(|m| m.state == State::Dead);
        dead.nth(turn).map(named)
    }

    fn redial_one_dead(&mut self) {
        let Some((id, incarnation)) = self.draw_a_dead() else { return };
        let Some(peer) = self.peer(id) else { return };
        let announcer = self.announcer_of(id);
        self.send(peer, &Notice { incarnation: incarnation.into(), announcer: announcer.0 });
        let sequence = self.probes.sequence();
        let ping = self.ping(sequence);
        self.send(peer, &ping);
    }
}
