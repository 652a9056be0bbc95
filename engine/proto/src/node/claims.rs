//! Claims about members: what a record, a suspicion or a death changes, and what we answer when
//! it is about ourselves.
//!
//! Every change goes through precedence (rule M-3): a claim that does not exceed what is known
//! changes nothing. A suspicion or death never names an incarnation above the highest signed one
//! (rule M-4): such a claim first makes us pull the record.

use alloc::sync::Arc;
use core::cmp::Reverse;

use super::{Node, Peer, SOON};
use crate::detector::suspicion::{Circumstances, Schedule, Suspicion};
use crate::detector::testimony::Told;
use crate::dissemination::queue::Claim;
use crate::error::PeerError;
use crate::event::{Alarm, Event, LeftReason, Timer};
use crate::member::{Incarnation, Lifecycle, MemberId, Precedence, State};
use crate::membership::digest;
use crate::membership::record::{self, RecordHash, SignedRecord};
use crate::membership::table::{Member, MemberTable};
use crate::time::Instant;
use crate::wire::message::{self, Death, LeaveAck, Update};

/// With so few updates queued a new one need not wait for the tick.
const FEW: usize = 8;
/// A life that began so long ago has been told of (rule G-7).
const OLD_LIFE_MS: u64 = 15_000;

impl<T: MemberTable> Node<T> {
    /// A member's newest record goes by `hash`.
    pub(super) fn on_update(
        &mut self,
        now: Instant,
        from: Peer,
        id: MemberId,
        incarnation: Incarnation,
        state: State,
        hash: RecordHash,
    ) {
        let known = self.table.get(id).map(|member| (member.precedence(), member.record.hash()));
        let news = match known {
            None => state == State::Alive,
            Some((known, known_hash)) => {
                Precedence(incarnation, state) > known
                    || (incarnation == known.0 && hash != known_hash)
            }
        };
        // What a state brings that is on its way need not come twice (rule J-6).
        let comes = known.is_none() && self.joining.is_under_way();
        if news && !comes && !self.waits(id, hash) {
            self.pull(now, from, id, hash);
        } else if known.is_some_and(|(known, known_hash)| {
            known == Precedence(incarnation, state) && known_hash == hash
        }) {
            self.queue.heard(id, from.id, self.update_need());
        }
    }

    /// A record arrived, unverified.
    pub(super) fn on_record(&mut self, now: Instant, from: Peer, envelope: &[u8]) {
        let leave = self.take_record(now, from.id, envelope);
        // Whoever brings what we hold knows it; an older record, or one of the dead, says nothing.
        if let Ok((id, _, hash)) = record::peek(envelope) {
            let held = self.table.get(id);
            if held.is_some_and(|m| m.record.hash() == hash && m.state != State::Dead) {
                self.queue.brought(id, from.id);
            }
        }
        if let Some((author, incarnation)) = leave
            && author == from.id
        {
            self.send(from, &LeaveAck { incarnation: incarnation.into() });
        }
    }

    /// Verifies and applies a record if it is news. Returns whose leave it is, if it is one.
    pub(super) fn take_record(
        &mut self,
        now: Instant,
        from: MemberId,
        envelope: &[u8],
    ) -> Option<(MemberId, Incarnation)> {
        let (id, incarnation, hash) = match record::peek(envelope) {
            Ok(peeked) => peeked,
            Err(error) => {
                self.reject(from, error.into());
                return None;
            }
        };
        self.reconciler.came(digest::share(id, hash));
        if let Some(member) = self.table.get(id) {
            let known = member.incarnation();
            let left = member.record.record().lifecycle == Lifecycle::Leaving;
            if incarnation < known || (incarnation == known && hash == member.record.hash()) {
                if incarnation < known {
                    // Late, or brought again on purpose: it makes no difference.
                    self.stats.reject("stale-record");
                    self.tell_who_departed(now, from, id);
                }
                self.pulls.done(id);
                return (left && incarnation == known).then_some((id, incarnation));
            }
        } else if !self.may_take_in() {
            self.stats.members_refused += 1;
            return None;
        }
        if self.tombstones.forbids(id, incarnation) {
            self.pulls.done(id);
            self.stats.reject("tombstone");
            return None;
        }
        match self.verified(envelope) {
            Ok(record) if self.clocks.is_ahead(now, incarnation.generation) => {
                self.pulls.done(id);
                self.hold_until_its_time(from, &record);
                None
            }
            Ok(record) => {
                self.pulls.done(id);
                let leaving = record.record().lifecycle == Lifecycle::Leaving;
                let applied = self.apply_in_turn(now, record);
                (leaving && applied).then_some((id, incarnation))
            }
            Err(PeerError::UnknownSigner) => {
                self.ask_for_chain(now, from, id, envelope);
                None
            }
            Err(error) => {
                self.reject(from, error);
                None
            }
        }
    }

