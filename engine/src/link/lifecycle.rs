//! The life of a session after its handshake: confirmation, succession, retirement
//! (rules S-3, S-5 and S-18), and its end when nobody uses it.
//!
//! The two ends of several sessions need not see them in one order: a confirmation that is
//! repeated or late looks like a choice. Who is wrong is told before it matters: no session
//! retires before its end has said, more than once, which one it sends on.

use std::net::SocketAddr;

use mesh_gossip_proto::wire::message::{FRAME, kind};
use mesh_gossip_proto::{Duration, Instant, MemberId};

use super::failure::Failure;
use super::flight::TRAILER_LIMIT;
use super::pacing::Pace;
use super::session::{Phase, Session};
use super::targets::{Target, most_handshakes_in};
use super::{Entry, Links};

/// An empty CONFIRM message.
pub(super) const CONFIRMATION: [u8; FRAME] = [kind::CONFIRM, 0, 0];
/// A session wants a successor after 24 h ± 25 % (rule S-3).
const LIFETIME: Duration = Duration::from_secs(24 * 3_600);
/// And asks again so often while none came about.
const SUCCESSOR_AGAIN: Duration = Duration::from_secs(60);
/// An old session whose peer has been silent for so long gets no successor: the peer is gone.
const FORSAKEN: Duration = Duration::from_secs(3_600);
/// Before an old session retires its end says so often which session it sends on, with such a
/// pause for a word against it: what is lost with 5 % of all datagrams is lost three times with
/// one in eight thousand.
const ASKED: u8 = 3;
const ASKED_AGAIN: Duration = Duration::from_secs(1);
/// Answers to one member that says it sends on another session: so many at once, then one each
/// [`ASKED_AGAIN`]. What is lost of them is said again before a session retires.
const ANSWERS: u32 = 3;

/// When a member was told which session we send on.
pub(super) struct Said {
    last: Instant,
    answers: Pace,
}

impl Said {
    /// Whether it makes a difference: the pace of what was said is not over.
    pub(super) fn counts(&self, now: Instant) -> bool {
        !self.answers.is_full(now)
    }
}

impl Links {
    /// The peer's first sealed datagram was opened: the session counts.
    pub(super) fn confirm(&mut self, now: Instant, index: u32) {
        let Some(Entry::Open(session)) = self.slots.get_mut(index) else { return };
        let (peer, path) = (session.peer, session.path);
        let before = std::mem::replace(&mut session.phase, Phase::Live { confirmed: now });
        self.stats.confirmed += 1;
        self.rejected_by.remove(&peer);
        let waits_under = match before {
            Phase::Finishing(finishing) => {
                self.targets.dialled(finishing.target, index);
                Some(finishing.target)
            }
            Phase::Awaited => {
                self.half_open -= 1;
                self.send_confirmation(now, index);
                None
            }
            Phase::Live { .. } => unreachable!("a session is confirmed once"),
        };
        if self.slots.get(index).is_none() {
            // Trust changed under the confirmation (rule S-16).
            return;
        }
        let renews = now + self.lifetime(index);
        self.live_until(index, renews);
        self.paths.insert(path, index);
        self.enlist(index);
        self.rank(now, index);
        self.flush(now, Target::Member(peer), index);
        if let Some(target) = waits_under {
            self.flush(now, target, index);
        }
    }

    /// Puts a confirmed session in its place among those with its member.
    fn rank(&mut self, now: Instant, index: u32) {
        let Some(Entry::Open(session)) = self.slots.get(index) else { return };
        let peer = session.peer;
        let order = self.members.entry(peer).or_default();
        let best = order.first().and_then(|best| match self.slots.get(*best) {
            Some(Entry::Open(best)) => Some(best),
            Some(Entry::Dialing(_) | Entry::Answering(_)) | None => None,
        });
        let at = if best.is_none_or(|best| session.supersedes(best, self.local)) { 0 } else { 1 };
        // A handshake that changed nothing is not repeated at once.
        let redialled = best.and_then(|best| best.warm()).and_then(|warm| warm.redialled);
        order.insert(at, index);
        // A superseded session goes on receiving for a while: the peer may still send on it.
        for other in order.iter().skip(1) {
            self.timers.set(*other, now + self.linger);
        }
        let surplus: Vec<u32> = order.iter().skip(most_a_member(self.linger)).copied().collect();
        for surplus in surplus {
            self.close(surplus);
        }
        if let Some(Entry::Open(session)) = self.slots.get_mut(index)
            && let Some(warm) = session.warm_mut()
        {
            warm.redialled = redialled;
        }
        // The peer may see another order: its clock met the two handshakes at other moments.
        let kept = self.members.get(&peer).and_then(|order| order.first().copied());
        if let Some(kept) = kept.filter(|kept| *kept != index) {
            self.send_confirmation(now, kept);
        }
    }

