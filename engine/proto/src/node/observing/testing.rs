//! Tests of doubted subjects: begun by a loss of ours, by another's VERIFY or by a hint; driven by
//! their timer and by every answer (rules D-5, D-7 and D-10).

use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U64;

use crate::detector::evidence;
use crate::detector::pings::{Ping, Purpose};
use crate::detector::test::{Ballot, Requester, Test};
use crate::detector::vote::Finding;
use crate::event::{Event, Timer};
use crate::member::{Incarnation, MemberId, State};
use crate::membership::table::MemberTable;
use crate::node::{Node, Peer};
use crate::time::{Duration, Instant};
use crate::wire::message::{Death, Hint, Verify, Vote, kind};

use super::ASKED_TESTS;

/// A voter that found the subject dead and hears of no outcome for so long leads itself.
const NO_OUTCOME: Duration = Duration::from_secs(3);

impl<T: MemberTable> Node<T> {
    /// A regular ping was lost: the test of its target begins with it, or takes it in.
    pub(super) fn doubt(&mut self, now: Instant, sequence: u32, ping: Ping) {
        let Some((_, incarnation)) = self.testable(ping.target) else { return };
        if self.is_kept_out(now, ping.target) {
            // An answer that comes all the same counts.
            return;
        }
        self.observing.pings.becomes_a_test(sequence);
        if let Some(test) = self.observing.tests.get_mut(&ping.target) {
            test.lose(sequence, ping.sent, ping.due);
        } else if self.has_room_for_a_test() {
            let test = Test::after_a_loss(now, incarnation, sequence, ping.sent);
            self.begin(ping.target, test);
        } else {
            // No evidence is gathered that could say when; how often one target is dialled has a limit (S-18).
            self.look_afresh(ping.target);
        }
        self.drive_test(now, ping.target);
    }

    fn has_room_for_a_test(&mut self) -> bool {
        let room = self.observing.tests.len() < self.config.limits.tests;
        if !room {
            self.stats.tests_refused += 1;
        }
        room
    }

    fn begin(&mut self, id: MemberId, test: Test) {
        self.stats.tests += 1;
        self.observing.tests.insert(id, test);
    }

    /// `from` says that `id` may be dead: we look for ourselves, on nobody's behalf. Says whether
    /// that begins here: one look at a time, and within the budgets for hearsay.
    pub(in crate::node) fn look_at(&mut self, now: Instant, from: MemberId, id: MemberId) -> bool {
        if self.observing.tests.contains_key(&id) {
            return false;
        }
        let Some((_, incarnation)) = self.testable(id) else { return false };
        // A token is worth a test: who cannot have one pays none.
        let begins = self.has_room_for_a_test()
            && self.observing.told_by.take(now, from)
            && self.observing.hearsay.take(now);
        if begins {
            let mut test = Test::on_request(now, incarnation);
            test.adopt();
            self.begin(id, test);
            self.drive_test(now, id);
        }
        begins
    }

    pub(in crate::node) fn on_hint(&mut self, now: Instant, from: Peer, hint: &Hint) {
        let subject = MemberId(hint.subject);
        if self.observes() && self.observing.watch.observes(subject) {
            self.look_at(now, from.id, subject);
        }
    }

    pub(in crate::node) fn on_verify(&mut self, now: Instant, from: Peer, verify: &Verify) {
        let subject = MemberId(verify.subject);
        let incarnation: Incarnation = verify.incarnation.into();
        if subject == self.local {
            self.send_own_record(from);
            return;
        }
        // Its question is an answer; one that is silent towards us alone would make us ping it, and
        // a control beside it, as often as it likes.
        if subject == from.id {
            self.stats.reject("verify");
            return;
        }
        let Some(member) = self.table.get(subject) else {
            self.pull_newest(now, from, subject);
            return;
        };
        if incarnation > member.incarnation() {
            self.pull_newest(now, from, subject);
        } else if !member.state.is_present() || incarnation < member.incarnation() {
            // The proof may be forgotten everywhere by now, so our word has to count as a vote:
            // nobody else could ever tell whoever missed that death.
            let dead = member.state == State::Dead && incarnation == member.incarnation();
            if dead && self.observes() && !self.is_departed(from.id) {
                self.vote(now, from.id, subject, verify.round.get(), Ballot::Dead);
            }
            self.tell_what_is_known(now, from, subject);
        } else if self.observes() {
            self.serve(now, from, subject, verify.round.get());
        }
    }

