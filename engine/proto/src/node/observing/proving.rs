//! Deaths that others announce: believed with a proof, looked into without (rules D-8, D-15 and
//! S-13).

use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::U64;

use crate::detector::case::WIDEST;
use crate::detector::evidence;
use crate::detector::proof::{Proof, Wait};
use crate::member::{Incarnation, MemberId, State};
use crate::membership::table::MemberTable;
use crate::node::{Node, Peer};
use crate::time::{Duration, Instant};
use crate::wire::message::{Death, Notice, ProofPull, kind};

/// Only a younger death evicts on arrival: an older one may have been answered since.
const FRESH: Duration = Duration::from_secs(15);
/// So many voters may stand beyond the ring order that a case asks along: views differ for moments,
/// and a leader may be no observer. With more of them we look for ourselves.
const FOREIGN: usize = 2;

/// What a proof is worth in our view.
enum Weight {
    /// A quorum of members that we know signed it; so many signatures were verified just now.
    Proven(usize),
    /// Some of its signatures cannot be looked at yet.
    Open,
    /// It is none, whatever else we may learn.
    Refuted,
}

impl<T: MemberTable> Node<T> {
    /// Somebody announced the death of a member that we hold present, at its present incarnation.
    pub(in crate::node) fn hear_of_death(&mut self, now: Instant, from: Peer, claim: &Death) {
        let id = MemberId(claim.id);
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
        if let Some(proof) = self.observing.proofs.get(proof) {
            match self.weigh(now, from, claim, now - age, &proof) {
                Weight::Proven(verified) => {
                    let believed = self.believe(now, from.id, claim, now - age, &proof);
                    self.settle_up(from, verified, believed);
                }
                Weight::Open => drop(self.look_at(now, from.id, id)),
                Weight::Refuted => self.disbelieve(now, from.id, id),
            }
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
                self.stats.proofs_dropped += 1;
                self.look_at(now, from.id, id);
            }
        }
    }

    pub(in crate::node) fn proofs_due(&self) -> Option<Instant> {
        self.observing.proofs.due()
    }

    /// Proofs that have not come are asked for again, of the next who told of the death.
    /// What never came is looked into.
    pub(in crate::node) fn pull_proofs_again(&mut self, now: Instant) {
        for (from, subject) in self.observing.proofs.given_up(now) {
            self.look_at(now, from, subject);
        }
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
                // under test. Should the answer be lost, the next one to say so is asked as well.
                let asks = if sure || self.observing.tests.contains_key(&id) {
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

    /// Counts the votes of a proof that hold: of present members, distinct from the subject, whose
    /// signatures we have verified; no more of them than a quorum needs.
    fn weigh(
        &mut self,
        now: Instant,
        from: Peer,
        claim: &Death,
        since: Instant,
        proof: &Proof,
    ) -> Weight {
        let finding = proof.finding;
        let named = (MemberId(claim.id), Incarnation::from(claim.incarnation));
        if (finding.subject, finding.incarnation) != named {
            return Weight::Refuted;
        }
        let (_, quorum) = self.quorum();
        let mut votes = proof.votes();
        // A voter that we hold departed has been away itself, and so has one that is back since: what
        // it knows of us is what it saw from the other side of a partition.
        let exile = &self.observing.exile;
        let was_away = |voter| exile.lost_at(voter).is_some_and(|at| since.since(at) < FRESH);
        votes.retain(|vote| {
            vote.voter != finding.subject && !self.is_gone(vote.voter) && !was_away(vote.voter)
        });
        let mut possible = votes.len();
        let (mut holding, mut looked_at) = (0, Vec::new());
        for vote in votes {
            if possible < quorum || holding >= quorum {
                break;
            }
            let waiting = self.observing.proofs.waiting_mut(proof.hash, finding.subject);
            let known = waiting.and_then(|waiting| waiting.found(vote.voter));
            let found = known.or_else(|| self.verify_vote(now, from, &finding, &vote));
            match found {
                Some(true) => holding += 1,
                Some(false) => possible -= 1,
                None => {}
            }
            if let (None, Some(holds)) = (known, found) {
                looked_at.push((vote.voter, holds));
            }
        }
        let true_ones = looked_at.iter().filter(|(_, holds)| *holds).count();
        if let Some(waiting) = self.observing.proofs.waiting_mut(proof.hash, finding.subject) {
            looked_at.into_iter().for_each(|(voter, holds)| waiting.note(voter, holds));
        }
        if holding >= quorum {
            Weight::Proven(true_ones)
        } else if possible >= quorum {
            Weight::Open
        } else {
            Weight::Refuted
        }
    }

    /// Whether the voters are whom a case about `subject` would have asked, but for a few. Most
    /// cases are decided by the observers alone, so the longer walk is seldom taken.
    fn are_asked_about(&self, subject: MemberId, voters: &[MemberId]) -> bool {
        let (observers, _) = self.quorum();
        [observers, WIDEST].into_iter().any(|circle| {
            let asked = self.ring_order(subject, circle);
            voters.iter().filter(|voter| !asked.contains(voter)).count() <= FOREIGN
        })
    }

    /// Whoever brings deaths that are true in the thousands, as when half of a mesh dies, need not
    /// wait with the rest: the votes of a proof that ended a life are given back. That happens once a
    /// life, so that no proof is worth our time again and again (rule S-13).
    fn settle_up(&mut self, from: Peer, verified: usize, believed: bool) {
        if believed {
            self.observing.verified.give_back(from.id, verified);
        }
    }

    /// Applies a death that is proven; where strangers to the subject prove it, our own test comes
    /// first, and decides with those whom it asks. Says whether it was applied.
    fn believe(
        &mut self,
        now: Instant,
        from: MemberId,
        claim: &Death,
        since: Instant,
        proof: &Proof,
    ) -> bool {
        let id = MemberId(claim.id);
        if !self.is_sure_of(id) && !self.are_asked_about(id, &proof.voters) {
            self.stats.reject("foreign-voters");
            self.look_at(now, from, id);
            return false;
        }
        let proof = Proof { bytes: self.authority.shared(proof.bytes.clone()), ..proof.clone() };
        let hash = proof.hash;
        let limit = self.config.limits.proofs;
        self.stats.proofs_dropped += self.observing.proofs.keep(proof, limit);
        let announcer = MemberId(claim.announcer);
        self.bury(now, since, id, claim.incarnation.into(), announcer, hash);
        true
    }

    /// A death came with something that proves nothing.
    fn disbelieve(&mut self, now: Instant, from: MemberId, id: MemberId) {
        self.stats.reject("proof");
        self.look_at(now, from, id);
    }

    pub(in crate::node) fn on_proof_pull(&mut self, now: Instant, from: Peer, pull: &ProofPull) {
        let subject = MemberId(pull.subject);
        if pull.proof == U64::ZERO && self.is_departed(subject) {
            self.tell_what_is_known(now, from, subject);
            return;
        }
        let Some(bytes) = self.observing.proofs.bytes_of(pull.proof.get()).cloned() else { return };
        self.send_whole(from, kind::PROOF, &bytes);
    }

    pub(in crate::node) fn on_proof(&mut self, now: Instant, from: Peer, bytes: &[u8]) {
        let Ok(proof) = Proof::decode(bytes) else { return self.stats.reject("decode") };
        let (hash, id) = (proof.hash, proof.finding.subject);
        if id == self.local {
            self.hear_proof_of_own_death(now, from, &proof);
            return;
        }
        // Nobody waits for it: it is none of our business.
        let waiting = self.observing.proofs.waiting_mut(hash, id);
        let Some((claim, since)) = waiting.map(|waiting| (waiting.death, waiting.since)) else {
            return;
        };
        let incarnation = Incarnation::from(claim.incarnation);
        let held = self.table.get(id);
        if !held.is_some_and(|m| m.state.is_present() && m.incarnation() == incarnation) {
            self.observing.proofs.take_waiting(hash, id);
            return;
        }
        let weight = self.weigh(now, from, &claim, since, &proof);
        if let Weight::Open = weight {
            // It moves nothing for now: it is asked for again, and what was found by then is
            // remembered.
            return self.stats.reject("proof-open");
        }
        let Some(waiting) = self.observing.proofs.take_waiting(hash, id) else { return };
        match weight {
            Weight::Proven(verified) => {
                let believed = self.believe(now, waiting.source(), &claim, waiting.since, &proof);
                self.settle_up(from, verified, believed);
            }
            Weight::Refuted | Weight::Open => self.disbelieve(now, waiting.source(), id),
        }
    }
}
