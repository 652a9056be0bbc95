//! Messages in: each kind goes to whoever understands it.

use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U32, U64};

use super::{Node, Peer};
use crate::detector::awareness::WORST;
use crate::detector::relay::Request;
use crate::detector::testimony::Told;
use crate::event::{StreamRequest, Timer};
use crate::member::{Incarnation, MemberId, State};
use crate::membership::record::RecordHash;
use crate::membership::table::MemberTable;
use crate::time::{Duration, Instant};
use crate::wire::message::{
    Ack, LeaveAck, Message, Messages, Nack, Notice, Ping, PingRequest, RecordByStream, RecordPull,
    RelayedAck, kind,
};

/// A member held dead is told so at most this often (rule H-1).
pub(super) const NOTICE_PAUSE: Duration = Duration::from_secs(1);

/// Members whose records one stream fetches.
const MOST_TOGETHER: usize = 1_024;

impl<T: MemberTable> Node<T> {
    pub(super) fn receive(&mut self, now: Instant, from: Peer, payload: &[u8]) {
        if self.departure.is_stopped() {
            self.stats.reject("stopped");
            return;
        }
        if from.id == self.local {
            self.stats.reject("own-id");
            return;
        }
        if self.is_silent() {
            self.hear_clocks_only(now, from, payload);
            return;
        }
        self.contacts.heard(now, from.id);
        self.heard_from(now, from.id);
        self.joining.heard_at(from.address, from.id);
        let agreements = self.stats.digests_equal;
        self.answered = None;
        for message in Messages::new(payload) {
            match message {
                Ok(message) => {
                    self.stats.messages_in += 1;
                    self.route(now, from, message);
                }
                Err(_) => self.stats.reject("decode"),
            }
        }
        // Afterwards: this datagram may be the answer.
        self.ask_the_time_at_first(now, from);
        // Afterwards: a greeting brings the record that tells where its sender listens.
        self.ask_for_state(now, from);
        // Whoever holds the same members as we do, itself among them, is no stranger and not dead.
        if self.stats.digests_equal == agreements {
            self.greet(now, from);
        }
    }

    fn route(&mut self, now: Instant, from: Peer, message: Message<'_>) {
        if !self.affords(now, from.id, &message) {
            return;
        }
        match message {
            Message::Ping(ping) => self.on_ping(now, from, ping),
            Message::Ack(ack) => self.on_ack(now, from, ack),
            Message::PingRequest(request) => self.on_ping_request(now, from, request),
            Message::Nack(nack) => self.on_nack(from, nack),
            Message::RelayedAck(ack) => self.on_relayed_ack(now, from, ack),
            Message::Update(update) => {
                if let Some(state) = update.state() {
                    let hash = RecordHash(update.hash.get());
                    self.on_update(
                        now,
                        from,
                        MemberId(update.id),
                        update.incarnation.into(),
                        state,
                        hash,
                    );
                }
            }
            Message::Suspicion(claim) => {
                let accuser = MemberId(claim.accuser);
                self.on_suspicion(now, from, MemberId(claim.id), claim.incarnation.into(), accuser);
            }
            Message::Death(claim) => self.on_death(now, from, claim),
            Message::Notice(notice) => self.on_notice(now, from, notice),
            Message::RecordPull(pull) => self.on_record_pull(from, pull),
            Message::Record(envelope) => self.on_record(now, from, envelope),
            Message::RecordByStream(by_stream) => {
                self.wish_stream(from, alloc::vec![MemberId(by_stream.id)]);
            }
            Message::LeaveAck(ack) => self.on_leave_ack(from, ack),
            Message::ListNotice(notice) => self.on_list_notice(now, from, notice),
            Message::Part(header, bytes) => self.on_part(now, from, header, bytes),
            Message::CertificatePull(pull) => self.on_certificate_pull(from, pull),
            Message::Certificate(der) => self.on_certificate(now, der),
            Message::ClockPull(pull) => self.on_clock_pull(now, from, pull),
            Message::Clock(clock) => self.on_clock(now, from, clock),
            Message::ForceLeave(bytes) => self.on_force_leave(now, from, bytes),
            Message::Verify(verify) => self.on_verify(now, from, verify),
            Message::Vote(vote, seal) => self.on_vote(now, from, vote, seal),
            Message::Hint(hint) => self.on_hint(now, from, hint),
            Message::ProofPull(pull) => self.on_proof_pull(now, from, pull),
            Message::Proof(bytes) => self.on_proof(now, from, bytes),
            Message::Sketch(header, cells) => self.on_sketch(now, from, header, cells),
            Message::Difference(header, shares) => self.on_difference(now, from, header, shares),
            Message::Want(shares) => self.on_want(now, from, shares),
            Message::Broadcast(body) => self.on_broadcast(now, from, body),
            Message::Direct(head, bytes) => self.on_message(now, from, head, bytes),
            Message::TicketPull(pull) => self.on_ticket_pull(now, from, pull),
            Message::Ticket(head, named) => self.on_ticket(now, from, head, named),
            // The session layer has acted on it.
            Message::Unknown(kind::CONFIRM) => {}
            Message::Unknown(_) => self.stats.messages_unknown += 1,
        }
    }