    /// We hold the subject departed, or newer: the leader of the case is behind.
    pub(in crate::node) fn tell_what_is_known(
        &mut self,
        now: Instant,
        to: Peer,
        subject: MemberId,
    ) {
        let Some(member) = self.table.get(subject) else { return };
        if member.state == State::Dead {
            let proof = self.observing.proofs.hash_for(subject).unwrap_or(0);
            let age = now.since(self.table.since(member)).as_millis();
            let death = Death {
                id: subject.0,
                incarnation: member.incarnation().into(),
                announcer: self.announcer_of(subject).0,
                age_ms: u32::try_from(age).unwrap_or(u32::MAX).into(),
                proof: proof.into(),
            };
            self.send(to, &death);
            return;
        }
        let envelope = member.record.envelope().clone();
        self.send_raw(to, kind::RECORD, &envelope);
    }

    fn serve(&mut self, now: Instant, from: Peer, subject: MemberId, round: u64) {
        if self.observing.exile.is_exiled() || self.is_departed(from.id) {
            return;
        }
        // Whoever asks turns to others where we say nothing, and waits where we say "pending".
        if self.is_kept_out(now, subject) {
            return;
        }
        if !self.observing.tests.contains_key(&subject) {
            let Some((_, incarnation)) = self.testable(subject) else { return };
            if !self.may_test_for(now, from.id) {
                self.stats.tests_refused += 1;
                return;
            }
            if !self.has_room_for_a_test() {
                return;
            }
            self.begin(subject, Test::on_request(now, incarnation));
        }
        let (_, quorum) = self.quorum();
        let (baseline, pace) = (self.observing.baseline, self.pace());
        let Some(test) = self.observing.tests.get_mut(&subject) else { return };
        test.ask(Requester { id: from.id, round });
        let lambda = test.lambda(baseline, quorum);
        let ballot = test.opinion(now, lambda, quorum, pace);
        if ballot != Ballot::Alive {
            self.vote(now, from.id, subject, round, ballot);
        }
        self.drive_test(now, subject);
    }

    /// Whether `requester` may have another test begun: a rate, and so many open.
    fn may_test_for(&mut self, now: Instant, requester: MemberId) -> bool {
        let open = self.observing.tests.values();
        let served = open.filter(|test| test.serves(requester)).count();
        if served >= ASKED_TESTS.0 as usize {
            return false;
        }
        self.observing.asked.take(now, requester)
    }

    fn vote(
        &mut self,
        now: Instant,
        to: MemberId,
        subject: MemberId,
        round: u64,
        ballot: Ballot,
    ) -> bool {
        if self.hears_nobody(now) || self.observing.exile.is_exiled() {
            return false;
        }
        let (Some(peer), Some(member)) = (self.peer(to), self.table.get(subject)) else {
            return false;
        };
        let finding = Finding { subject, incarnation: member.incarnation(), round };
        let vote = Vote {
            subject: subject.0,
            incarnation: finding.incarnation.into(),
            round: U64::new(round),
            ballot: ballot as u8,
            reserved: [0; 3],
        };
        let mut bytes = vote.as_bytes().to_vec();
        match ballot {
            Ballot::Pending | Ballot::Alive => {}
            Ballot::Dead => {
                if !self.observing.signed.take(now, to) {
                    return false;
                }
                let Some(seal) = self.sign(&finding) else { return false };
                seal.encode(&mut bytes);
            }
        }
        self.stats.votes += 1;
        self.send_raw(peer, kind::VOTE, &bytes)
    }

