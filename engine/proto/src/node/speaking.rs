//! What hosts say to each other through their nodes: broadcasts to all (rules U-1 to U-5) and
//! messages to one member (rule U-6).
//!
//! Membership comes first: what hosts say waits in queues of its own, its events as well, and what a
//! neighbour can make us verify or pass on comes out of a budget.
//!
//! Invariants: a broadcast is told and passed on only if its origin has signed it, and once; what
//! waits here for a record or for the host is bounded.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Node, Peer};
use crate::config::SOON;
use crate::detector::budget::{Bucket, Budgets};
use crate::dissemination::balance::Balance;
use crate::dissemination::broadcasts::{Broadcasts, LEAST_SENDS, Queued, Target, Waiting};
use crate::dissemination::former::Former;
use crate::dissemination::origins::{self, LIFETIME, Origins, Verdict};
use crate::dissemination::queue::{Carrier, transmit_limit};
use crate::error::{CommandError, PeerError};
use crate::event::{Event, Timer};
use crate::member::MemberId;
use crate::membership::broadcast::{Broadcast, BroadcastId, MOST_BYTES, Spoken, Unsaid};
use crate::membership::record::SignedRecord;
use crate::membership::table::{Member, MemberTable};
use crate::sync::clocks;
use crate::time::{Duration, Instant};
use crate::wire::message::{Direct, FRAME, Packet, kind};

/// What a host may say: so many at once, then one in so long; to all, and to each member.
const SAID: (u32, Duration) = (128, Duration::from_millis(10));
/// What is taken of one origin, and of one sender of messages (rule U-8): more than it may say,
/// because what was said at a steady pace may come bunched together.
const TAKEN: (u32, Duration) = (1_024, Duration::from_millis(5));
/// Signatures under broadcasts that one neighbour makes us check: 500 a second are some 5 % of a
/// core.
const CHECKED: (u32, Duration) = (1_024, Duration::from_millis(2));
/// Broadcasts that wait for the record of their origin, of one neighbour and in all.
const HELD: (usize, usize) = (16, 64);
/// For so long what a departed member has said is believed: it may have left after saying it.
const PARTING: Duration = Duration::from_secs(5);
/// Up to so much that waits a new broadcast leaves soon, otherwise on the tick (rule G-3).
const FEW: usize = 8;

// One tolerance of clocks, which two leaves know.
const _: () = assert!(origins::TOLERANCE.as_millis() == clocks::TOLERANCE.as_millis());

/// A broadcast whose origin's record is on its way.
#[derive(Debug)]
struct Held {
    from: Peer,
    origin: MemberId,
    at: Instant,
    body: Arc<[u8]>,
}

/// The state of all that; the fields stand in memory as they stand here (see [`Node`]).
#[derive(Debug)]
#[repr(C)]
pub(super) struct Speaking {
    balance: Balance,
    origins: Origins,
    held: VecDeque<Held>,
    former: Former,
    sequence: u64,
    said: Bucket,
    sent: Budgets,
    checked: Budgets,
    taken: Budgets,
    messages: Budgets,
    // What is read all the time comes last.
    queue: Broadcasts,
    /// What the host has not taken yet, and how much it has missed.
    missed: u64,
    heard: VecDeque<Event>,
}

impl Default for Speaking {
    fn default() -> Self {
        let budgets = |(burst, every)| Budgets::new(burst, every);
        Self {
            queue: Broadcasts::default(),
            balance: Balance::default(),
            origins: Origins::default(),
            held: VecDeque::new(),
            former: Former::default(),
            sequence: 0,
            said: Bucket::new(SAID.0, SAID.1),
            sent: budgets(SAID),
            checked: budgets(CHECKED),
            taken: budgets(TAKEN),
            messages: budgets(TAKEN),
            heard: VecDeque::new(),
            missed: 0,
        }
    }
}

impl Speaking {
    /// The next of what hosts said, after a word about what was missed.
    pub(super) fn poll(&mut self) -> Option<Event> {
        if self.missed > 0 {
            return Some(Event::Missed(core::mem::take(&mut self.missed)));
        }
        self.heard.pop_front()
    }

    /// Where the fields begin that are read all the time.
    pub(super) fn first_needed(&self) -> *const u8 {
        (&raw const self.queue).cast()
    }

