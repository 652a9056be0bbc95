//! A look at a random member now and then (rule D-11).

use alloc::collections::BTreeSet;

use crate::detector::audit::HINTED;
use crate::detector::pings::Purpose;
use crate::event::Timer;
use crate::member::MemberId;
use crate::membership::roster::List;
use crate::membership::table::MemberTable;
use crate::node::Node;
use crate::time::Instant;
use crate::wire::message::Hint;

/// Draws for one look: of a small mesh most members are neighbours, who need no look.
const DRAWS: usize = 16;

impl<T: MemberTable> Node<T> {
    pub(in crate::node) fn audit(&mut self, now: Instant) {
        let observers = self.observing.observers.iter().copied();
        let near: BTreeSet<MemberId> = self.observing.watch.subjects().chain(observers).collect();
        // Where everybody observes everybody there is nobody left to look at.
        let strangers = self.members().saturating_sub(near.len() + 1);
        let acquaintances = &self.observing.acquaintances;
        let room = acquaintances.has_room(strangers);
        // A node that knows nobody beyond its ring makes its acquaintances at once.
        let wait = acquaintances.wait(self.config.interval, strangers);
        let spread = wait.mul_f64(0.9 + 0.2 * self.rng.f64());
        self.timers.set(Timer::Audit, now + spread);
        if strangers == 0 || self.departure.is_leaving() {
            return;
        }
        for _ in 0..DRAWS {
            let Some(member) = self.table.sample(List::Present, &mut self.rng) else { return };
            let id = member.id();
            let known = room && self.observing.acquaintances.contains(id);
            if known || near.contains(&id) || self.observing.tests.contains_key(&id) {
                continue;
            }
            let Some((peer, _)) = self.testable(id) else { continue };
            self.ping_for(now, peer, Purpose::Audit);
            return;
        }
    }

    /// A random member did not answer: two of its observers should look, unless the fault is ours.
    pub(super) fn audit_failed(&mut self, now: Instant, subject: MemberId) {
        self.observing.acquaintances.failed();
        if self.is_kept_out(now, subject) {
            return;
        }
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
