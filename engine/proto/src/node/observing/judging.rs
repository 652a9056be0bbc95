//! Cases that we lead: asking, counting, one announcement (rules D-6, D-8 and D-9).

use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::{U32, U64};

use crate::detector::case::{AGAIN, Case, Cast, Court, Standing};
use crate::detector::proof::Proof;
use crate::detector::test::Ballot;
use crate::detector::vote::{Finding, Seal, SignedVote};
use crate::event::{Event, Timer};
use crate::member::{Incarnation, MemberId};
use crate::membership::table::MemberTable;
use crate::node::{Node, Peer};
use crate::time::Instant;
use crate::wire::message::{Verify, Vote};

use super::VERIFIES;

/// With so many cases that nobody answers, the fault is ours: no others are asked about.
const UNANSWERED: usize = 2;

impl<T: MemberTable> Node<T> {
    /// Opens the case of `id` or moves it on. `sure` tells that our evidence suffices.
    pub(super) fn pursue(&mut self, now: Instant, id: MemberId, opinion: Ballot, sure: bool) {
        if self.observing.exile.is_exiled() {
            self.observing.cases.remove(&id);
            return;
        }
        let (observers, quorum) = self.quorum();
        if !self.observing.cases.contains_key(&id) {
            let Some(test) = self.observing.tests.get(&id) else { return };
            let incarnation = test.incarnation();
            if self.observing.acquitted.holds(now, id, incarnation) {
                return;
            }
            let round = self.rng.u64(..);
            let case = Case::open(now, incarnation, round, observers);
            self.observing.cases.insert(id, case);
            self.stats.cases += 1;
            self.count_failure(id);
        }
        let Some(case) = self.observing.cases.get(&id) else { return };
        let present = |voter| self.table.get(voter).is_some_and(|held| held.state.is_present());
        match case.standing(now, opinion, self.court(), present) {
            Standing::Condemned if !self.hears_nobody(now) || observers == 1 => {
                self.announce_death(now, id);
            }
            Standing::Acquitted => {
                let (incarnation, limit) = (case.incarnation(), self.config.limits.tests);
                self.observing.acquitted.add(now, id, incarnation, limit);
                self.observing.cases.remove(&id);
            }
            Standing::Condemned | Standing::Open => {
                if sure && case.is_alone(now, quorum) {
                    self.lost_touch(now, id);
                } else {
                    self.ask_voters(now, id, observers);
                }
            }
        }
    }

    /// Who decides a case in our view.
    pub(super) fn court(&self) -> Court {
        let (observers, quorum) = self.quorum();
        Court { observers, quorum, grace: self.pace().grace }
    }

    /// What kept all cases from asking is over: none waits for its next look.
    pub(super) fn ask_at_once(&mut self, now: Instant) {
        for (id, case) in &mut self.observing.cases {
            case.hold_back(now);
            self.timers.set(Timer::Test(*id), now);
        }
    }

    fn unanswered(&self, now: Instant) -> usize {
        self.observing.cases.values().filter(|case| case.is_unanswered(now)).count()
    }

    fn ask_voters(&mut self, now: Instant, id: MemberId, observers: usize) {
        let unanswered = self.unanswered(now);
        let cut_off = self.hears_nobody(now);
        let Some(case) = self.observing.cases.get_mut(&id) else { return };
        // Cut off from everybody, we would only add to the noise.
        if cut_off || (unanswered >= UNANSWERED && !case.is_unanswered(now)) {
            case.hold_back(now + AGAIN);
            return;
        }
        case.widen(now, observers);
        let circle = case.circle();
        if case.asked() + 1 < circle {
            // The circle counts ourselves; a leader that is no observer asks one more.
            let voters = self.ring_order(id, circle);
            let local = self.local;
            if let Some(case) = self.observing.cases.get_mut(&id) {
                case.include(now, voters, local);
            }
        }
        self.send_verifies(now, id);
    }

    fn send_verifies(&mut self, now: Instant, id: MemberId) {
        let grace = self.pace().grace;
        let open = self.observing.cases.len() as u32;
        let Some(case) = self.observing.cases.get_mut(&id) else { return };
        let mut affordable = 0;
        while affordable < case.asked() && self.observing.verifies.take(now) {
            affordable += 1;
        }
        let voters = case.ask(now, grace, affordable);
        // What was not needed goes back.
        self.observing.verifies.give_back(affordable - voters.len());
        if voters.len() == affordable && affordable < case.asked() {
            // All cases wait for the next token: each comes back in its turn, so that they do not
            // all come for each.
            let turn = now + (VERIFIES.1 * open).min(AGAIN);
            case.hold_back(self.observing.verifies.ready(now).max(turn));
        }
        let verify = Verify {
            subject: id.0,
            incarnation: case.incarnation().into(),
            round: U64::new(case.round()),
            elapsed_ms: U32::new(u32::try_from(case.age(now).as_millis()).unwrap_or(u32::MAX)),
        };
        for voter in voters {
            if let Some(peer) = self.peer(voter) {
                self.stats.verifies += 1;
                self.send(peer, &verify);
            }
        }
    }

