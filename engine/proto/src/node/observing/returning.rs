//! Being buried alive, and digging others up (rules D-12, D-13 and D-14).

use crate::event::Timer;
use crate::member::{Incarnation, MemberId};
use crate::membership::record::RecordHash;
use crate::membership::table::MemberTable;
use crate::node::{Node, Peer};
use crate::time::Instant;

use super::ANNOUNCERS;

impl<T: MemberTable> Node<T> {
    /// Others hold us dead at `incarnation`; `announcer` passed the judgement.
    pub(in crate::node) fn buried(
        &mut self,
        now: Instant,
        from: Peer,
        announcer: MemberId,
        incarnation: Incarnation,
    ) {
        let own = self.local().record().incarnation;
        if incarnation > own {
            // Never signed by us: if such a record exists, it is ours from another life.
            self.stats.reject("unsigned-incarnation");
            self.pull(now, from, self.local, RecordHash(0));
            return;
        }
        if incarnation < own {
            self.send_own_record(from);
            return;
        }
        self.stand_corrected(now, incarnation);
        let gone = self.is_departed(announcer)
            || self.observing.unreachable.contains(&announcer)
            || self.observing.exile.was_lost(now, announcer);
        let members = self.members();
        if self.observing.exile.evicted(now, incarnation, gone, members) {
            self.refute(now, incarnation);
            self.send_own_record(from);
        } else {
            // Whoever is exiled leads nothing.
            self.observing.cases.clear();
        }
    }

    /// Thirty pings have shown that we are well.
    pub(super) fn return_from_exile(&mut self, now: Instant) {
        self.observing.exile.returned();
        let own = self.local().record().incarnation;
        self.refute(now, own);
    }

    /// Whether we hold back: evicted, and not back yet.
    pub(in crate::node) fn is_exiled(&self) -> bool {
        self.observing.exile.is_exiled()
    }

    /// Whether any member is marked unreachable.
    pub(in crate::node) fn misses_somebody(&self) -> bool {
        !self.observing.unreachable.is_empty()
    }

    /// A member is gone or renewed: nothing that we held against its former self stands.
    pub(in crate::node) fn settle_observed(&mut self, id: MemberId) {
        if self.observing.tests.contains_key(&id) {
            self.drop_test(id);
        }
        self.observing.doubted.remove(&id);
        self.observing.unreachable.remove(&id);
    }

    /// A member is dead by the word of `announcer`.
    pub(in crate::node) fn note_death(&mut self, now: Instant, id: MemberId, announcer: MemberId) {
        self.observing.exile.lost(now, id);
        if self.observing.announcers.len() == ANNOUNCERS {
            self.observing.announcers.pop_front();
        }
        self.observing.announcers.push_back((id, announcer));
    }

    /// Who announced the death of `id`. Where that is not known, the dead itself stands for it:
    /// it will not hold itself gone, and draw no conclusion.
    pub(in crate::node) fn announcer_of(&self, id: MemberId) -> MemberId {
        let announcers = self.observing.announcers.iter().rev();
        let found = announcers.clone().find(|(dead, _)| *dead == id);
        found.map_or(id, |(_, announcer)| *announcer)
    }

    /// The detector's own timers, from the start of a node.
    pub(in crate::node) fn begin_observing(&mut self, now: Instant) {
        self.timers.set(Timer::Ring, now);
        let longest = self.config.interval * (self.config.observers as u32);
        self.observing.anchor = longest.mul_f64(self.rng.f64());
        let first = self.config.interval.mul_f64(self.rng.f64());
        self.timers.set(Timer::Audit, now + self.config.interval + first);
    }
}
