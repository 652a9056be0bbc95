//! Rounds of probes: a direct ping, relays when it is late, suspicion when all stay silent
//! (rules F-1 to F-4 and F-8).

use arrayvec::ArrayVec;
use zerocopy::byteorder::little_endian::{U16, U32};

use super::{Node, Peer};
use crate::detector::order::{KEEPS_ORDER, ProbeOrder};
use crate::detector::probe::{Acked, MAX_RELAYS};
use crate::event::{Event, Timer};
use crate::member::{MemberId, State};
use crate::membership::roster::List;
use crate::membership::table::{Member, MemberTable};
use crate::time::{Duration, Instant};
use crate::wire::message::{self, PingRequest};

impl<T: MemberTable> Node<T> {
    pub(super) fn probe_round(&mut self, now: Instant) {
        if self.departure.is_leaving() {
            return;
        }
        self.timers.set(Timer::ProbeRound, now + self.awareness.stretch(self.config.interval));
        if self.observes() {
            self.settle(now);
            self.redial(now);
            return;
        }
        let parts = self.config.parts();
        for _ in 0..ProbeOrder::probes_per_interval(self.members(), parts.promise) {
            if !self.probe_next(now) {
                break;
            }
        }
        if parts.extras {
            self.redial(now);
            return;
        }
        self.push_pull(now);
        if !self.is_joined() {
            self.dial_an_absent_seed(now);
        }
    }

    fn probe_next(&mut self, now: Instant) -> bool {
        let keeps = self.config.parts().promise && self.members() <= KEEPS_ORDER;
        let (table, probes, local) = (&self.table, &self.probes, self.local);
        let target = self.order.next(
            &mut self.rng,
            keeps,
            || table.members(List::Present).map(Member::id).filter(|id| *id != local),
            |id| table.get(id).is_some_and(|member| member.state.is_present()),
            |id| !probes.is_probing(id),
        );
        let Some(peer) = target.and_then(|id| self.peer(id)) else { return false };
        self.stats.probes += 1;
        let interval = self.awareness.stretch(self.config.interval);
        let ends = now + interval;
        let sequence = self.probes.begin(now, peer.id, ends);
        let late = now + self.direct_timeout(peer.id, interval);
        self.timers.set(Timer::PingLate(sequence), late);
        self.timers.set(Timer::ProbeEnd(sequence), ends);
        let ping = self.ping(sequence);
        self.send(peer, &ping);
        self.warn_a_suspect(peer);
        true
    }

    /// How long the direct ping may take: stretched like the probe (rule F-4), and half of it at
    /// most, because relays need the other half.
    fn direct_timeout(&self, target: MemberId, probe: Duration) -> Duration {
        let ceiling = self.config.ping_timeout;
        let healthy = if self.config.parts().extras {
            self.contacts.ping_timeout(target, ceiling)
        } else {
            ceiling
        };
        self.awareness.stretch(healthy).min(probe / 2)
    }

    /// Lifeguard's buddy system: who is pinged while doubted learns so from the ping itself.
    pub(super) fn warn_a_suspect(&mut self, peer: Peer) {
        if !self.config.parts().buddy {
            return;
        }
        let Some(member) = self.table.get(peer.id) else { return };
        if member.state == State::Suspect {
            let claim = message::Suspicion {
                id: peer.id.0,
                incarnation: member.incarnation().into(),
                accuser: self.local.0,
            };
            self.send(peer, &claim);
        }
    }

    pub(super) fn ping_late(&mut self, now: Instant, sequence: u32) {
        let Some((target, left)) = self.probes.late(now, sequence) else { return };
        self.look_afresh(target);
        let relays = self.draw_relays(target);
        // A nack must reach us before the probe ends.
        let patience = left * 4 / 5;
        let request = PingRequest {
            sequence: U32::new(sequence),
            timeout_ms: U16::new(u16::try_from(patience.as_millis()).unwrap_or(u16::MAX)),
            reserved: U16::ZERO,
            target: target.0,
        };
        for relay in &relays {
            if let Some(peer) = self.peer(*relay) {
                self.stats.indirect_pings += 1;
                self.send(peer, &request);
            }
        }
        self.probes.relayed(sequence, relays);
    }

    fn draw_relays(&mut self, target: MemberId) -> ArrayVec<MemberId, MAX_RELAYS> {
        let wanted = self.config.indirect_pings.min(MAX_RELAYS);
        let mut relays = ArrayVec::new();
        let extras = self.config.parts().extras;
        // memberlist asks no suspect: some of those drawn may not serve.
        let spare = if extras { 1 } else { wanted + 1 };
        for id in self.draw_present(wanted + spare) {
            let known = self.table.get(id).map(|member| member.state);
            let serves = extras || known == Some(State::Alive);
            if id != target && serves && relays.len() < wanted {
                relays.push(id);
            }
        }
        relays
    }

