//! Being buried alive, and digging others up (rules D-12, D-13 and D-14).

use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::U64;

use crate::detector::proof::Proof;
use crate::detector::testimony::Told;
use crate::event::Timer;
use crate::member::{Incarnation, MemberId, State};
use crate::membership::record::RecordHash;
use crate::membership::table::{Member, MemberTable};
use crate::node::{Node, Peer};
use crate::time::{Duration, Instant};
use crate::wire::message::ProofPull;

use super::ANNOUNCERS;

/// Acks this fresh may be those of a partition that has just ended.
const LULL: Duration = Duration::from_secs(2);

impl<T: MemberTable> Node<T> {
    /// `from` tells that we are dead at `incarnation`, by the judgement of `announcer`. A single
    /// word gets our record and is asked for its proof; a quorum of them is believed.
    pub(in crate::node) fn hear_of_own_death(
        &mut self,
        now: Instant,
        from: Peer,
        announcer: MemberId,
        incarnation: Incarnation,
        told: Told,
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
        let announcer = (announcer != self.local).then_some(announcer);
        let answer = self.observing.testimony.hear(now, from.id, incarnation, announcer, told);
        if answer.record {
            self.send_own_record(from);
        }
        if let Some(hash) = answer.proof {
            self.stats.proofs_pulled += 1;
            self.send(from, &ProofPull { subject: self.local.0, proof: U64::new(hash) });
        }
        let accusers: Vec<MemberId> = self.observing.testimony.accusers(now).collect();
        // Whoever knows of its exile may still learn who passed the judgement.
        if self.is_exiled() || self.are_a_quorum(now, &accusers) {
            self.go_or_return(now);
        } else if (self.table.get(from.id).is_some() || self.tombstones.of(from.id).is_some())
            && (self.members() == 1 || self.observing.exile.fares_well())
            && self.observing.testimony.is_insisted_on(now)
        {
            self.refute(now, own);
            self.send_own_record(from);
        }
    }

    /// A proof of our own death is believed with the signed votes of a quorum that we know, in
    /// whatever state: on the other side of a partition we hold the voters dead.
    pub(super) fn hear_proof_of_own_death(&mut self, now: Instant, from: Peer, proof: &Proof) {
        let finding = proof.finding;
        if !self.observes() || finding.incarnation != self.local().record().incarnation {
            return;
        }
        // Signatures are worth a look only if there are enough of them.
        let mut valid: Vec<MemberId> = Vec::new();
        if self.are_a_quorum(now, &proof.voters) {
            for vote in proof.votes() {
                let known = vote.voter != self.local && self.table.get(vote.voter).is_some();
                if known && self.verify_vote(now, from, &finding, &vote) == Some(true) {
                    valid.push(vote.voter);
                }
            }
        }
        if !self.are_a_quorum(now, &valid) {
            self.stats.reject("proof");
            return;
        }
        if self.go_or_return(now) {
            self.send_own_record(from);
        }
    }

    /// Whether so many members, in whatever state, may decide about us: H of our own view. Or else,
    /// where we lost many members within the last minute, H of a mesh of those and ourselves: the
    /// smaller side of a partition decides with few, and to the others its votes count for nothing,
    /// so that nobody but us can end it.
    fn are_a_quorum(&mut self, now: Instant, accusers: &[MemberId]) -> bool {
        let (observers, quorum) = self.quorum();
        let (table, local, members) = (&self.table, self.local, self.members());
        let known = |id: &&MemberId| **id != local && table.get(**id).is_some();
        if accusers.iter().filter(known).count() >= quorum {
            return true;
        }
        let exile = &mut self.observing.exile;
        let Some(lost) = exile.lost_many(now, members) else { return false };
        let theirs = accusers.iter().filter(known).filter(|id| exile.was_lost(now, **id));
        theirs.count() > lost.min(observers) / 2
    }

    /// A quorum holds us dead: into exile, or back at once. Says whether we are back.
    fn go_or_return(&mut self, now: Instant) -> bool {
        let own = self.local().record().incarnation;
        self.count_the_silent(now);
        let observing = &self.observing;
        let members = self.members();
        let gone = observing.testimony.announcers().any(|announcer| {
            self.is_departed(announcer)
                || observing.unreachable.contains(&announcer)
                || observing.exile.was_lost(now, announcer)
        });
        if !self.observing.exile.evicted(now, own, gone, members) {
            // Whoever is exiled leads nothing.
            self.observing.cases.clear();
            return false;
        }
        let speakers: Vec<MemberId> = self.observing.testimony.speakers().collect();
        self.refute(now, own);
        for speaker in speakers {
            if let Some(peer) = self.peer(speaker) {
                self.send_own_record(peer);
            }
        }
        true
    }

    /// Whom we are about to mark unreachable is as good as lost: a partition may end just before that.
    fn count_the_silent(&mut self, now: Instant) {
        let (_, quorum) = self.quorum();
        let observing = &mut self.observing;
        for (id, case) in &observing.cases {
            let silent = observing.tests.get(id).is_some_and(|test| test.is_silent(now, LULL));
            if silent && case.is_left_alone(now, quorum) {
                observing.exile.lost(now, *id);
            }
        }
    }

    /// Thirty pings have shown that we are well.
    pub(super) fn return_from_exile(&mut self, now: Instant) {
        let own = self.local().record().incarnation;
        self.refute(now, own);
    }

    /// A record under a new incarnation is out: whatever was said of the one before is over.
    pub(in crate::node) fn is_renewed(&mut self) {
        self.observing.exile.returned();
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

    /// A member is known under a new incarnation. One that we held dead and that has lived all the
    /// time was lost to us until this moment; a new process tells nothing.
    pub(in crate::node) fn note_return(
        &mut self,
        now: Instant,
        before: &Member,
        incarnation: Incarnation,
    ) {
        let lived = before.incarnation().generation == incarnation.generation;
        if self.observes() && before.state == State::Dead && lived {
            self.observing.exile.lost(now, before.id());
        }
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
