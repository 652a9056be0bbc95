//! A look at a random member now and then (rule D-11).

use crate::detector::audit::{EVERY, HINTED};
use crate::detector::pings::Purpose;
use crate::event::Timer;
use crate::member::MemberId;
use crate::membership::roster::List;
use crate::membership::table::MemberTable;
use crate::node::Node;
use crate::time::Instant;
use crate::wire::message::Hint;

impl<T: MemberTable> Node<T> {
    pub(in crate::node) fn audit(&mut self, now: Instant) {
        let (observers, _) = self.quorum();
        // Where everybody observes everybody there is nobody left to look at.
        let strangers = self.members() > observers * 2 + 1;
        let room = strangers && self.observing.acquaintances.has_room();
        // A node that knows nobody beyond its ring makes its acquaintances at once.
        let wait = if room { self.config.interval } else { EVERY };
        let spread = wait.mul_f64(0.9 + 0.2 * self.rng.f64());
        self.timers.set(Timer::Audit, now + spread);
        if !strangers || self.departure.is_leaving() {
            return;
        }
        for _ in 0..4 {
            let Some(member) = self.table.sample(List::Present, &mut self.rng) else { return };
            let id = member.id();
            let near = self.observing.watch.observes(id) || self.observing.observers.contains(&id);
            if near || self.observing.tests.contains_key(&id) {
                continue;
            }
            let Some((peer, _)) = self.testable(id) else { continue };
            self.ping_for(now, peer, Purpose::Audit);
            return;
        }
    }

    /// A random member did not answer: two of its observers should look.
    pub(super) fn audit_failed(&mut self, subject: MemberId) {
        let (observers, _) = self.quorum();
        let mut hinted = self.ring_order(subject, observers);
        self.rng.shuffle(&mut hinted);
        hinted.retain(|id| *id != self.local);
        for id in hinted.into_iter().take(HINTED) {
            if let Some(peer) = self.peer(id) {
                self.send(peer, &Hint { subject: subject.0 });
            }
        }
    }
}