    /// The peer says that it sends on this session, and we send on another. Where the ends see two
    /// orders the one with the higher id follows, and the other one says again what it sends on
    /// (rule S-18): each would retire the session that the other one sends on. A member that does not
    /// hear is told so often and no more.
    pub(super) fn follow(&mut self, now: Instant, peer: MemberId, heard: u32) {
        let best = self.members.get(&peer).and_then(|order| order.first().copied());
        let Some(best) = best.filter(|best| *best != heard) else { return };
        if peer < self.local {
            self.promote(now, peer, heard, best);
        } else if self.said_to(now, peer).answers.take(now) {
            self.said_to(now, peer).last = now;
            self.send_confirmation(now, best);
        }
    }

    fn said_to(&mut self, now: Instant, peer: MemberId) -> &mut Said {
        let never = || Said { last: now - ASKED_AGAIN, answers: Pace::new(ANSWERS, ASKED_AGAIN) };
        self.said.entry(peer).or_insert_with(never)
    }

    /// A datagram came on a session that we do not send on. If the one that we do send on has
    /// been silent although asked, its path is dead: the one that is heard takes its place.
    pub(super) fn prefer_if_better_heard(&mut self, now: Instant, peer: MemberId, heard: u32) {
        let Some(order) = self.members.get(&peer) else { return };
        let Some(best) = order.first().copied().filter(|best| *best != heard) else { return };
        let Some(Entry::Open(session)) = self.slots.get(best) else { return };
        if session.is_silent(now) {
            self.promote(now, peer, heard, best);
        }
    }

    /// `chosen` takes the place of `best` among the sessions with `peer`.
    fn promote(&mut self, now: Instant, peer: MemberId, chosen: u32, best: u32) {
        let Some(order) = self.members.get_mut(&peer) else { return };
        order.retain(|index| *index != chosen);
        order.insert(0, chosen);
        self.timers.set(best, now + self.linger);
        let lifetime = self.lifetime(chosen);
        let Some(Entry::Open(session)) = self.slots.get(chosen) else { return };
        // Its age counts from its own beginning (rule S-3).
        let due = session.begun() + lifetime;
        self.paths.insert(session.path, chosen);
        self.live_until(chosen, due.max(now + SUCCESSOR_AGAIN));
    }

    /// `peer`, which should listen at `address`, leaves pings unanswered. If there is a
    /// session, the peer may have lost it in a restart: a fresh handshake runs beside the probe, and
    /// what it proves answers the probe (rule S-9). Without a session one is under way anyway.
    pub fn look_afresh(&mut self, now: Instant, peer: MemberId, address: SocketAddr) {
        if self.members.contains_key(&peer) && self.dial(now, Target::Member(peer), address) {
            self.stats.looks += 1;
        }
    }

    /// The session that its member is sent on wants a successor at `renews`.
    pub(super) fn live_until(&mut self, index: u32, renews: Instant) {
        let Some(Entry::Open(session)) = self.slots.get_mut(index) else { return };
        let ends = session.ends;
        if let Some(warm) = session.warm_mut() {
            warm.renews = renews;
            self.timers.set(index, renews.min(ends));
        }
    }

    /// How long the session at `index` lives; the same each time, however often it rests.
    pub(super) fn lifetime(&self, index: u32) -> Duration {
        let seed = self.local.prefix() ^ u64::from(index);
        LIFETIME.mul_f64(0.75 + fastrand::Rng::with_seed(seed).f64() * 0.5)
    }

    /// Seals and sends what waited for `target` on the session `index`.
    fn flush(&mut self, now: Instant, target: Target, index: u32) {
        for payload in self.targets.take(target) {
            self.send_on(now, index, &payload);
        }
    }

    pub(super) fn send_confirmation(&mut self, now: Instant, index: u32) {
        self.send_on(now, index, &CONFIRMATION);
    }

    fn send_on(&mut self, now: Instant, index: u32, payload: &[u8]) {
        if !self.upheld(now, index) {
            self.stats.unsent += 1;
            return;
        }
        let Some(Entry::Open(session)) = self.slots.get_mut(index) else { return };
        let mut sealed = Vec::with_capacity(payload.len() + 32);
        let path = session.path;
        // A word about the session itself is no use of it: one that rests goes on resting.
        let rests = session.warm().is_none();
        let outcome = session.seal(payload, &mut sealed);
        if rests {
            session.dehydrate();
        }
        if outcome.is_err() {
            self.stats.unsent += 1;
            return;
        }
        self.stats.sealed += 1;
        self.stats.bytes_out += sealed.len() as u64;
        self.outbox.push_back((path, sealed));
    }