    /// The one place where a test moves on: counts, looks, concludes, votes, pings, plans.
    pub(in crate::node) fn drive_test(&mut self, now: Instant, id: MemberId) {
        let known = self.testable(id);
        let Some(test) = self.observing.tests.get_mut(&id) else { return };
        let Some((peer, incarnation)) = known else { return self.drop_test(id) };
        if incarnation != test.incarnation() {
            return self.drop_test(id);
        }
        if self.is_kept_out(now, id) {
            self.drop_test(id);
            return self.leave_to_observers(now, id);
        }
        let Some(test) = self.observing.tests.get_mut(&id) else { return };
        for _ in 0..test.settle(now) {
            self.observing.baseline.sample(false);
        }
        let sure = self.conclude(now, id);
        if self.observing.tests.contains_key(&id) {
            self.ping_again(now, peer, sure);
            self.plan_test(now, id);
        }
    }

    /// What the evidence says: a fresh look, votes, a case, the end. Returns whether it suffices for death.
    fn conclude(&mut self, now: Instant, id: MemberId) -> bool {
        let (_, quorum) = self.quorum();
        let (baseline, pace) = (self.observing.baseline, self.pace());
        let Some(test) = self.observing.tests.get_mut(&id) else { return false };
        let lambda = test.lambda(baseline, quorum);
        let sure = lambda >= evidence::dead_above(quorum);
        let opinion = test.opinion(now, lambda, quorum, pace);
        let (own, asked) = (test.is_own(), !test.requesters().is_empty());
        let unheard = test.condemned_since().is_some_and(|since| now.since(since) >= NO_OUTCOME);
        let answered = test.has_an_ack();
        if test.take_look(lambda, baseline, quorum) {
            self.look_afresh(id);
        }
        self.tell_requesters(now, id, opinion);
        let lives = if asked { opinion == Ballot::Alive } else { answered && lambda <= 0.0 };
        if lives {
            self.end_alive(now, id);
            return sure;
        }
        // Between the two a doubt stays as it is: a subject that a new test begins with is no better
        // known than it was.
        if sure {
            self.distrust(now, id);
        } else if lambda <= 0.0 {
            self.trust_again(now, id);
        }
        let leads = self.observing.cases.contains_key(&id);
        if leads && lambda <= 0.0 {
            self.observing.cases.remove(&id);
        } else if leads || (sure && ((own && !asked) || unheard)) {
            self.pursue(now, id, opinion, sure);
        }
        if self.observing.tests.get(&id).is_some_and(|test| test.is_over(now)) {
            self.drop_test(id);
            self.leave_to_observers(now, id);
        }
        sure
    }

    fn tell_requesters(&mut self, now: Instant, id: MemberId, opinion: Ballot) {
        let Some(test) = self.observing.tests.get(&id) else { return };
        if opinion == Ballot::Pending || test.told() == Some(opinion) {
            return;
        }
        let requesters = test.requesters().to_vec();
        let mut told = false;
        for requester in requesters {
            told |= self.vote(now, requester.id, id, requester.round, opinion);
        }
        if told && let Some(test) = self.observing.tests.get_mut(&id) {
            test.has_told(opinion);
        }
    }

    /// The subject lives, so its silences were losses of the path.
    fn end_alive(&mut self, now: Instant, id: MemberId) {
        let lost = self.observing.tests.get(&id).map_or(0, Test::lost);
        for _ in 0..lost {
            self.observing.baseline.sample(false);
        }
        self.drop_test(id);
        self.trust_again(now, id);
    }

    /// The test ended without a verdict. Its observers will look again; whoever is none keeps no
    /// doubt that nothing of its own would ever end.
    pub(super) fn leave_to_observers(&mut self, now: Instant, id: MemberId) {
        if !self.observing.watch.observes(id) {
            self.observing.unreachable.remove(&id);
            self.trust_again(now, id);
        }
    }

    /// The rings changed: doubts about members that others observe end with their tests.
    pub(super) fn leave_lost_subjects(&mut self, now: Instant) {
        let doubted: alloc::vec::Vec<MemberId> = self.observing.doubted.iter().copied().collect();
        for id in doubted {
            if !self.observing.tests.contains_key(&id) {
                self.leave_to_observers(now, id);
            }
        }
    }