    /// Broadcasts that wait, and their bytes.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.queue.len(), self.queue.bytes())
    }

    pub(super) fn unsent_since(&self) -> Option<Instant> {
        self.queue.unsent_since()
    }

    /// Keeps an event for the host: the newest is lost when too many wait (rule U-7).
    fn tell(&mut self, event: Event, most: usize) -> bool {
        let room = self.heard.len() < most;
        if room {
            self.heard.push_back(event);
        } else {
            self.missed += 1;
        }
        room
    }

    /// Keeps a broadcast until its origin's record has come. Of one neighbour the oldest goes first,
    /// then the oldest of all; returns the one that went.
    fn hold(&mut self, held: Held) -> Option<Held> {
        let theirs = |kept: &Held| kept.from.id == held.from.id;
        if self.held.iter().any(|kept| kept.body == held.body) {
            return None;
        }
        let gives_way = if self.held.iter().filter(|kept| theirs(kept)).count() >= HELD.0 {
            self.held.iter().position(theirs)
        } else {
            (self.held.len() >= HELD.1).then_some(0)
        };
        let gone = gives_way.and_then(|oldest| self.held.remove(oldest));
        self.held.push_back(held);
        gone
    }

    fn take_held(&mut self, origin: MemberId) -> Vec<Held> {
        let (found, kept) = self.held.drain(..).partition(|held| held.origin == origin);
        self.held = kept;
        Vec::from(found)
    }

    /// Gives up what has waited for too long; returns how much that is.
    fn expire_held(&mut self, now: Instant) -> usize {
        let before = self.held.len();
        self.held.retain(|held| now.since(held.at) <= LIFETIME);
        before - self.held.len()
    }
}

/// The record that a member was known by until now, where the new one is of the same life under
/// another certificate.
pub(super) fn former(known: &Member, member: &Member) -> Option<Arc<SignedRecord>> {
    let (former, record) = (&known.record, &member.record);
    let exchanged = !Arc::ptr_eq(former, record)
        && known.incarnation().generation == member.incarnation().generation
        && former.signer() != record.signer();
    exchanged.then(|| former.clone())
}

impl<T: MemberTable> Node<T> {
    /// Our host says something to everybody.
    pub(super) fn broadcast(
        &mut self,
        now: Instant,
        broadcast: &Broadcast,
    ) -> Result<(), CommandError> {
        if self.departure.is_leaving() {
            return Err(CommandError::Stopped);
        }
        let generation = self.own.record().incarnation.generation;
        let id = BroadcastId { origin: self.local, generation, sequence: self.speaking.sequence };
        let at = (self.config.cluster_id.as_str(), self.config.max_payload);
        let too_large = |limit| CommandError::TooLarge(broadcast.bytes.len(), limit);
        // Before the key is troubled.
        if broadcast.bytes.len() > MOST_BYTES {
            return Err(too_large(MOST_BYTES));
        }
        if !self.speaking.said.take(now) {
            return Err(CommandError::TooFast);
        }
        let said = self.clocks.wall(now);
        let body = broadcast.sign(id, said, at, self.authority.as_ref());
        let body = body.map_err(|unsaid| match unsaid {
            Unsaid::Signing => CommandError::Signing,
            Unsaid::TooLarge(limit) => too_large(limit),
        })?;
        self.speaking.sequence += 1;
        self.stats.broadcasts_said += 1;
        let key = broadcast.key.map(|key| (broadcast.topic, key));
        self.pass_broadcast_on(now, Waiting { id, key, from: self.local, body: body.into() });
        Ok(())
    }

    /// Our host says something to one member.
    pub(super) fn send_message(
        &mut self,
        now: Instant,
        (to, topic): (MemberId, u16),
        bytes: &[u8],
    ) -> Result<(), CommandError> {
        if self.departure.is_leaving() {
            return Err(CommandError::Stopped);
        }
        let head = Direct { topic: topic.into(), reserved: 0.into() };
        let around = FRAME + size_of::<Direct>();
        let limit = self.config.max_payload.saturating_sub(around).min(MOST_BYTES);
        if bytes.len() > limit {
            return Err(CommandError::TooLarge(bytes.len(), limit));
        }
        let present = self.table.get(to).is_some_and(|member| member.state.is_present());
        let peer = self.peer(to).filter(|_| present && to != self.local);
        let peer = peer.ok_or(CommandError::NoSuchMember)?;
        if !self.speaking.sent.take(now, to) {
            return Err(CommandError::TooFast);
        }
        self.stats.messages_said += 1;
        let body = [zerocopy::IntoBytes::as_bytes(&head), bytes].concat();
        self.send_raw(peer, kind::DIRECT, &body);
        Ok(())
    }