    /// Acts on every deadline that has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.rekey(now);
        self.cool(now);
        while let Some(index) = self.timers.pop_due(now) {
            match self.slots.get(index) {
                Some(Entry::Dialing(_)) => self.send_dial_flight(now, index),
                Some(Entry::Answering(answer)) => {
                    let path = answer.path;
                    self.close(index);
                    self.fail(path, Failure::Timeout);
                }
                Some(Entry::Open(session)) => match &session.phase {
                    Phase::Finishing(_) => self.send_last_flight(now, index),
                    Phase::Awaited => {
                        let path = session.path;
                        self.close(index);
                        self.fail(path, Failure::Unconfirmed);
                    }
                    Phase::Live { .. } => self.session_aged(now, index),
                },
                None => {}
            }
        }
    }

    /// A live session's deadline: the best of its member wants a successor when it is old and the
    /// peer is still there; any other retires once nothing arrives on it any more.
    fn session_aged(&mut self, now: Instant, index: u32) {
        if !self.upheld(now, index) {
            return;
        }
        let Some(Entry::Open(session)) = self.slots.get(index) else { return };
        let Session { peer, path, heard, .. } = **session;
        let renews = session.warm().map(|warm| warm.renews);
        let best = self.members.get(&peer).and_then(|sessions| sessions.first());
        if let Some(best) = best.copied().filter(|best| *best != index) {
            self.retire(now, index, best);
            return;
        }
        // One that rests wants no successor: it is used, or falls idle.
        let Some(renews) = renews else { return };
        if now < renews {
            self.live_until(index, renews);
        } else if now.since(heard) < FORSAKEN {
            self.live_until(index, now + SUCCESSOR_AGAIN);
            self.dial(now, Target::Member(peer), path);
        } else {
            self.close(index);
        }
    }

    /// Nothing came on `index` for as long as an old session goes on receiving: it ends, unless a
    /// word to the contrary follows upon ours that we send on `best`.
    fn retire(&mut self, now: Instant, index: u32, best: u32) {
        let Some(Entry::Open(session)) = self.slots.get_mut(index) else { return };
        let heard = session.heard;
        // One that rests has been silent for longer than any old session lingers.
        let Some(warm) = session.warm_mut() else { return self.close(index) };
        if now.since(heard) < self.linger {
            warm.asks = 0;
            self.timers.set(index, heard + self.linger);
            // The peer still sends on it: perhaps it never heard what we send on.
            self.say_what_is_sent_on(now, best);
        } else if warm.asks == ASKED {
            self.close(index);
        } else {
            warm.asks += 1;
            self.timers.set(index, now + ASKED_AGAIN);
            self.say_what_is_sent_on(now, best);
        }
    }

    /// Says so once, however many sessions retire at a time, and whoever was answered of late.
    fn say_what_is_sent_on(&mut self, now: Instant, best: u32) {
        let Some(Entry::Open(session)) = self.slots.get(best) else { return };
        let said = self.said_to(now, session.peer);
        if now.since(said.last) < ASKED_AGAIN {
            return;
        }
        said.last = now;
        // It has its own pace; an answer that follows upon it costs one less.
        let _ = said.answers.take(now);
        self.send_confirmation(now, best);
    }

    /// The events so far, for tests.
    #[cfg(test)]
    pub(super) fn take_events(&mut self) -> Vec<super::LinkEvent> {
        self.events.drain(..).collect()
    }
}

/// Confirmed sessions with one member; beyond it the worst goes first. As many as the pace of both
/// ends (rule S-18) makes while an old one goes on receiving: none is cut short.
pub(super) fn most_a_member(linger: Duration) -> usize {
    let kept = linger + ASKED_AGAIN * u32::from(ASKED);
    2 * most_handshakes_in(kept) + 1
}

/// Whether `payload` contains a PING.
pub(super) fn has_ping(payload: &[u8]) -> bool {
    let mut unread = payload;
    while let [message_kind, low, high, ..] = *unread {
        if message_kind == kind::PING {
            return true;
        }
        let length = FRAME + usize::from(u16::from_le_bytes([low, high]));
        let Some((_, tail)) = unread.split_at_checked(length) else { break };
        unread = tail;
    }
    false
}

/// Moves the PING messages of `payload` behind `greeting`, as far as a trailer has room.
pub(super) fn move_pings(payload: &mut Vec<u8>, greeting: &mut Vec<u8>) {
    let mut rest = Vec::with_capacity(payload.len());
    let mut unread = payload.as_slice();
    while let [message_kind, low, high, ..] = *unread {
        let length = FRAME + usize::from(u16::from_le_bytes([low, high]));
        let Some((message, tail)) = unread.split_at_checked(length) else { break };
        unread = tail;
        let fits = greeting.len() + message.len() + 32 <= TRAILER_LIMIT;
        if message_kind == kind::PING && fits {
            greeting.extend_from_slice(message);
        } else {
            rest.extend_from_slice(message);
        }
    }
    *payload = rest;
}