    /// The record in an envelope, from those that this process has verified or by verifying it.
    fn verified(&self, envelope: &[u8]) -> Result<Arc<SignedRecord>, PeerError> {
        if let Some(record) = self.authority.interned(envelope) {
            return Ok(record);
        }
        let record = Arc::new(SignedRecord::verify(
            envelope,
            &self.config.cluster_id,
            self.config.limits.metadata_bytes,
            self.authority.as_ref(),
        )?);
        Ok(self.authority.intern(record))
    }

    pub(super) fn reject(&mut self, from: MemberId, error: PeerError) {
        self.stats.reject(error.reason());
        self.emit(Event::RecordRejected { from, error });
    }

    pub(super) fn apply_record(&mut self, now: Instant, record: Arc<SignedRecord>) {
        let content = record.record();
        let (id, incarnation) = (content.id, content.incarnation);
        if id == self.local {
            self.supersede_own_past(now, &record);
            return;
        }
        let state =
            if content.lifecycle == Lifecycle::Leaving { State::Left } else { State::Alive };
        let before = self.table.get(id).cloned();
        if let Some(before) = &before
            && incarnation == before.incarnation()
        {
            self.settle_conflict(now, before, &record);
            return;
        }
        if !self.finds_a_place(before.as_ref(), state) {
            return;
        }
        self.end_suspicion(id);
        self.settle_observed(id);
        if let Some(before) = &before {
            self.note_return(now, before, incarnation);
            if self.signers.changed(id, &before.record.signer(), &record.signer()) {
                self.alarm(Alarm::TwoCertificates(id));
            }
        }
        self.noticed.remove(&id);
        self.put(now, Member { record: record.clone(), state, since: now });
        if !self.mute && (before.is_some() || !self.is_old_news(now, incarnation)) {
            self.announce(now, &record, state);
        }
        // Whoever was present has its turn already.
        if state == State::Alive
            && !self.observes()
            && !before.as_ref().is_some_and(|known| known.state.is_present())
        {
            self.order.insert(id);
        }
        self.tell_transition(before, record, state);
        self.obey_an_order_about(now, id);
        self.hear_held(now, id);
    }

    /// A newcomer learns of members that all others know: whoever showed it that state has told of
    /// them long ago, and telling of all again would cost a mesh as much as all of them joining.
    fn is_old_news(&self, now: Instant, incarnation: Incarnation) -> bool {
        let age = self.clocks.wall(now).0.saturating_sub(incarnation.generation);
        self.observes() && !self.joining.is_done() && age > OLD_LIFE_MS
    }

    /// Tells what somebody has to look at.
    pub(super) fn alarm(&mut self, alarm: Alarm) {
        self.stats.alarms += 1;
        self.emit(Event::Alarm(alarm));
    }

    fn tell_transition(&mut self, before: Option<Member>, record: Arc<SignedRecord>, state: State) {
        let was = before.map(|member| member.state);
        match (was, state) {
            (None, State::Alive) => self.emit(Event::Joined(record)),
            (Some(State::Alive), State::Alive) => self.emit(Event::Updated(record)),
            (Some(previous), State::Alive) => self.emit(Event::Recovered { record, previous }),
            (Some(State::Alive | State::Suspect), State::Left) => {
                self.emit(Event::Left { record, reason: LeftReason::Left });
            }
            // Nobody saw it present, or it was gone already: no transition to tell.
            (None | Some(State::Dead | State::Left), State::Left) => {}
            (_, State::Suspect | State::Dead) => unreachable!("a record claims neither"),
        }
    }