    /// A vote arrived, with the seal that one of death needs.
    pub(in crate::node) fn on_vote(&mut self, now: Instant, from: Peer, vote: &Vote, seal: &[u8]) {
        let subject = MemberId(vote.subject);
        let Some(ballot) = Ballot::from_wire(vote.ballot) else {
            self.stats.reject("ballot");
            return;
        };
        if self.is_departed(from.id) {
            self.stats.reject("departed");
            return;
        }
        let Some(case) = self.observing.cases.get(&subject) else { return };
        let incarnation = Incarnation::from(vote.incarnation);
        if incarnation != case.incarnation() {
            return;
        }
        let round = vote.round.get();
        if !case.expects(from.id, round) {
            self.stats.reject("vote");
            return;
        }
        let cast = match ballot {
            Ballot::Pending => Cast::Pending,
            Ballot::Alive => Cast::Alive,
            // It said so, and we have looked at that.
            Ballot::Dead if case.ballot_of(from.id) == Some(ballot) => return,
            Ballot::Dead => {
                let finding = Finding { subject, incarnation, round };
                let Some(seal) = self.seal_of(now, from, &finding, seal) else { return };
                Cast::Dead(seal)
            }
        };
        let Some(case) = self.observing.cases.get_mut(&subject) else { return };
        let unanswered = case.is_unanswered(now);
        if !case.vote(from.id, round, cast) {
            return;
        }
        if unanswered && self.unanswered(now) + 1 == UNANSWERED {
            self.ask_at_once(now);
        }
        if ballot != Ballot::Pending {
            self.drive_test(now, subject);
        }
    }

    /// The seal of a vote of death, if it holds: what we could not show to others does not count
    /// here either. Whoever is not heard with it is asked again.
    fn seal_of(
        &mut self,
        now: Instant,
        from: Peer,
        finding: &Finding,
        seal: &[u8],
    ) -> Option<Seal> {
        let Ok((seal, _)) = Seal::decode(seal) else {
            self.stats.reject("unsigned-vote");
            return None;
        };
        let vote = SignedVote { voter: from.id, seal };
        let holds = self.verify_vote(now, from, finding, &vote) == Some(true);
        holds.then_some(vote.seal)
    }

    /// The quorum agrees: one message tells it.
    fn announce_death(&mut self, now: Instant, id: MemberId) {
        let Some(case) = self.observing.cases.get(&id) else { return };
        let incarnation = case.incarnation();
        let finding = Finding { subject: id, incarnation, round: case.round() };
        // A quorum and no more: a proof fits a datagram, whatever others say. Whom we hold present
        // ourselves stands first, as only the present count with those who read it.
        let (_, quorum) = self.quorum();
        let mut votes: Vec<SignedVote> = case.condemning().collect();
        votes.sort_by_key(|vote| self.is_departed(vote.voter));
        votes.truncate(quorum.saturating_sub(1));
        let Some(seal) = self.sign(&finding) else { return };
        votes.push(SignedVote { voter: self.local, seal });
        let proof = Proof::new(finding, &votes);
        let hash = proof.hash;
        let limit = self.config.limits.proofs;
        self.stats.proofs_dropped += self.observing.proofs.keep(proof, limit);
        self.stats.declared_dead += 1;
        self.bury(now, now, id, incarnation, self.local, hash);
    }

    /// Nobody else answers either: the subject is unreachable, for us alone (rule D-9).
    fn lost_touch(&mut self, now: Instant, id: MemberId) {
        self.drop_test(id);
        // A mark ends with an answer, and only an observer keeps asking.
        if !self.observing.watch.observes(id) {
            self.leave_to_observers(now, id);
            return;
        }
        if self.observing.unreachable.insert(id) {
            self.stats.unreachable += 1;
            self.observing.exile.lost(now, id);
            if let Some(member) = self.table.get(id) {
                let record = member.record.clone();
                self.emit(Event::Unreachable(record));
            }
        }
    }

    /// One that was unreachable answered: it was us, so none of the marks holds.
    pub(super) fn reachable_again(&mut self, now: Instant) {
        let marked = core::mem::take(&mut self.observing.unreachable);
        for id in marked {
            // Until this moment it was lost to us.
            self.observing.exile.lost(now, id);
            self.trust_again(now, id);
        }
    }
}
