//! Handshake datagrams, in and out: dials, answers and the moment when a peer is proven.

use std::net::SocketAddr;

use mesh_gossip_proto::{Instant, MemberId};

use super::answer::Answer;
use super::dial::{Dial, Proven};
use super::established::{Side, Us};
use super::failure::Failure;
use super::flight::Envelope;
use super::proofs::names_a_place;
use super::session::{Beginning, Finishing, Phase, Session, UNCONFIRMED};
use super::stats::TlsSummary;
use super::targets::{Target, Targets};
use super::{
    Delivery, Entry, Handshake, INIT, INIT_SIZE, LinkEvent, Links, MOST_ENTRIES, MOST_REJECTED,
    OWN_ID, decode_reason, lifecycle,
};
use crate::entropy;

impl Links {
    /// Begins a handshake with `target` at `path` if none is under way and the pace allows it;
    /// says whether one is under way.
    pub(super) fn dial(&mut self, now: Instant, target: Target, path: SocketAddr) -> bool {
        if self.targets.is_dialling(target) {
            return true;
        }
        if self.slots.len() >= MOST_ENTRIES || !self.targets.may_dial(now, target) {
            return false;
        }
        match self.begin_dial(now, target, path) {
            Ok(index) => {
                self.stats.dials += 1;
                self.targets.dialling(target, index);
                self.send_dial_flight(now, index);
                true
            }
            Err(failure) => {
                self.fail(path, failure);
                false
            }
        }
    }

    fn begin_dial(
        &mut self,
        now: Instant,
        target: Target,
        path: SocketAddr,
    ) -> Result<u32, Failure> {
        let attempt = entropy::word().map_err(|_| Failure::Full)?;
        let config = self.authority.credentials().gossip_client().clone();
        let generation = self.rekeying.generation();
        // The index is known only once the place is let; the dial needs it from the start.
        let mut outcome = Ok(());
        let expect = Self::expectation(target);
        let ticket = self.ticket_for(target, path);
        let index = self.slots.insert_with(|index| {
            match Dial::begin(config, now, path, expect, index, attempt, generation) {
                Ok(mut dial) => {
                    dial.ticket = ticket;
                    Some(Entry::Dialing(Box::new(dial)))
                }
                Err(failure) => {
                    outcome = Err(failure);
                    None
                }
            }
        });
        outcome?;
        index.ok_or(Failure::Full)
    }

    /// Sends what a dial has to send; ends it when its time is over.
    pub(super) fn send_dial_flight(&mut self, now: Instant, index: u32) {
        let Some(Entry::Dialing(dial)) = self.slots.get_mut(index) else { return };
        let path = dial.path;
        match dial.flight(now) {
            Ok(flight) => {
                self.timers.set(index, dial.due());
                for datagram in flight {
                    self.push(path, datagram);
                }
            }
            Err(failure) => {
                self.close(index);
                self.fail(path, failure);
            }
        }
    }

    pub(super) fn receive_resp(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) {
        let parts = match Handshake::split(datagram) {
            Ok(parts) => parts,
            Err(error) => return self.count_drop(decode_reason(error)),
        };
        let index = parts.header.receiver.get();
        let attempt = parts.header.attempt.get();
        match self.slots.get_mut(index) {
            Some(Entry::Dialing(dial)) if dial.attempt == attempt && dial.path == from => {
                let seed = matches!(dial.target(), Target::Address(_));
                match dial.take(now, &parts.header, parts.fragment) {
                    Ok(false) => self.timers.set(index, dial.due()),
                    Ok(true) => self.server_proven(now, index),
                    Err(failure) => {
                        if seed && failure.reason() == OWN_ID {
                            self.events.push_back(LinkEvent::Ourselves { path: from });
                        }
                        self.close(index);
                        self.fail(from, failure);
                    }
                }
            }
            Some(Entry::Open(session)) if session.is_of(attempt) && session.path == from => {
                // A late answer: the server acknowledges a part of our last flight.
                if let Phase::Finishing(finishing) = &mut session.phase {
                    finishing.acknowledge(parts.header.ack.get());
                }
            }
            Some(_) | None => self.count_drop("attempt"),
        }
    }