    /// Two records for one incarnation: a leave wins (rule M-3), then the lower hash, everywhere the
    /// same, and somebody is told (rule R-3).
    fn settle_conflict(&mut self, now: Instant, before: &Member, record: &Arc<SignedRecord>) {
        let id = before.id();
        self.emit(Event::Conflict(id));
        self.stats.reject("conflict");
        let leaves = |record: &SignedRecord| record.record().lifecycle == Lifecycle::Leaving;
        let rank = |record: &SignedRecord| (leaves(record), Reverse(record.hash()));
        if rank(record) < rank(&before.record) {
            return;
        }
        if leaves(record) && before.state != State::Left {
            self.end_suspicion(id);
            self.settle_observed(id);
            self.put(now, Member { record: record.clone(), state: State::Left, since: now });
            self.announce(now, record, State::Left);
            self.tell_transition(Some(before.clone()), record.clone(), State::Left);
            return;
        }
        let since = self.table.since(before);
        self.put(now, Member { record: record.clone(), state: before.state, since });
        if before.state.is_present() {
            self.announce(now, record, State::Alive);
        }
    }

    /// Our own signed record with a higher generation: our clock stepped back since an earlier
    /// life, so this life continues above it (rule M-2). When that repeats, another holder of our
    /// certificate does the same.
    fn supersede_own_past(&mut self, now: Instant, record: &SignedRecord) {
        let seen = record.record().incarnation;
        let own = self.local().record().incarnation;
        // Once may be our own past; a second time it is somebody who lives now, under our name.
        if seen == own || (seen > own && self.superseded) {
            self.emit(Event::Conflict(self.local));
            self.stats.reject("conflict");
        }
        self.superseded |= seen > own;
        if seen >= own
            && !self.departure.is_leaving()
            && let Some(generation) = seen.generation.checked_add(1)
        {
            let above = Incarnation { generation, counter: 0 };
            self.republish(now, |record| record.incarnation = above);
        }
    }

    /// A member is doubted.
    pub(super) fn on_suspicion(
        &mut self,
        now: Instant,
        from: Peer,
        id: MemberId,
        incarnation: Incarnation,
        accuser: MemberId,
    ) {
        if id == self.local {
            if incarnation < self.local().record().incarnation {
                self.stats.reject("stale-suspicion");
            }
            if self.is_exiled() {
                // A refutation would be the return (rule D-13).
                self.send_own_record(from);
            } else {
                self.refute_to(now, from, incarnation);
            }
            return;
        }
        if self.is_departed(from.id) {
            self.stats.reject("departed");
            return;
        }
        if self.observes() {
            // A member that runs another detector doubts: reason enough to look, and no more.
            if self.table.get(id).is_some_and(|member| member.incarnation() == incarnation) {
                self.look_at(now, from.id, id);
            }
            return;
        }
        // An accuser that we do not know as a member does not count.
        if self.table.get(accuser).is_some_and(|member| member.state.is_present()) {
            self.suspect(now, Some(from), id, incarnation, accuser);
        }
    }

    /// Begins or confirms a suspicion. `from` tells whom to ask for a record that we lack.
    pub(super) fn suspect(
        &mut self,
        now: Instant,
        from: Option<Peer>,
        id: MemberId,
        incarnation: Incarnation,
        accuser: MemberId,
    ) {
        let Some(member) = self.table.get(id) else { return };
        if incarnation > member.incarnation() {
            if let Some(from) = from {
                self.pull(now, from, id, RecordHash(0));
            }
            return;
        }
        if incarnation < member.incarnation() {
            self.stats.reject("stale-suspicion");
            return;
        }
        match member.state {
            State::Dead | State::Left => {}
            State::Suspect => self.confirm(now, id, accuser),
            State::Alive => self.begin_suspicion(now, member.clone(), accuser),
        }
    }

    fn begin_suspicion(&mut self, now: Instant, member: Member, accuser: MemberId) {
        let id = member.id();
        let last_contact = self.contacts.of(id).map(|contact| contact.last);
        let parts = self.config.parts();
        let schedule = Schedule::new(&Circumstances {
            now,
            members: self.members(),
            interval: self.config.interval,
            suspicion_interval: self.config.suspicion_interval,
            last_contact,
            dynamic: parts.dynamic,
            promise: parts.promise,
        });
        let suspicion = Suspicion::begin(now, schedule, accuser);
        self.timers.set(Timer::Suspicion(id), suspicion.deadline());
        self.suspicions.insert(id, suspicion);
        self.stats.suspicions += 1;
        self.queue_suspicion(now, &member, accuser);
        let record = member.record.clone();
        self.put(now, Member { state: State::Suspect, since: now, ..member });
        if parts.extras
            && accuser == self.local
            && let Some(peer) = self.peer(id)
        {
            self.warn_a_suspect(peer);
        }
        self.emit(Event::Suspected { record, last_contact });
    }