    pub(super) fn on_message(&mut self, now: Instant, from: Peer, head: &Direct, bytes: &[u8]) {
        let known = self.table.get(from.id).is_some_and(|member| member.state.is_present());
        if bytes.len() > MOST_BYTES {
            self.stats.reject("decode");
        } else if !known {
            self.stats.reject("message-stranger");
        } else if !self.speaking.messages.take(now, from.id) {
            self.stats.reject("message-budget");
        } else {
            self.stats.messages_heard += 1;
            let (topic, bytes) = (head.topic.get(), bytes.into());
            self.tell_host(Event::Message { from: from.id, topic, bytes });
        }
    }

    /// A neighbour brings a broadcast.
    pub(super) fn on_broadcast(&mut self, now: Instant, from: Peer, body: &[u8]) {
        match Spoken::decode(body) {
            Ok(spoken) => self.hear(now, from, &spoken, body),
            Err(_) => self.stats.reject("decode"),
        }
    }

    fn hear(&mut self, now: Instant, from: Peer, spoken: &Spoken<'_>, body: &[u8]) {
        let (id, wall) = (spoken.id, self.clocks.wall(now));
        let origin = id.origin;
        if origin == self.local {
            self.stats.broadcasts_duplicate += 1;
            return;
        }
        match self.speaking.origins.judge(id) {
            Verdict::Fresh => {}
            Verdict::Duplicate => {
                self.stats.broadcasts_duplicate += 1;
                return;
            }
            Verdict::Behind => return self.stats.reject("broadcast-behind"),
        }
        if !origins::is_timely(spoken.said, wall) {
            return self.stats.reject("broadcast-time");
        }
        if !self.speaking.checked.take(now, from.id) {
            return self.stats.reject("broadcast-budget");
        }
        let Some(member) = self.table.get(origin).cloned() else {
            return self.hold_broadcast(now, from, origin, body);
        };
        if !member.state.is_present() && now.since(self.table.since(&member)) > PARTING {
            return self.stats.reject("broadcast-departed");
        }
        let generation = member.incarnation().generation;
        if generation != id.generation {
            if generation > id.generation {
                return self.stats.reject("broadcast-behind");
            }
            return self.hold_broadcast(now, from, origin, body);
        }
        match self.prove_word(now, spoken, &member.record) {
            Ok(()) => {}
            Err(PeerError::UnknownSigner) => {
                return self.hold_broadcast(now, from, origin, body);
            }
            Err(_) => return self.stats.reject("broadcast-signature"),
        }
        // After the signature: nobody uses up what another one may say.
        if !self.speaking.taken.take(now, origin) {
            return self.stats.reject("broadcast-rate");
        }
        if !self.speaking.origins.accept(id, spoken.said, wall) {
            return self.stats.reject("broadcast-origins");
        }
        let key = spoken.key.map(|key| (spoken.topic, key));
        let waiting = Waiting { id, key, from: from.id, body: body.into() };
        if self.pass_broadcast_on(now, waiting) {
            self.stats.broadcasts_heard += 1;
            let (topic, bytes) = (spoken.topic, spoken.bytes.into());
            self.tell_host(Event::Broadcast { from: origin, topic, bytes });
        }
    }

    /// Whether its origin said it, under its certificate or the one before: what was signed before an
    /// exchange may arrive after it.
    fn prove_word(
        &self,
        now: Instant,
        spoken: &Spoken<'_>,
        record: &SignedRecord,
    ) -> Result<(), PeerError> {
        let authority = self.authority.as_ref();
        let checked = spoken.check(record, authority);
        if checked != Err(PeerError::UnknownSigner) {
            return checked;
        }
        let former = self.speaking.former.of(now, spoken.id);
        former.map_or(checked, |former| spoken.check(former, authority))
    }

    /// A member is about to be known by another certificate: words under the one before may be on
    /// their way. Our own words come from nobody else.
    pub(super) fn note_former(&mut self, now: Instant, former: Option<Arc<SignedRecord>>) {
        if let Some(former) = former.filter(|former| former.record().id != self.local) {
            self.speaking.former.replaced(now, former);
        }
    }

    /// Who said it cannot be told yet: its newest record is asked for, of whoever brought it.
    fn hold_broadcast(&mut self, now: Instant, from: Peer, origin: MemberId, body: &[u8]) {
        self.give_up_held(now);
        self.stats.broadcasts_held += 1;
        if self.speaking.hold(Held { from, origin, at: now, body: body.into() }).is_some() {
            self.stats.reject("broadcast-held");
        }
        self.pull_newest(now, from, origin);
    }