    /// After the messages of a datagram: a stranger is asked who it is, and one held dead is told.
    fn greet(&mut self, now: Instant, from: Peer) {
        let Some(member) = self.table.get(from.id) else {
            // Whoever lives again answers that with the record of its new life.
            return match self.tombstones.of(from.id) {
                Some(over) => self.tell_of_the_stone(now, from, over),
                None => self.pull(now, from, from.id, RecordHash(0)),
            };
        };
        match member.state {
            State::Dead | State::Left if !self.config.parts().extras => {}
            State::Dead | State::Left => {
                let incarnation = member.incarnation();
                let last = self.noticed.get(&from.id);
                if last.is_none_or(|last| now.since(*last) >= NOTICE_PAUSE) {
                    self.noticed.insert(from.id, now);
                    if self.tell_the_order(from, from.id, incarnation) {
                        return;
                    }
                    let announcer = self.announcer_of(from.id);
                    let notice = Notice { incarnation: incarnation.into(), announcer: announcer.0 };
                    self.send(from, &notice);
                }
            }
            State::Alive | State::Suspect => {}
        }
    }

    fn on_ping(&mut self, now: Instant, from: Peer, ping: &Ping) {
        let (baseline, phase_error) = self.ack_fields(now, from.id);
        let ack = Ack {
            sequence: ping.sequence,
            incarnation: self.local().record().incarnation.into(),
            digest: U64::new(self.table.digest()),
            baseline,
            phase_error,
        };
        self.send(from, &ack);
        self.compare_digest(now, from, ping.digest.get());
        self.tell_what_is_lacking(now, from, ping.digest.get());
    }

    fn on_ack(&mut self, now: Instant, from: Peer, ack: &Ack) {
        let sequence = ack.sequence.get();
        if self.observes() {
            self.observed_ack(now, from, ack);
        }
        if let Some(acked) = self.probes.acked(now, sequence, from.id) {
            self.probe_answered(sequence, acked);
        } else if let Some(request) = self.relays.acked(sequence, from.id) {
            self.timers.cancel(Timer::RelayLate(sequence));
            let answer =
                RelayedAck { sequence: U32::new(request.sequence), incarnation: ack.incarnation };
            if let Some(requester) = self.peer(request.requester) {
                self.send(requester, &answer);
            }
        }
        // Equal digests mean equal records, its own among them.
        self.tell_what_is_lacking(now, from, ack.digest.get());
        if !self.compare_digest(now, from, ack.digest.get()) {
            self.notice_newer(now, from, ack.incarnation.into());
        }
    }