    fn confirm(&mut self, now: Instant, id: MemberId, accuser: MemberId) {
        let Some(suspicion) = self.suspicions.get_mut(&id) else { return };
        if !suspicion.confirm(accuser) {
            return;
        }
        // A deadline that this confirmation moved into the past is not one that we slept through.
        self.timers.set(Timer::Suspicion(id), suspicion.deadline().max(now));
        if let Some(member) = self.table.get(id).cloned() {
            self.queue_suspicion(now, &member, accuser);
        }
    }

    fn queue_suspicion(&mut self, now: Instant, member: &Member, accuser: MemberId) {
        let claim = message::Suspicion {
            id: member.id().0,
            incarnation: member.incarnation().into(),
            accuser: accuser.0,
        };
        self.queue_claim(now, member.id(), Claim::Suspicion(claim));
    }

    pub(super) fn suspicion_matured(&mut self, now: Instant, id: MemberId) {
        if let Some(later) = self.heard_meanwhile(now, id) {
            self.timers.set(Timer::Suspicion(id), later);
            if let Some(peer) = self.peer(id) {
                self.warn_a_suspect(peer);
            }
            return;
        }
        if let Some(member) = self.table.get(id)
            && member.state == State::Suspect
        {
            let incarnation = member.incarnation();
            self.stats.declared_dead += 1;
            self.bury(now, now, id, incarnation, self.local, 0);
        }
    }

    /// Within the promise's range the deadline counts from the last contact (rule F-6). A suspect
    /// that we have heard since keeps its place until that deadline, time enough for the
    /// refutation that was lost to be sent again.
    fn heard_meanwhile(&self, now: Instant, id: MemberId) -> Option<Instant> {
        let suspicion = self.suspicions.get(&id)?;
        let deadline = suspicion.deadline_after_contact(self.contacts.of(id)?.last)?;
        (deadline > now).then_some(deadline)
    }

    /// A member was judged failed by another.
    pub(super) fn on_death(&mut self, now: Instant, from: Peer, claim: &Death) {
        let (id, incarnation) = (MemberId(claim.id), claim.incarnation.into());
        if id == self.local {
            let told = Told::Announced(claim.proof.get());
            self.told_dead(now, from, MemberId(claim.announcer), incarnation, told);
            return;
        }
        if self.is_departed(from.id) {
            self.stats.reject("departed");
            return;
        }
        match self.table.get(id).map(Member::incarnation) {
            Some(known) if incarnation > known => self.pull(now, from, id, RecordHash(0)),
            Some(known) if incarnation == known && self.observes() => {
                if self.is_departed(id) {
                    self.queue.heard(id, from.id, self.update_need());
                } else {
                    self.hear_of_death(now, from, claim);
                }
            }
            Some(known) if incarnation == known => {
                let age = core::time::Duration::from_millis(claim.age_ms.get().into());
                let announcer = MemberId(claim.announcer);
                self.bury(now, now - age, id, incarnation, announcer, claim.proof.get());
            }
            // Late, or kept for another day: that life is over by its own word (rule M-3).
            Some(_) => self.stats.reject("stale-death"),
            None => self.stats.reject("unknown-dead"),
        }
    }

    /// Others hold us dead (rules H-1 and D-13).
    pub(super) fn told_dead(
        &mut self,
        now: Instant,
        from: Peer,
        announcer: MemberId,
        incarnation: Incarnation,
        told: Told,
    ) {
        if incarnation < self.local().record().incarnation {
            self.stats.reject("stale-death");
        }
        if self.observes() {
            self.hear_of_own_death(now, from, announcer, incarnation, told);
        } else {
            self.stand_corrected(now, incarnation);
            self.refute_to(now, from, incarnation);
        }
    }

    /// Whether we hold `id` departed: it has been away, and what it makes of others is no
    /// evidence (rule H-3).
    pub(super) fn is_departed(&self, id: MemberId) -> bool {
        // Mostly nobody is, and then the member need not be looked up.
        let counts = self.table.counts();
        counts.dead + counts.left > 0
            && self.config.parts().extras
            && self.table.get(id).is_some_and(|member| !member.state.is_present())
    }

