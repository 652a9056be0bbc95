//! Regular pings in staggered turn, and what every ack means (rules D-2 and D-4).

use zerocopy::byteorder::little_endian::{I16, U16};

use crate::detector::baseline::Baseline;
use crate::detector::phase;
use crate::detector::pings::{Ping, Purpose};
use crate::event::{Event, Timer};
use crate::member::{MemberId, State};
use crate::membership::table::{Member, MemberTable};
use crate::node::{Node, Peer};
use crate::time::{Duration, Instant};
use crate::wire::message::Ack;

impl<T: MemberTable> Node<T> {
    /// Pings every subject whose turn has come.
    pub(in crate::node) fn watch_due(&mut self, now: Instant) {
        if self.departure.is_leaving() {
            return;
        }
        let period = self.period();
        while let Some(subject) = self.observing.watch.take_due(now, period) {
            self.watch_one(now, subject);
        }
        self.plan_watch();
    }

    /// New subjects are pinged at once, beside their turns: a member that dies as soon as it has
    /// joined finds observers that know the way to it and how often the living answer.
    pub(super) fn meet(&mut self, now: Instant, strangers: &[MemberId]) {
        if !self.departure.is_leaving() {
            strangers.iter().for_each(|subject| self.watch_one(now, *subject));
        }
    }

    /// In a small mesh a change moves everybody's slots, and few of a subject's observers need to
    /// lie badly for it to be looked at by nobody for seconds: until they have fallen into place, each
    /// pings each interval (rule D-2).
    pub(in crate::node) fn settle(&mut self, now: Instant) {
        if self.settles(now) {
            let subjects: alloc::vec::Vec<MemberId> = self.observing.watch.subjects().collect();
            self.meet(now, &subjects);
        }
    }

    fn settles(&self, now: Instant) -> bool {
        self.observing.settling.is_some_and(|until| now < until)
    }

    fn watch_one(&mut self, now: Instant, subject: MemberId) {
        // A subject under test is pinged often enough. Its turn counts all the same: whoever is deaf
        // soon tests all its subjects, and would else lose no more pings.
        if let Some(test) = self.observing.tests.get(&subject) {
            if let Some(sequence) = test.unanswered() {
                self.observing.exile.pinged(sequence, subject);
            }
            return;
        }
        let Some((peer, _)) = self.testable(subject) else { return };
        self.stats.probes += 1;
        let (sequence, _) = self.ping_for(now, peer, Purpose::Watch);
        self.observing.exile.pinged(sequence, subject);
    }

    /// Sends a ping for `purpose`; returns its number and when it counts as lost, which a timer
    /// watches unless a test does so.
    pub(super) fn ping_for(&mut self, now: Instant, to: Peer, purpose: Purpose) -> (u32, Instant) {
        let sequence = self.probes.sequence();
        let patience = match purpose {
            Purpose::Audit => crate::detector::audit::PATIENCE,
            Purpose::Watch | Purpose::Test | Purpose::Control(_) => self.patience(now, to.id),
        };
        let due = now + patience;
        self.observing.pings.sent(sequence, Ping { target: to.id, sent: now, due, purpose });
        match purpose {
            Purpose::Watch | Purpose::Audit => self.timers.set(Timer::PingLate(sequence), due),
            Purpose::Test | Purpose::Control(_) => {}
        }
        let ping = self.ping(sequence);
        self.send(to, &ping);
        (sequence, due)
    }

    /// A regular ping or a look at a random member was not answered in time.
    pub(in crate::node) fn watch_late(&mut self, now: Instant, sequence: u32) {
        let Some(ping) = self.observing.pings.get(sequence).copied() else { return };
        match ping.purpose {
            Purpose::Watch => self.doubt(now, sequence, ping),
            Purpose::Audit => {
                self.observing.pings.forget(sequence);
                self.audit_failed(now, ping.target);
            }
            Purpose::Test | Purpose::Control(_) => {}
        }
    }

    /// What an ack tells beside the answer itself: b for others, and whose turn it was.
    pub(in crate::node) fn ack_fields(&mut self, now: Instant, to: MemberId) -> (U16, I16) {
        if !self.observes() {
            // The baselines keep no b and no phase: "perfect" and "on time".
            return (U16::new(u16::MAX), I16::ZERO);
        }
        let observers = &self.observing.observers;
        let slot = observers.iter().position(|id| *id == to);
        let error_ms = slot.map_or(0, |slot| {
            phase::error_ms(now + self.observing.anchor, slot, observers.len(), self.period())
        });
        (U16::new(self.observing.baseline.to_wire()), I16::new(error_ms))
    }