    /// Whoever acks under an incarnation that we do not know has a record for us.
    fn notice_newer(&mut self, now: Instant, from: Peer, incarnation: Incarnation) {
        let known = self.table.get(from.id).map(|member| member.incarnation());
        if known.is_some_and(|known| known < incarnation) {
            self.pull(now, from, from.id, RecordHash(0));
        }
    }

    fn on_ping_request(&mut self, now: Instant, from: Peer, request: &PingRequest) {
        let target = MemberId(request.target);
        if target == self.local {
            return;
        }
        let Some(peer) = self.peer(target) else { return };
        let sequence = self.probes.sequence();
        let open = Request { requester: from.id, sequence: request.sequence.get(), target };
        if !self.relays.begin(sequence, open, self.config.limits.relays) {
            self.stats.relays_refused += 1;
            return;
        }
        let patience = Duration::from_millis(request.timeout_ms.get().into());
        // A requester in poor health waits longer, and only its own time counts for it (rule F-4).
        let longest = self.config.ping_timeout * (WORST + 1);
        self.timers.set(Timer::RelayLate(sequence), now + patience.min(longest));
        let ping = self.ping(sequence);
        self.send(peer, &ping);
    }

    pub(super) fn relay_late(&mut self, sequence: u32) {
        let Some(request) = self.relays.late(sequence) else { return };
        let parts = self.config.parts();
        // Nacks are part of local health; SWIM's relays have nothing to say.
        if (parts.health || parts.extras)
            && let Some(requester) = self.peer(request.requester)
        {
            self.send(requester, &Nack { sequence: U32::new(request.sequence) });
        }
    }

    fn on_nack(&mut self, from: Peer, nack: &Nack) {
        if self.probes.nacked(nack.sequence.get(), from.id) {
            self.stats.nacks += 1;
        }
    }

    fn on_relayed_ack(&mut self, now: Instant, from: Peer, ack: &RelayedAck) {
        let sequence = ack.sequence.get();
        if let Some(acked) = self.probes.acked_by_relay(sequence, from.id) {
            self.notice_relayed(now, from, acked.target, ack.incarnation.into());
            self.probe_answered(sequence, acked);
        }
    }

    /// A relay heard the target under an incarnation that we do not know: it has heard of the
    /// record too, or soon will.
    fn notice_relayed(&mut self, now: Instant, relay: Peer, id: MemberId, newer: Incarnation) {
        if self.table.get(id).is_some_and(|member| member.incarnation() < newer) {
            self.pull(now, relay, id, RecordHash(0));
        }
    }

    fn on_notice(&mut self, now: Instant, from: Peer, notice: &Notice) {
        let held: Incarnation = notice.incarnation.into();
        self.told_dead(now, from, MemberId(notice.announcer), held, Told::Noticed);
    }

    fn on_record_pull(&mut self, from: Peer, pull: &RecordPull) {
        self.send_record(from, MemberId(pull.id));
    }

    /// Sends what record we have of a member; one that does not fit a datagram is to be fetched.
    pub(super) fn send_record(&mut self, to: Peer, id: MemberId) {
        let Some(member) = self.table.get(id) else { return };
        let envelope = member.record.envelope().clone();
        if !self.send_raw(to, kind::RECORD, &envelope) {
            self.send(to, &RecordByStream { id: id.0 });
        }
    }

    fn on_leave_ack(&mut self, from: Peer, ack: &LeaveAck) {
        if Incarnation::from(ack.incarnation) == self.local().record().incarnation {
            self.leave_acknowledged(from.id);
        }
    }

    /// Asks `from` for a record, unless that is under way.
    pub(super) fn pull(&mut self, now: Instant, from: Peer, id: MemberId, hash: RecordHash) {
        if self.pulls.begin(now, from.id, id, hash, self.config.limits.pulls) {
            self.stats.pulls += 1;
            self.send(from, &RecordPull { id: id.0, hash: U64::new(hash.0) });
            self.plan_pulls();
        }
    }