    fn give_up_held(&mut self, now: Instant) {
        for _ in 0..self.speaking.expire_held(now) {
            self.stats.reject("broadcast-held");
        }
    }

    /// A record of `origin` has come: what it said before that can be heard.
    pub(super) fn hear_held(&mut self, now: Instant, origin: MemberId) {
        if self.speaking.held.is_empty() {
            return;
        }
        self.give_up_held(now);
        for held in self.speaking.take_held(origin) {
            // What cannot be told apart even so is asked for once.
            let newest = self.table.get(origin).map(|member| member.incarnation().generation);
            match Spoken::decode(&held.body) {
                Ok(spoken) if newest == Some(spoken.id.generation) => {
                    self.hear(now, held.from, &spoken, &held.body);
                }
                Ok(_) | Err(_) => self.stats.reject("broadcast-behind"),
            }
        }
    }

    /// Queues a broadcast; says whether it is no older than another one of its key.
    fn pass_broadcast_on(&mut self, now: Instant, waiting: Waiting) -> bool {
        let limits = &self.config.limits;
        let limits = (limits.broadcasts, limits.broadcast_bytes);
        let dropped = match self.speaking.queue.push(now, waiting, limits) {
            Queued::Waits(dropped) => dropped,
            Queued::Instead(dropped) => {
                self.stats.broadcasts_superseded += 1;
                dropped
            }
            Queued::Outdated => {
                self.stats.broadcasts_superseded += 1;
                return false;
            }
        };
        self.stats.broadcasts_dropped += dropped;
        let few = self.speaking.queue.len() + self.queue.len() <= FEW;
        let at = now + if few { SOON } else { self.config.gossip_interval };
        if self.timers.deadline(Timer::Gossip).is_none_or(|set| at < set) {
            self.timers.set(Timer::Gossip, at);
        }
        true
    }

    fn tell_host(&mut self, event: Event) {
        if !self.speaking.tell(event, self.config.limits.events) {
            self.stats.broadcasts_missed += 1;
        }
    }

    /// Fills a datagram to a member with updates and broadcasts, each with its share (rule U-4);
    /// returns how many went in.
    pub(super) fn fill_with_news(
        &mut self,
        now: Instant,
        packet: &mut Packet,
        (to, burst, carrier): (MemberId, u64, Carrier),
    ) -> usize {
        let most = self.config.max_payload;
        if self.speaking.queue.is_empty() {
            return self.fill_with_updates(now, packet, most, (to, burst, carrier));
        }
        let free = most.saturating_sub(packet.as_bytes().len());
        let granted = self.speaking.balance.grant(free);
        let waiting = self.queue.len();
        let mut updates = self.fill_with_updates(now, packet, most - granted, (to, burst, carrier));
        let room = most.saturating_sub(packet.as_bytes().len());
        let sends = transmit_limit(self.config.retransmit_limit, self.members(), LEAST_SENDS);
        let target = Target { to, burst, sends };
        let share = if updates < waiting { granted } else { room };
        let filled = self.speaking.queue.fill(packet, most, share, target);
        let further = self.fill_with_updates(now, packet, most, (to, burst, carrier));
        updates += further;
        let contended = filled.held_back && further > 0;
        self.speaking.balance.settle(free, filled.bytes, contended, most);
        // What neither side was granted is for whoever has a use for it.
        let left = most.saturating_sub(packet.as_bytes().len());
        let more = match filled.held_back {
            true => self.speaking.queue.fill(packet, most, left, target).count,
            false => 0,
        };
        self.stats.broadcasts_out += (filled.count + more) as u64;
        updates + filled.count + more
    }

    /// Forgets who has said nothing for a while.
    pub(super) fn tidy_speaking(&mut self, now: Instant) {
        let wall = self.clocks.wall(now);
        self.speaking.origins.forget(wall);
        self.speaking.former.forget(now);
        self.give_up_held(now);
    }

    /// How long the oldest update or broadcast has waited to be sent for the first time.
    pub fn queue_age(&self, now: Instant) -> Duration {
        let unsent = Instant::earliest(self.queue.unsent_since(), self.speaking.unsent_since());
        unsent.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// The same of updates alone.
    pub fn update_age(&self, now: Instant) -> Duration {
        self.queue.unsent_since().map_or(Duration::ZERO, |since| now.since(since))
    }
}