    /// The server's flight is complete: it is authenticated, our last flight goes out.
    fn server_proven(&mut self, now: Instant, index: u32) {
        let mut outcome = None;
        let us = Us { local: self.local, cluster_id: &self.cluster_id, authority: &self.authority };
        self.slots.replace_with(index, |entry| {
            let Entry::Dialing(dial) = entry else {
                unreachable!("the caller saw a dial at this index");
            };
            let (path, target) = (dial.path, dial.target());
            let greeting = greeting(&mut self.targets, target);
            match finish_dial(*dial, now, &us, index, greeting) {
                Ok((session, tls)) => {
                    outcome = Some(Ok((session.peer, path, target, tls)));
                    Some(Entry::Open(session))
                }
                Err(failure) => {
                    outcome = Some(Err((path, target, failure)));
                    None
                }
            }
        });
        match outcome {
            Some(Ok((peer, path, target, tls))) => {
                let seed = matches!(target, Target::Address(_));
                self.events.push_back(LinkEvent::Proven { peer, path, seed });
                self.stats.tls = Some(tls);
                self.send_last_flight(now, index);
            }
            Some(Err((path, target, failure))) => {
                self.timers.cancel(index);
                self.dial_ended(target, index);
                self.fail(path, failure);
            }
            None => unreachable!("the caller saw a dial at this index"),
        }
    }

    /// Sends, or repeats, the client's last flight; ends the session when nobody confirms.
    pub(super) fn send_last_flight(&mut self, now: Instant, index: u32) {
        if !self.upheld(now, index) {
            return;
        }
        let Some(Entry::Open(session)) = self.slots.get_mut(index) else { return };
        let (path, peer, begun) = (session.path, session.peer, session.begun());
        let Phase::Finishing(finishing) = &mut session.phase else { return };
        if now.since(begun) >= UNCONFIRMED {
            let rejected = finishing.sent() >= super::session::REJECTED_AFTER;
            // Told once until the peer confirms after all.
            if rejected && self.rejected_by.len() < MOST_REJECTED && self.rejected_by.insert(peer) {
                self.events.push_back(LinkEvent::Rejected { peer });
            }
            self.close(index);
            return self.fail(path, Failure::Unconfirmed);
        }
        let (greeting, mut trailer) = (std::mem::take(&mut finishing.greeting), Vec::new());
        // A fresh channel cannot be exhausted; without a trailer the flight is still valid.
        let _ = session.seal(&greeting, &mut trailer);
        let Phase::Finishing(finishing) = &mut session.phase else { return };
        finishing.greeting = greeting;
        let (flight, again) = finishing.flight(now, &trailer);
        self.timers.set(index, again.min(begun + UNCONFIRMED));
        for datagram in flight {
            self.push(path, datagram);
        }
    }