    /// Others buried us, so we were the one that was away (rule H-3): our verdicts do not leave,
    /// and whom we doubt gets time for an answer to be read.
    pub(super) fn stand_corrected(&mut self, now: Instant, incarnation: Incarnation) {
        if incarnation != self.local().record().incarnation || !self.config.parts().extras {
            return;
        }
        // Once in a while: a member that claims it again and again must not keep us from judging.
        let pause = self.config.suspicion_interval;
        if self.corrected.is_some_and(|last| now.since(last) < pause) {
            return;
        }
        self.corrected = Some(now);
        self.queue.retract_verdicts();
        let at = now + self.config.suspicion_interval / 4;
        for (id, suspicion) in &mut self.suspicions {
            suspicion.spare_until(at);
            if self.timers.deadline(Timer::Suspicion(*id)).is_some_and(|set| set < at) {
                self.timers.set(Timer::Suspicion(*id), at);
            }
        }
    }

    pub(super) fn bury(
        &mut self,
        now: Instant,
        since: Instant,
        id: MemberId,
        incarnation: Incarnation,
        announcer: MemberId,
        proof: u64,
    ) {
        let Some(member) = self.table.get(id).cloned() else { return };
        if Precedence(incarnation, State::Dead) <= member.precedence() {
            return;
        }
        self.end_suspicion(id);
        self.settle_observed(id);
        if self.observes() {
            self.note_death(now, id, announcer);
        }
        let death = Death {
            id: id.0,
            incarnation: incarnation.into(),
            announcer: announcer.0,
            age_ms: 0.into(),
            proof: proof.into(),
        };
        self.queue_claim(now, id, Claim::Death { death, since });
        let record = member.record.clone();
        self.put(now, Member { state: State::Dead, since: now, ..member });
        self.emit(Event::Left { record, reason: LeftReason::Failed });
    }

    pub(super) fn end_suspicion(&mut self, id: MemberId) {
        if self.suspicions.remove(&id).is_some() {
            self.timers.cancel(Timer::Suspicion(id));
        }
    }

    /// Answers a claim about ourselves (rule F-7). Whoever passed it on gets our record at once:
    /// the accuser's clock is running. A claim above what we have signed is no claim (rule M-4):
    /// if such a record exists it is ours, from a life whose clock was ahead, so we ask for it.
    pub(super) fn refute_to(&mut self, now: Instant, from: Peer, incarnation: Incarnation) {
        if incarnation > self.local().record().incarnation {
            self.stats.reject("unsigned-incarnation");
            self.pull(now, from, self.local, RecordHash(0));
            return;
        }
        self.refute(now, incarnation);
        if self.config.parts().extras {
            self.send_own_record(from);
        }
    }

    /// Somebody doubts or buries us at our present incarnation: we live on under the next.
    pub(super) fn refute(&mut self, now: Instant, incarnation: Incarnation) {
        let own = self.local().record().incarnation;
        if incarnation != own || self.departure.is_leaving() {
            return;
        }
        if self.config.parts().health {
            self.awareness.refuted();
        }
        self.stats.refutations += 1;
        if self.republish(now, |record| record.incarnation = own.next()) {
            let record = self.local().clone();
            self.emit(Event::Refuted(record));
        }
    }

    /// Queues the hot update for a record.
    pub(super) fn announce(&mut self, now: Instant, record: &SignedRecord, state: State) {
        let content = record.record();
        let update = Update::new(content.id, content.incarnation, state, record.hash());
        self.queue_claim(now, content.id, Claim::Update(update));
    }

    fn queue_claim(&mut self, now: Instant, id: MemberId, claim: Claim) {
        self.stats.queue_dropped +=
            self.queue.push(now, id, claim, self.config.limits.queue_entries);
        let tick = self.config.gossip_interval;
        let delay = if self.config.parts().extras {
            if self.queue.len() <= FEW { SOON } else { tick }
        } else if self.timers.deadline(Timer::Gossip).is_none() {
            // memberlist's ticks never stop: a new update meets them at a random phase.
            tick.mul_f64(self.rng.f64())
        } else {
            tick
        };
        let at = now + delay;
        if self.timers.deadline(Timer::Gossip).is_none_or(|set| at < set) {
            self.timers.set(Timer::Gossip, at);
        }
    }
}