    /// Repeats what was asked for and has not come.
    pub(super) fn pull_again(&mut self, now: Instant) {
        for (from, id, hash) in self.pulls.overdue(now) {
            if let Some(peer) = self.peer(from) {
                self.stats.pulls += 1;
                self.send(peer, &RecordPull { id: id.0, hash: U64::new(hash.0) });
            }
        }
        self.pull_certificates_again(now);
        self.pull_proofs_again(now);
        self.plan_pulls();
    }

    /// Sets the timer for what is under way, unless it stands: the search is not for every pull.
    pub(super) fn plan_pulls(&mut self) {
        if self.timers.deadline(Timer::Pull).is_some() {
            return;
        }
        let records = Instant::earliest(self.pulls.due(), self.chains.due());
        if let Some(due) = Instant::earliest(records, self.proofs_due()) {
            self.timers.set(Timer::Pull, due);
        }
    }

    /// Asks `from` for whatever record of `id` is its newest.
    pub(super) fn pull_newest(&mut self, now: Instant, from: Peer, id: MemberId) {
        self.pull(now, from, id, RecordHash(0));
    }

    pub(super) fn send_own_record(&mut self, to: Peer) {
        let envelope = self.local().envelope().clone();
        if !self.send_raw(to, kind::RECORD, &envelope) {
            let id = self.local.0;
            self.send(to, &RecordByStream { id });
        }
    }

    pub(super) fn ping(&self, sequence: u32) -> Ping {
        Ping { sequence: U32::new(sequence), digest: U64::new(self.table.digest()) }
    }

    /// Says whether the views are equal.
    fn compare_digest(&mut self, now: Instant, from: Peer, digest: u64) -> bool {
        if digest == self.table.digest() {
            self.stats.digests_equal += 1;
            self.agreement.agreed(from.id);
            self.partners.agreed(from.id);
            self.queue.agreed(from.id, self.update_need());
            return true;
        }
        self.stats.digests_differ += 1;
        // A whole state is on its way already (rule J-6).
        if self.joining.is_under_way() {
            return false;
        }
        if self.reconciler.lost(now) {
            self.agreement.was_lost();
        }
        let ours = self.table.digest();
        self.partners.differed(now, from.id, digest);
        let interval = self.config.interval;
        let (partner, theirs) = self.partners.next(now, interval, ours, (from.id, digest));
        let stormy = self.storm.rages(now, self.members());
        let lasting = self.agreement.differed(now, (ours, theirs), stormy);
        if lasting && self.config.parts().extras {
            let other = self.peer(partner).filter(|other| !self.is_departed(other.id));
            self.reconcile(now, other.filter(|other| other.id != from.id).unwrap_or(from));
        }
        false
    }

    /// Wishes for an exchange with `peer`, at the address that it advertises: what it sends from
    /// may be a translated port that nobody listens on. Only of a stranger no other is known. Says
    /// whether the wish stands.
    pub(super) fn wish_stream(&mut self, peer: Peer, members: alloc::vec::Vec<MemberId>) -> bool {
        let Peer { id, address } = self.peer(peer.id).unwrap_or(peer);
        // Records of one member are fetched together.
        let open = self.streams.iter_mut().find(|open| {
            (open.peer, open.address) == (id, address)
                && !members.is_empty()
                && (1..MOST_TOGETHER).contains(&open.members.len())
        });
        if let Some(open) = open {
            for member in members {
                if !open.members.contains(&member) {
                    open.members.push(member);
                }
            }
            return true;
        }
        let request = StreamRequest { peer: id, address, members };
        // A wish that was not taken up is repeated by its cause; a queue of them serves nobody.
        let stands = self.streams.contains(&request);
        let begins = !stands && self.streams.len() < 16;
        if begins {
            self.stats.syncs += 1;
            self.streams.push_back(request);
        }
        stands || begins
    }
}

/// The frame of a message costs three bytes; a hello must fit in one datagram with a ping.
pub(super) fn hello_ping(ping: &Ping) -> (u8, &[u8]) {
    (kind::PING, ping.as_bytes())
}