    pub(super) fn receive_init<'a>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &'a mut [u8],
    ) -> Option<Delivery<'a>> {
        let size = datagram.len();
        let parts = match Handshake::split(datagram) {
            Ok(parts) => parts,
            Err(error) => return self.drop_datagram(decode_reason(error)),
        };
        if size < INIT_SIZE {
            // Every client pads (rule S-6); a short one only wants work done cheaply.
            return self.drop_datagram("short-init");
        }
        let index = match self.answer_index(now, from, &parts) {
            Ok(index) => index,
            Err(reason) => return self.drop_datagram(reason),
        };
        match self.slots.get_mut(index) {
            Some(Entry::Answering(answer)) => {
                match answer.take(&parts.header, parts.fragment, size) {
                    Ok(false) => {
                        for datagram in answer.flight() {
                            self.push(from, datagram);
                        }
                        None
                    }
                    Ok(true) => {
                        self.client_proven(now, index);
                        self.open_trailer(now, from, index, parts.trailer)
                    }
                    Err(failure) => {
                        self.close(index);
                        self.fail(from, failure);
                        None
                    }
                }
            }
            Some(Entry::Open(session)) => {
                // Our confirmation was lost (rule S-5).
                if session.confirmed().is_some() && self.confirmations.take(now) {
                    self.send_confirmation(now, index);
                }
                self.open_trailer(now, from, index, parts.trailer)
            }
            Some(Entry::Dialing(_)) | None => self.drop_datagram("attempt"),
        }
    }

    /// The place of the handshake that an INIT belongs to, a new one if it is its first.
    fn answer_index(
        &mut self,
        now: Instant,
        from: SocketAddr,
        parts: &Handshake<'_>,
    ) -> Result<u32, &'static str> {
        let attempt = parts.header.attempt.get();
        let named = parts.header.receiver.get();
        if names_a_place(&parts.header) {
            let belongs = match self.slots.get(named) {
                Some(Entry::Answering(answer)) => answer.attempt == attempt && answer.path == from,
                Some(Entry::Open(session)) => {
                    session.theirs && session.is_of(attempt) && session.path == from
                }
                Some(Entry::Dialing(_)) | None => false,
            };
            return if belongs { Ok(named) } else { Err("attempt") };
        }
        if let Some(known) = self.attempts.get(&(from, attempt)) {
            return Ok(*known);
        }
        if self.slots.len() >= MOST_ENTRIES {
            return Err("half-open-full");
        }
        let (claim, displaced) = self.admit(now, from, parts)?;
        if let Some(displaced) = displaced {
            self.displace(displaced);
        }
        let config = self.authority.credentials().gossip_server().clone();
        let generation = self.rekeying.generation();
        let index = self.slots.insert_with(|index| {
            let mut answer =
                Answer::begin(config, now, from, &parts.header, index, generation).ok()?;
            answer.claim = claim;
            Some(Entry::Answering(Box::new(answer)))
        });
        let index = index.ok_or("half-open-full")?;
        self.attempts.insert((from, attempt), index);
        self.admission.entered(from, claim, index);
        self.half_open += 1;
        self.stats.half_open_peak = self.stats.half_open_peak.max(self.half_open);
        self.timers.set(index, now + UNCONFIRMED);
        Ok(index)
    }

    /// Somebody who shows more takes the place of an unproven client.
    fn displace(&mut self, index: u32) {
        let Some(Entry::Answering(answer)) = self.slots.get(index) else { return };
        let path = answer.path;
        self.close(index);
        self.fail(path, Failure::Displaced);
    }

    /// The client is authenticated: a session that its first sealed datagram will confirm.
    fn client_proven(&mut self, now: Instant, index: u32) {
        let mut outcome = None;
        let us = Us { local: self.local, cluster_id: &self.cluster_id, authority: &self.authority };
        self.slots.replace_with(index, |entry| {
            let Entry::Answering(answer) = entry else {
                unreachable!("the caller saw an answer at this index");
            };
            let (path, attempt) = (answer.path, answer.attempt);
            self.admission.left(path, answer.claim, index);
            match finish_answer(*answer, now, &us) {
                Ok((session, tls)) => {
                    outcome = Some(Ok(tls));
                    Some(Entry::Open(session))
                }
                Err(failure) => {
                    outcome = Some(Err((path, attempt, failure)));
                    None
                }
            }
        });
        match outcome {
            Some(Ok(tls)) => self.stats.tls = Some(tls),
            Some(Err((path, attempt, failure))) => {
                self.timers.cancel(index);
                self.attempts.remove(&(path, attempt));
                self.half_open -= 1;
                self.fail(path, failure);
            }
            None => unreachable!("the caller saw an answer at this index"),
        }
    }

    fn open_trailer<'a>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        index: u32,
        trailer: &'a mut [u8],
    ) -> Option<Delivery<'a>> {
        if trailer.is_empty() {
            return None;
        }
        let (header, body) = match super::DataHeader::split(trailer) {
            Ok(parts) => parts,
            Err(error) => return self.drop_datagram(decode_reason(error)),
        };
        if header.receiver.get() != index {
            return self.drop_datagram("trailer");
        }
        self.open(now, from, index, &header, body)
    }

    fn dial_ended(&mut self, target: Target, index: u32) {
        self.targets.dialled(target, index);
        self.stats.unsent += self.targets.take(target).len() as u64;
    }

    /// Removes whatever stands at `index`, with every trace of it.
    pub(super) fn close(&mut self, index: u32) {
        let Some(entry) = self.slots.remove(index) else { return };
        self.timers.cancel(index);
        match entry {
            Entry::Dialing(dial) => {
                self.dial_ended(dial.target(), index);
            }
            Entry::Answering(answer) => {
                self.attempts.remove(&(answer.path, answer.attempt));
                self.admission.left(answer.path, answer.claim, index);
                self.half_open -= 1;
            }
            Entry::Open(session) => self.forget_session(index, &session),
        }
    }

    fn forget_session(&mut self, index: u32, session: &Session) {
        match &session.phase {
            Phase::Finishing(finishing) => self.dial_ended(finishing.target, index),
            Phase::Awaited => self.half_open -= 1,
            Phase::Live { .. } => self.forget_live(index, session.peer, session.path),
        }
        self.forget_attempt(index, session);
    }

    fn forget_live(&mut self, index: u32, peer: MemberId, path: SocketAddr) {
        self.warmth.forget(index);
        if let Some(sessions) = self.members.get_mut(&peer) {
            sessions.retain(|other| *other != index);
            if sessions.is_empty() {
                self.members.remove(&peer);
            }
        }
        self.leave_path(index, peer, path);
    }
}