    /// Up to `wanted` distinct present members other than ourselves, at random.
    pub(super) fn draw_present(&mut self, wanted: usize) -> alloc::vec::Vec<MemberId> {
        let others = self.members().saturating_sub(1);
        // Rejection is cheap while few are wanted of many; of few, everybody is looked at, lest a
        // small mesh be told of a leave by chance.
        if others <= wanted * 4 {
            let mut drawn: alloc::vec::Vec<MemberId> =
                self.table.members(List::Present).map(Member::id).collect();
            drawn.retain(|id| *id != self.local);
            self.rng.shuffle(&mut drawn);
            drawn.truncate(wanted);
            return drawn;
        }
        let mut drawn = alloc::vec::Vec::with_capacity(wanted);
        for _ in 0..(wanted * 8) {
            if drawn.len() == wanted {
                break;
            }
            let Some(member) = self.table.sample(List::Present, &mut self.rng) else { break };
            let id = member.id();
            if id != self.local && !drawn.contains(&id) {
                drawn.push(id);
            }
        }
        drawn
    }

    pub(super) fn probe_answered(&mut self, sequence: u32, acked: Acked) {
        self.timers.cancel(Timer::PingLate(sequence));
        self.timers.cancel(Timer::ProbeEnd(sequence));
        self.awareness.probe_acked();
        self.stats.probes_acked += 1;
        if let Some(rtt) = acked.rtt {
            self.contacts.measured(acked.target, rtt);
            self.emit(Event::RoundTrip { peer: acked.target, rtt });
        }
    }

    pub(super) fn probe_ended(&mut self, now: Instant, sequence: u32) {
        self.timers.cancel(Timer::PingLate(sequence));
        let Some(failed) = self.probes.ended(sequence) else { return };
        self.stats.probes_failed += 1;
        self.emit(Event::ProbeFailed(failed.target));
        if self.config.parts().health {
            self.awareness.probe_failed(failed.relays, failed.nacks);
        }
        if let Some(member) = self.table.get(failed.target) {
            let incarnation = member.incarnation();
            self.suspect(now, None, failed.target, incarnation, self.local);
        }
    }

    /// We were away (rule F-8): what our silence made of others is no evidence against them.
    /// Open probes are dropped, and suspicions get time for an answer to be read.
    pub(super) fn forgive_a_stall(&mut self, now: Instant) {
        let Some((due, _)) = self.timers.next() else { return };
        let forgives = self.config.parts().extras;
        let pause = now.since(due);
        let late = if self.observes() { super::observing::LATE } else { self.config.interval };
        if !forgives || pause <= late {
            return;
        }
        self.stats.stalls += 1;
        let mut probes = alloc::vec::Vec::new();
        let mut suspects = alloc::vec::Vec::new();
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::ProbeEnd(sequence) => probes.push(sequence),
                Timer::Suspicion(id) => suspects.push(id),
                Timer::PingLate(sequence) if self.observes() => self.forget_ping(sequence),
                // Nobody was asked to relay: the probe as a whole is void.
                Timer::PingLate(sequence) => {
                    self.timers.cancel(Timer::ProbeEnd(sequence));
                    probes.push(sequence);
                }
                // The requester has given up by now; its place is free.
                Timer::RelayLate(sequence) => drop(self.relays.late(sequence)),
                Timer::Test(_) => {}
                Timer::ProbeRound
                | Timer::Gossip
                | Timer::Reap
                | Timer::Ticket
                | Timer::Pull
                | Timer::Record
                | Timer::Walk
                | Timer::Leave
                | Timer::Ring
                | Timer::Watch
                | Timer::Leaders
                | Timer::Audit => {
                    // Periodic work is due once, however long we were away.
                    self.timers.set(timer, now + Duration::from_nanos(1));
                }
            }
        }
        self.forgive_in_tests(now, pause);
        self.leading.unsettle(now);
        for sequence in probes {
            self.probes.ended(sequence);
        }
        let spared = now + self.config.suspicion_interval / 4;
        for id in suspects {
            self.timers.set(Timer::Suspicion(id), spared);
            if let Some(suspicion) = self.suspicions.get_mut(&id) {
                suspicion.spare_until(spared);
            }
        }
    }
}