    pub(in crate::node) fn drop_test(&mut self, id: MemberId) {
        self.observing.tests.remove(&id);
        self.observing.cases.remove(&id);
        self.timers.cancel(Timer::Test(id));
    }

    fn ping_again(&mut self, now: Instant, peer: Peer, sure: bool) {
        let pace = self.pace();
        let learning = !self.observing.baseline.is_learned();
        let Some(test) = self.observing.tests.get_mut(&peer.id) else { return };
        if !test.wants_a_ping(now) {
            return;
        }
        let control = test.wants_a_control();
        let (sequence, due) = self.ping_for(now, peer, Purpose::Test);
        if let Some(test) = self.observing.tests.get_mut(&peer.id) {
            test.pinged(now, sequence, due);
            test.plan(now, due.since(now), pace, sure, learning);
        }
        if control {
            self.ping_a_control(now, peer.id);
        }
    }

    /// Pings a peer that lives beside the subject.
    fn ping_a_control(&mut self, now: Instant, subject: MemberId) {
        let Some(id) = self.control_of(subject) else { return };
        let Some((peer, _)) = self.testable(id) else { return };
        let counts = self.observing.controlled.take(now, id);
        let (sequence, due) = self.ping_for(now, peer, Purpose::Control(subject));
        if let Some(test) = self.observing.tests.get_mut(&subject) {
            test.controlled(now, id, sequence, due, counts);
        }
    }

    /// The control of a test: whom we heard last, else the newest requester, else somebody whom we
    /// know well. Who asks may have reasons to keep silent then, so among those heard whoever owes
    /// us an answer stands behind the others, and a requester behind all.
    fn control_of(&self, subject: MemberId) -> Option<MemberId> {
        let observing = &self.observing;
        let test = observing.tests.get(&subject)?;
        let may = |id: &MemberId| *id != subject && self.testable(*id).is_some();
        let trusted = |id: &MemberId| may(id) && !observing.tests.contains_key(id);
        let mut heard = observing.heard.newest().filter(trusted);
        let mut punctual = heard.clone().filter(|id| !test.owes_a_control(*id));
        let requesters = test.requesters().iter().rev().map(|requester| requester.id);
        let near = observing.watch.subjects().chain(observing.observers.iter().copied());
        let mut known = near.chain(observing.acquaintances.iter());
        punctual
            .next()
            .or_else(|| heard.next())
            .or_else(|| requesters.into_iter().find(may))
            .or_else(|| known.find(trusted))
            .or_else(|| observing.heard.newest().find(may))
    }

    fn plan_test(&mut self, now: Instant, id: MemberId) {
        let pace = self.pace();
        let Some(test) = self.observing.tests.get(&id) else { return };
        let mut due = test.due(now, pace);
        if let Some(since) = test.condemned_since()
            && since + NO_OUTCOME > now
        {
            due = due.min(since + NO_OUTCOME);
        }
        if let Some(case) = self.observing.cases.get(&id) {
            due = due.min(case.due(now, self.court()));
        }
        // Never at once again: a test moves in steps of a millisecond at least.
        self.timers.set(Timer::Test(id), due.max(now + Duration::from_millis(1)));
    }

    /// A ping that was in flight while we were away tells nothing.
    pub(in crate::node) fn forget_ping(&mut self, sequence: u32) {
        self.observing.pings.forget(sequence);
    }

    /// We were away for `pause` (rule D-10).
    pub(in crate::node) fn forgive_in_tests(&mut self, now: Instant, pause: Duration) {
        let open: alloc::vec::Vec<MemberId> = self.observing.tests.keys().copied().collect();
        for id in open {
            if let Some(test) = self.observing.tests.get_mut(&id) {
                test.forgive(now, pause);
            }
            self.plan_test(now, id);
        }
    }

    /// Our own probe failed for good.
    pub(super) fn count_failure(&mut self, id: MemberId) {
        self.stats.probes_failed += 1;
        self.emit(Event::ProbeFailed(id));
    }
}