/// What goes with the last flight: the confirmation, and the pings among what waits. Only these
/// may leave before the server has confirmed (rule S-5).
fn greeting(targets: &mut Targets, target: Target) -> Vec<u8> {
    let mut greeting = lifecycle::CONFIRMATION.to_vec();
    if let Some(pending) = targets.pending_mut(target) {
        for payload in pending.iter_mut() {
            lifecycle::move_pings(payload, &mut greeting);
        }
        pending.retain(|payload| !payload.is_empty());
    }
    greeting
}

fn finish_dial(
    dial: Dial,
    now: Instant,
    us: &Us<'_>,
    index: u32,
    greeting: Vec<u8>,
) -> Result<(Box<Session>, TlsSummary), Failure> {
    let (path, target, begun, attempt) = (dial.path, dial.target(), dial.begun, dial.attempt);
    let generation = dial.generation;
    let Proven { established, peer_index, tunnel } = dial.finish(us)?;
    let ack = tunnel.input.acknowledges();
    let envelope = Envelope { kind: INIT, receiver: peer_index, sender: index, ack, attempt };
    let finishing = Finishing::new(tunnel, envelope, greeting, target);
    let side = Side::Client;
    let beginning = Beginning { side, path, attempt, begun, generation, peer_index };
    let tls = established.tls;
    let phase = Phase::Finishing(Box::new(finishing));
    Ok((Session::begin(now, &beginning, established, phase), tls))
}

fn finish_answer(
    answer: Answer,
    now: Instant,
    us: &Us<'_>,
) -> Result<(Box<Session>, TlsSummary), Failure> {
    let Answer { path, begun, attempt, generation, peer_index, .. } = answer;
    let established = answer.finish(us)?;
    let side = Side::Server;
    let beginning = Beginning { side, path, attempt, begun, generation, peer_index };
    let tls = established.tls;
    Ok((Session::begin(now, &beginning, established, Phase::Awaited), tls))
}