    /// An ack arrived.
    pub(in crate::node) fn observed_ack(&mut self, now: Instant, from: Peer, ack: &Ack) {
        let sequence = ack.sequence.get();
        let theirs = Baseline::from_wire(ack.baseline.get());
        self.observing.exile.acked(sequence, from.id, theirs);
        let Some(ping) = self.observing.pings.acked(sequence, from.id) else {
            // Answered by a handshake already; the return may have waited for this ack.
            if self.observing.exile.may_return() {
                self.return_from_exile(now);
            }
            return;
        };
        let rtt = now.since(ping.sent);
        // A later one tells of a pause, not of the path.
        if rtt <= self.config.ping_timeout {
            self.contacts.measured(from.id, rtt);
        }
        self.emit(Event::RoundTrip { peer: from.id, rtt });
        if ping.purpose == Purpose::Watch {
            let period = self.period();
            let error_ms = ack.phase_error.get();
            let early = if self.settles(now) { Duration::ZERO } else { period / 4 };
            self.observing.watch.shift(now, from.id, ping.sent, error_ms, period, early);
            self.plan_watch();
        }
        self.answered(now, from.id, sequence, ping);
    }

    /// A handshake that we began proved that `peer` lives (rule S-9). It is repeated where a ping is
    /// not, so that it earns no return (rule D-13).
    pub(in crate::node) fn observed_proof_of_life(&mut self, now: Instant, peer: MemberId) {
        let Some(sequence) = self.observing.pings.oldest_to(peer) else { return };
        let Some(ping) = self.observing.pings.acked(sequence, peer) else { return };
        self.answered(now, peer, sequence, ping);
    }

    fn answered(&mut self, now: Instant, from: MemberId, sequence: u32, ping: Ping) {
        self.timers.cancel(Timer::PingLate(sequence));
        let timely = now <= ping.due;
        match ping.purpose {
            Purpose::Watch => {
                self.observing.baseline.sample(timely);
                self.stats.probes_acked += 1;
            }
            Purpose::Test => {
                self.observing.baseline.sample(timely);
                if let Some(test) = self.observing.tests.get_mut(&from) {
                    test.acked(sequence);
                }
            }
            Purpose::Control(subject) => {
                let test = self.observing.tests.get_mut(&subject);
                if test.is_some_and(|test| test.control_acked(sequence)) {
                    self.observing.baseline.sample(timely);
                }
            }
            Purpose::Audit => {
                self.observing.baseline.sample(timely);
                self.observing.acquaintances.add(from);
            }
        }
        self.answers(now, from);
        if self.observing.exile.may_return() {
            self.return_from_exile(now);
        }
    }

    /// `from` answered a ping of ours: whatever we hold against it alone is over.
    fn answers(&mut self, now: Instant, from: MemberId) {
        if self.observing.unreachable.contains(&from) {
            // What its long silence added up to says nothing of it any more.
            self.drop_test(from);
            self.reachable_again(now);
        }
        if self.observing.tests.contains_key(&from) {
            self.drive_test(now, from);
        } else {
            self.trust_again(now, from);
        }
    }

    /// A member that we alone hold Suspect is Alive.
    pub(super) fn trust_again(&mut self, now: Instant, id: MemberId) {
        if self.table.counts().suspect == 0 {
            return;
        }
        let Some(member) = self.table.get(id) else { return };
        if member.state != State::Suspect || self.observing.unreachable.contains(&id) {
            return;
        }
        let record = member.record.clone();
        self.observing.doubted.remove(&id);
        self.put(now, Member { record: record.clone(), state: State::Alive, since: now });
        self.emit(Event::Recovered { record, previous: State::Suspect });
    }

    /// Our own evidence suffices: the subject shows as Suspect here, and here alone (rule D-5).
    pub(super) fn distrust(&mut self, now: Instant, id: MemberId) {
        let Some(member) = self.table.get(id) else { return };
        if member.state != State::Alive {
            return;
        }
        let record = member.record.clone();
        let last_contact = self.contacts.of(id).map(|contact| contact.last);
        self.stats.suspicions += 1;
        self.observing.doubted.insert(id);
        self.put(now, Member { record: record.clone(), state: State::Suspect, since: now });
        self.emit(Event::Suspected { record, last_contact });
    }
}
