//! Deaths that others announce: believed with a proof, looked into without (rules D-8 and D-15).

use zerocopy::byteorder::little_endian::U64;

use crate::detector::evidence;
use crate::detector::proof::{Proof, Wait};
use crate::member::{Incarnation, MemberId, State};
use crate::membership::table::MemberTable;
use crate::node::{Node, Peer};
use crate::time::{Duration, Instant};
use crate::wire::message::{Death, Notice, ProofPull, kind};

/// Only a younger death evicts on arrival: an older one may have been answered since.
const FRESH: Duration = Duration::from_secs(15);

impl<T: MemberTable> Node<T> {
    /// Somebody announced the death of a member that we hold present, at its present incarnation.
    pub(in crate::node) fn hear_of_death(&mut self, now: Instant, from: Peer, claim: &Death) {
        let id = MemberId(claim.id);
        if self.told_in_answer(now, from.id, id) {
            return;
        }
        let age = Duration::from_millis(claim.age_ms.get().into());
        if age >= FRESH && !self.is_sure_of(id) {
            let announcer = MemberId(claim.announcer);
            self.doubt_old_death(now, from.id, id, claim.incarnation.into(), announcer);
            return;
        }
        let proof = claim.proof.get();
        if proof == 0 {
            self.look_at(now, from.id, id);
            return;
        }
        if self.observing.proofs.get(proof).is_some() {
            self.believe(now, from.id, claim, now - age);
            return;
        }
        let limit = self.config.limits.proofs;
        match self.observing.proofs.wait(now, from.id, *claim, now - age, limit) {
            Wait::Begun => {
                self.stats.proofs_pulled += 1;
                self.send(from, &ProofPull { subject: id.0, proof: U64::new(proof) });
                self.plan_pulls();
            }
            Wait::UnderWay => {}
            Wait::Refused => {
                self.look_at(now, from.id, id);
            }
        }
    }

    pub(in crate::node) fn proofs_due(&self) -> Option<Instant> {
        self.observing.proofs.due()
    }

    /// Proofs that have not come are asked for again, of the next who told of the death.
    pub(in crate::node) fn pull_proofs_again(&mut self, now: Instant) {
        for (from, subject, hash) in self.observing.proofs.overdue(now) {
            if let Some(peer) = self.peer(from) {
                self.stats.proofs_pulled += 1;
                self.send(peer, &ProofPull { subject: subject.0, proof: U64::new(hash) });
            }
        }
    }

    /// Another's state says that a member is dead: of a fresh death we ask for the announcement,
    /// an old one is a question.
    pub(in crate::node) fn merge_death(
        &mut self,
        now: Instant,
        from: MemberId,
        id: MemberId,
        incarnation: Incarnation,
        age: Duration,
    ) {
        let sure = self.is_sure_of(id);
        match self.peer(from) {
            Some(peer) if age < FRESH || sure => {
                // What does not fit is reached by the next reconciliation, when the first are
                // under test. Should the answer be lost, whoever we ask in the test answers with
                // the death.
                let asks = if sure {
                    self.observing.confirmed.take(now)
                } else {
                    self.look_at(now, from, id)
                };
                if asks {
                    self.stats.proofs_pulled += 1;
                    self.send(peer, &ProofPull { subject: id.0, proof: U64::ZERO });
                }
            }
            // Who passed the judgement is not said in a state.
            Some(_) | None => self.doubt_old_death(now, from, id, incarnation, id),
        }
    }

    /// Our own test has found as much: however old the news, it is none to us.
    fn is_sure_of(&self, id: MemberId) -> bool {
        let (_, quorum) = self.quorum();
        let Some(test) = self.observing.tests.get(&id) else { return false };
        test.lambda(self.observing.baseline, quorum) >= evidence::dead_above(quorum)
    }

    /// An old death is looked into, within the budget for hearsay, and told to the dead, who
    /// answers if it lives. Where `announcer` is not known, the dead stands for it (rule D-12).
    fn doubt_old_death(
        &mut self,
        now: Instant,
        from: MemberId,
        id: MemberId,
        incarnation: Incarnation,
        announcer: MemberId,
    ) {
        if self.look_at(now, from, id)
            && let Some(peer) = self.peer(id)
        {
            self.send(peer, &Notice { incarnation: incarnation.into(), announcer: announcer.0 });
        }
    }

    /// Another's state says that `id` lives, at an incarnation that we hold dead: perhaps it does, and
    /// nobody who holds it dead is near enough to have told it (rule D-14).
    pub(in crate::node) fn remind(&mut self, now: Instant, id: MemberId, incarnation: Incarnation) {
        let held = self.table.get(id);
        let dead = held.is_some_and(|m| m.state == State::Dead && m.incarnation() == incarnation);
        if dead
            && self.observes()
            && !self.is_exiled()
            && self.observing.hearsay.take(now)
            && let Some(peer) = self.peer(id)
        {
            let announcer = self.announcer_of(id).0;
            self.send(peer, &Notice { incarnation: incarnation.into(), announcer });
        }
    }

    /// Applies a death whose proof is here, if the proof holds in our view.
    fn believe(&mut self, now: Instant, from: MemberId, claim: &Death, since: Instant) {
        let (id, incarnation) = (MemberId(claim.id), Incarnation::from(claim.incarnation));
        let (_, quorum) = self.quorum();
        let Some(proof) = self.observing.proofs.get(claim.proof.get()) else { return };
        // A voter that we hold departed has been away itself, and so has one that is back since: what
        // it knows of us is what it saw from the other side of a partition.
        let exile = &self.observing.exile;
        let counts = |voter: &&MemberId| {
            **voter != id
                && self.table.get(**voter).is_some_and(|m| m.state.is_present())
                && exile.lost_at(**voter).is_none_or(|at| since.since(at) >= FRESH)
        };
        let votes = proof.voters.iter().filter(counts).count();
        if proof.subject != id || proof.incarnation != incarnation || votes < quorum {
            self.stats.reject("proof");
            self.look_at(now, from, id);
            return;
        }
        let announcer = MemberId(claim.announcer);
        self.bury(now, since, id, incarnation, announcer, claim.proof.get());
    }

    pub(in crate::node) fn on_proof_pull(&mut self, now: Instant, from: Peer, pull: &ProofPull) {
        let subject = MemberId(pull.subject);
        if pull.proof == U64::ZERO && self.is_departed(subject) {
            self.tell_what_is_known(now, from, subject);
            return;
        }
        let Some(proof) = self.observing.proofs.get(pull.proof.get()) else { return };
        let bytes = proof.bytes.clone();
        self.send_raw(from, kind::PROOF, &bytes);
    }

    pub(in crate::node) fn on_proof(&mut self, now: Instant, from: Peer, bytes: &[u8]) {
        let Ok(proof) = Proof::decode(bytes) else { return self.stats.reject("decode") };
        if proof.subject == self.local {
            self.hear_proof_of_own_death(now, from, &proof);
            return;
        }
        // Nobody waits for it: it is none of our business.
        let Some(waiting) = self.observing.proofs.take_waiting(proof.hash, proof.subject) else {
            return;
        };
        self.observing.proofs.keep(proof, self.config.limits.proofs);
        let claim = waiting.death;
        let (id, incarnation) = (MemberId(claim.id), Incarnation::from(claim.incarnation));
        let held = self.table.get(id);
        if held.is_some_and(|m| m.state.is_present() && m.incarnation() == incarnation) {
            self.believe(now, waiting.source(), &claim, waiting.since);
        }
    }
}
