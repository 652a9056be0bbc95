//! Updates on their way out (rules G-1 and G-2).
//!
//! Each update is sent a bounded number of times, the least sent first and among those the
//! newest; a member has one entry, and a newer claim about it replaces an older one. No target gets
//! the same one twice in one burst.
//!
//! Invariants: `order` and `entries` hold the same updates; an entry has been sent fewer times
//! than its limit; what others say drops nothing that was never sent.

use alloc::collections::BTreeSet;
use core::cmp::Reverse;

use super::knowing::Knowing;
use super::purse::Purse;
use crate::config::log10_ceil;
use crate::member::MemberId;
use crate::membership::table::IdMap;
use crate::time::Instant;
use crate::wire::message::{Body, Death, FRAME, Packet, Suspicion, Update};

/// Fewest sends of an update, however small the cluster: half loses coverage.
pub const LEAST_SENDS: u32 = 8;
/// While no more wait, headers cost more than updates: such are sent half as often (rule G-6),
const CALM: usize = 24;
/// but so often at least, however small the cluster.
const LEAST_FEW: u32 = 6;

/// How often an update is sent or met in all while few wait.
fn few(sends: u32) -> u32 {
    sends.div_ceil(2).max(LEAST_FEW)
}

/// A claim on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A record is current.
    Update(Update),
    /// A member is doubted.
    Suspicion(Suspicion),
    /// A member was judged failed at `since`.
    Death {
        /// The message; its age is filled in when it is sent.
        death: Death,
        /// When the judgement was passed, on our clock.
        since: Instant,
    },
}

impl Claim {
    /// How often it is sent in datagrams of their own while few wait, whatever that costs. Who has come
    /// may be known a little later than who has gone.
    fn alone(&self) -> u32 {
        match self {
            Self::Update(_) => 2,
            Self::Suspicion(_) | Self::Death { .. } => 3,
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    claim: Claim,
    /// How often it was sent; while few wait, how many others showed that they have it as well.
    sends: u32,
    /// Whether we sent it ourselves.
    left: bool,
    number: u64,
    /// Queued while few waited (rule G-6).
    spared: bool,
    /// Some of those who have it, by their own word.
    knowing: Knowing,
    /// The last burst that it went with.
    burst: u64,
    since: Instant,
}

impl Entry {
    fn key(&self, id: MemberId) -> Key {
        (self.sends, Reverse(self.number), id)
    }
}

type Key = (u32, Reverse<u64>, MemberId);

/// What a datagram was begun for; it decides which updates go with it while few wait (rule G-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The updates themselves, or something beside which they travel.
    Any,
    /// It answers a digest that tells which updates its receiver lacks; they are in it.
    Told,
}

/// How a datagram is filled.
#[derive(Clone, Copy, Debug)]
pub struct Filling {
    /// Sends after which an update is dropped.
    pub sends: u32,
    /// Datagrams of one burst to one target have one number, not 0; what went with a burst does not
    /// go with it again.
    pub burst: u64,
    /// What it was begun for,
    pub carrier: Carrier,
    /// and to whom it goes.
    pub to: MemberId,
}

/// The queue.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    entries: IdMap<Entry>,
    order: BTreeSet<Key>,
    next_number: u64,
    /// Whether few updates are sent less often (rule G-6).
    sparing: bool,
    purse: Purse,
    /// The last tick had something from the purse: nothing is sent less often.
    generous: bool,
}

/// How often an update is sent in a cluster of `members`: max(least, λ·⌈log10(n+1)⌉).
pub fn transmit_limit(lambda: u32, members: usize, least: u32) -> u32 {
    least.max(lambda * log10_ceil(members))
}

impl Queue {
    /// A queue; a sparing one needs somebody who tells whoever was left out (rule G-6).
    pub fn new(sparing: bool) -> Self {
        Self { sparing, ..Self::default() }
    }

    /// Updates waiting.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Queues the newest claim about `id`; returns how many updates had to go to stay within
    /// `limit`.
    pub fn push(&mut self, now: Instant, id: MemberId, claim: Claim, limit: usize) -> u64 {
        if let Some(previous) = self.entries.remove(&id) {
            self.order.remove(&previous.key(id));
        }
        let spared = self.sparing && self.entries.len() < CALM;
        if self.entries.len() == CALM {
            // From here on datagrams are full, and headers no matter.
            self.entries.values_mut().for_each(|entry| entry.spared = false);
        }
        let number = self.next_number;
        let (knowing, since) = (Knowing::default(), now);
        let entry =
            Entry { claim, sends: 0, left: false, number, spared, knowing, burst: 0, since };
        self.next_number += 1;
        self.order.insert(entry.key(id));
        self.entries.insert(id, entry);
        let mut dropped = 0;
        while self.entries.len() > limit {
            let Some((_, _, most_sent)) = self.order.pop_last() else { break };
            self.entries.remove(&most_sent);
            dropped += 1;
        }
        dropped
    }

    /// Since when the oldest of those updates waits that were never sent.
    pub fn unsent_since(&self) -> Option<Instant> {
        let sent = (1, Reverse(u64::MAX), MemberId([0; 16]));
        let (_, _, id) = self.order.range(..sent).next_back()?;
        self.entries.get(id).map(|entry| entry.since)
    }

    /// Drops every verdict about others: suspicions and deaths. Records stay.
    pub fn retract_verdicts(&mut self) {
        let order = &mut self.order;
        self.entries.retain(|id, entry| {
            let stays = match entry.claim {
                Claim::Update(_) => true,
                Claim::Suspicion(_) | Claim::Death { .. } => false,
            };
            if !stays {
                order.remove(&entry.key(*id));
            }
            stays
        });
    }

    /// How many members are to have a datagram for the sake of updates alone at `now`, of `fanout`:
    /// few each time, and more while few came of late.
    pub fn targets(&mut self, now: Instant, fanout: usize, sends: u32) -> usize {
        if self.entries.values().any(|entry| !entry.spared) {
            return fanout;
        }
        let due = |entry: &Entry| entry.claim.alone().saturating_sub(entry.sends);
        let due = self.entries.values().map(due).max().unwrap_or(0);
        let least = self.entries.values().map(|entry| entry.sends).min();
        let wished = least.map_or(0, |sent| sends.saturating_sub(sent)).saturating_sub(due);
        let fanout = u32::try_from(fanout).unwrap_or(u32::MAX);
        let due = due.min(fanout);
        let more = self.purse.spend(now, wished.min(fanout - due));
        self.generous = more > 0;
        (due + more) as usize
    }

    /// Another brought the claim about `id` that we have: it is known there, and need not be sent as
    /// often (rule G-6).
    pub fn heard(&mut self, id: MemberId, from: MemberId, sends: u32) {
        if self.entries.get(&id).is_some_and(|entry| entry.spared) {
            self.brought(id, from);
            self.count(id, from, sends);
        }
    }

    /// What waits here about `id` has come from there, and need not go back.
    pub fn brought(&mut self, id: MemberId, from: MemberId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.knowing.bring(from);
        }
    }

    /// The view of `from` equals ours, so it has all that waits here.
    pub fn agreed(&mut self, from: MemberId, sends: u32) {
        if self.entries.len() > CALM {
            return;
        }
        let spared = self.entries.iter().filter(|(_, entry)| entry.spared);
        let ids: alloc::vec::Vec<MemberId> = spared.map(|(id, _)| *id).collect();
        for id in ids {
            self.count(id, from, sends);
        }
    }

    fn most(&self, sends: u32) -> u32 {
        if self.generous { sends } else { few(sends) }
    }

    fn count(&mut self, id: MemberId, from: MemberId, sends: u32) {
        let most = self.most(sends);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        // Whatever others say, it leaves here once.
        if (entry.sends + 1 >= most && !entry.left) || !entry.knowing.count(from) {
            return;
        }
        self.order.remove(&entry.key(id));
        entry.sends += 1;
        if entry.sends >= most {
            self.entries.remove(&id);
        } else {
            self.order.insert(entry.key(id));
        }
    }

    /// Fills what is left of a datagram; returns how many updates went in.
    pub fn fill(
        &mut self,
        now: Instant,
        packet: &mut Packet,
        limit: usize,
        filling: Filling,
    ) -> usize {
        let mut sent = 0;
        let mut after: Option<Key> = None;
        let mut moved: alloc::vec::Vec<(Key, MemberId)> = alloc::vec::Vec::new();
        loop {
            let next = match after {
                None => self.order.first().copied(),
                Some(key) => self
                    .order
                    .range((core::ops::Bound::Excluded(key), core::ops::Bound::Unbounded))
                    .next()
                    .copied(),
            };
            let Some(key) = next else { break };
            after = Some(key);
            let id = key.2;
            let Some(entry) = self.entries.get(&id) else { break };
            if packet.as_bytes().len() + FRAME + SMALLEST > limit {
                break;
            }
            if entry.burst == filling.burst && filling.burst != 0 {
                continue;
            }
            let known = entry.knowing.brought_by(filling.to);
            if entry.spared && (known || filling.carrier == Carrier::Told) {
                continue;
            }
            if write(now, &entry.claim, packet, limit) {
                moved.push((key, id));
                sent += 1;
            }
        }
        for (key, id) in moved {
            self.sent(key, id, filling);
        }
        sent
    }

    fn sent(&mut self, key: Key, id: MemberId, filling: Filling) {
        self.order.remove(&key);
        let spared_most = self.most(filling.sends);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.sends += 1;
        (entry.left, entry.burst) = (true, filling.burst);
        let most = if entry.spared { spared_most } else { filling.sends };
        if entry.sends >= most {
            self.entries.remove(&id);
        } else {
            let key = entry.key(id);
            self.order.insert(key);
        }
    }
}

const SMALLEST: usize = size_of::<Update>();

fn write(now: Instant, claim: &Claim, packet: &mut Packet, limit: usize) -> bool {
    match claim {
        Claim::Update(update) => packet.push(limit, update),
        Claim::Suspicion(suspicion) => packet.push(limit, suspicion),
        Claim::Death { death, since } => {
            let age = u32::try_from(now.since(*since).as_millis()).unwrap_or(u32::MAX);
            packet.push(limit, &Death { age_ms: age.into(), ..*death })
        }
    }
}

const _: () = assert!(Update::KIND != Suspicion::KIND);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::{Incarnation, State};
    use crate::membership::record::RecordHash;
    use crate::time::Duration;
    use crate::wire::message::{Message, Messages};
    use std::vec::Vec;

    const NOW: Instant = Instant::ORIGIN;

    fn id(n: u8) -> MemberId {
        MemberId([n; 16])
    }

    fn filling(sends: u32, burst: u64) -> Filling {
        Filling { sends, burst, carrier: Carrier::Any, to: id(0) }
    }

    fn update(n: u8, counter: u32) -> Claim {
        let incarnation = Incarnation { generation: 1, counter };
        Claim::Update(Update::new(id(n), incarnation, State::Alive, RecordHash(u64::from(counter))))
    }

    fn take(queue: &mut Queue, limit: usize, sends: u32) -> Vec<(u8, u32)> {
        let mut packet = Packet::default();
        queue.fill(NOW, &mut packet, limit, filling(sends, 0));
        Messages::new(packet.as_bytes())
            .map(|message| match message {
                Ok(Message::Update(update)) => (update.id[0], update.incarnation.counter.get()),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// Rule G-1: λ·⌈log10(n+1)⌉, never below eight.
    #[test]
    fn the_transmit_limit_follows_the_configured_multiplier() {
        for (lambda, members, expected) in
            [(4, 3, 8), (4, 9, 8), (4, 99, 8), (4, 100, 12), (3, 1_000, 12), (4, 100_000, 24)]
        {
            let found = transmit_limit(lambda, members, LEAST_SENDS);
            assert_eq!(found, expected, "λ {lambda}, n {members}");
        }
    }

    /// Rule G-1: an update is sent exactly as often as its limit, then never again.
    #[test]
    fn an_update_stops_at_its_limit() {
        let mut queue = Queue::default();
        queue.push(NOW, id(1), update(1, 0), 100);
        let sent = (0..40).filter(|_| !take(&mut queue, 1_168, 8).is_empty()).count();
        assert_eq!(sent, 8);
        assert!(queue.is_empty() && queue.order.is_empty());
    }

    /// Rule G-2: fewest sends first, then the newest; one entry a member, the newest claim.
    #[test]
    fn the_least_sent_goes_first_and_a_newer_claim_replaces() {
        let mut queue = Queue::default();
        queue.push(NOW, id(1), update(1, 0), 100);
        queue.push(NOW, id(2), update(2, 0), 100);
        let one = 43;
        assert_eq!(take(&mut queue, one, 8), [(2, 0)], "the newest of the unsent");
        assert_eq!(take(&mut queue, one, 8), [(1, 0)], "then the other unsent one");
        queue.push(NOW, id(3), update(3, 0), 100);
        assert_eq!(take(&mut queue, one, 8), [(3, 0)]);
        queue.push(NOW, id(1), update(1, 7), 100);
        assert_eq!(queue.len(), 3);
        assert_eq!(take(&mut queue, one, 8), [(1, 7)], "a newer claim starts afresh");
    }

    #[test]
    fn a_full_queue_drops_the_most_sent() {
        let mut queue = Queue::default();
        queue.push(NOW, id(1), update(1, 0), 2);
        take(&mut queue, 1_168, 8);
        assert_eq!(queue.push(NOW, id(2), update(2, 0), 2), 0);
        assert_eq!(queue.push(NOW, id(3), update(3, 0), 2), 1);
        let mut left: Vec<_> = take(&mut queue, 1_168, 8).iter().map(|(n, _)| *n).collect();
        left.sort_unstable();
        assert_eq!(left, [2, 3]);
    }

    /// Rule G-3: the datagrams of one burst to one target bring it different updates.
    #[test]
    fn a_burst_brings_each_update_once() {
        let mut queue = Queue::default();
        for n in 0..40 {
            queue.push(NOW, id(n), update(n, 0), 100);
        }
        let fill = |queue: &mut Queue, burst| {
            queue.fill(NOW, &mut Packet::default(), 1_168, filling(8, burst))
        };
        let first: Vec<_> = (0..3).map(|_| fill(&mut queue, 1)).collect();
        assert_eq!(first, [27, 13, 0]);
        assert_eq!(fill(&mut queue, 2), 27, "another target");
        let sent: u32 = queue.entries.values().map(|entry| entry.sends).sum();
        assert_eq!(sent, 67);
    }

    /// Rule G-5: the age of the queue is that of the oldest update that was never sent.
    #[test]
    fn the_oldest_unsent_is_known() {
        let at = |ms| NOW + Duration::from_millis(ms);
        let mut queue = Queue::default();
        assert_eq!(queue.unsent_since(), None);
        for n in 1..=3 {
            queue.push(at(u64::from(n)), id(n), update(n, 0), 100);
        }
        assert_eq!(queue.unsent_since(), Some(at(1)));
        take(&mut queue, 2 * 43, 8);
        assert_eq!(queue.unsent_since(), Some(at(1)), "the newest two went");
        queue.push(at(9), id(1), update(1, 1), 100);
        assert_eq!(queue.unsent_since(), Some(at(9)), "a newer claim is as old as itself");
        take(&mut queue, 43, 8);
        assert_eq!(queue.unsent_since(), None);
    }

    fn death(n: u8) -> Claim {
        let incarnation = Incarnation::default().into();
        let (age_ms, proof) = (0.into(), 0.into());
        let death = Death { id: id(n).0, incarnation, announcer: [0; 16], age_ms, proof };
        Claim::Death { death, since: NOW }
    }

    /// Sends what the queue has a datagram of its own for; says to how many.
    fn tick(queue: &mut Queue, now: Instant) -> usize {
        let targets = queue.targets(now, 15, 16);
        for target in 0..targets {
            let to = id(200 + target as u8);
            let filling = Filling { sends: 16, burst: 0, carrier: Carrier::Any, to };
            queue.fill(now, &mut Packet::default(), 1_168, filling);
        }
        targets
    }

    /// Rule G-6: what comes once in a while is told at once, what comes all the time hardly ever in
    /// datagrams of its own.
    #[test]
    fn frequent_updates_have_few_datagrams_of_their_own() {
        for (claim, alone) in [(update(1, 0), 2), (death(1), 3)] {
            let mut queue = Queue::new(true);
            let mut ticks = Vec::new();
            for second in 0..300 {
                let now = NOW + Duration::from_secs(second);
                queue.push(now, id(1), claim, 100);
                ticks.push(tick(&mut queue, now));
            }
            assert_eq!(ticks[..6], [15; 6], "{claim:?}");
            let late: usize = ticks[100..].iter().sum();
            assert!((200 * alone..=200 * alone + 26).contains(&late), "{claim:?}: {late}");
            let rested = NOW + Duration::from_secs(2_000);
            queue.push(rested, id(1), claim, 100);
            assert_eq!(tick(&mut queue, rested), 15, "{claim:?}: after a rest");
        }
    }

    /// Rule G-6: while many wait each is sent as often as the limit says, heard or not.
    #[test]
    fn many_updates_are_sent_as_often_as_ever() {
        let mut queue = Queue::new(true);
        for n in 0..=CALM as u8 {
            queue.push(NOW, id(n), update(n, 0), 100);
        }
        (0..=CALM as u8).for_each(|n| queue.heard(id(n), id(99), 16));
        queue.agreed(id(98), 16);
        assert_eq!(queue.targets(NOW, 15, 16), 15);
        let sent: usize = (0..40).map(|_| take(&mut queue, 1_168, 16).len()).sum();
        assert_eq!(sent, 16 * (CALM + 1));
        assert!(queue.is_empty() && queue.order.is_empty());
    }

    /// Rule G-6: whoever brings what waits here, or agrees, has it; it is sent less often, and not
    /// back.
    #[test]
    fn what_others_have_is_sent_less_often_and_not_back() {
        let mut queue = Queue::new(true);
        queue.push(NOW, id(1), death(1), 100);
        queue.heard(id(1), id(7), 16);
        let to = |to| Filling { sends: 16, burst: 0, carrier: Carrier::Any, to };
        let fill =
            |queue: &mut Queue, filling| queue.fill(NOW, &mut Packet::default(), 1_168, filling);
        assert_eq!(fill(&mut queue, to(id(7))), 0, "it came from there");
        let told = Filling { carrier: Carrier::Told, ..to(id(8)) };
        assert_eq!(fill(&mut queue, told), 0, "nor to whom it was told");
        assert_eq!(fill(&mut queue, to(id(8))), 1);
        (10..15).for_each(|n| queue.agreed(id(n), 16));
        assert_eq!(queue.len(), 1, "seven of eight");
        (0..100).for_each(|_| queue.agreed(id(10), 16));
        (0..100).for_each(|_| queue.heard(id(1), id(7), 16));
        assert_eq!(queue.len(), 1, "whoever repeats itself tells nothing new");
        queue.heard(id(1), id(9), 16);
        assert!(queue.is_empty() && queue.order.is_empty());

        let mut baseline = Queue::default();
        baseline.push(NOW, id(1), death(1), 100);
        (0..20).for_each(|_| baseline.heard(id(1), id(7), 16));
        baseline.agreed(id(8), 16);
        let sent = (0..40).filter(|_| fill(&mut baseline, to(id(7))) > 0).count();
        assert_eq!(sent, 16, "a baseline counts its own sends alone");
    }

    /// Rule G-6: however many say that they have it, an update leaves whoever learned it once.
    #[test]
    fn what_was_never_sent_is_not_dropped() {
        let mut queue = Queue::new(true);
        queue.push(NOW, id(1), update(1, 0), 100);
        (10..60).for_each(|n| queue.agreed(id(n), 16));
        assert_eq!(take(&mut queue, 1_168, 16), [(1, 0)]);
        assert!(queue.is_empty() && queue.order.is_empty());
    }

    /// Rule G-1: a hot update takes 40 bytes, a death 64 with its frame.
    #[test]
    fn updates_are_small() {
        assert_eq!(size_of::<Update>(), 40);
        assert!(FRAME + size_of::<Death>() <= 64);
    }

    /// Rule H-3.
    #[test]
    fn verdicts_are_retracted_and_records_stay() {
        let mut queue = Queue::default();
        let incarnation = Incarnation::default().into();
        let doubt = Suspicion { id: id(2).0, incarnation, accuser: id(9).0 };
        queue.push(NOW, id(1), update(1, 0), 10);
        queue.push(NOW, id(2), Claim::Suspicion(doubt), 10);
        queue.retract_verdicts();
        assert_eq!((queue.len(), queue.order.len()), (1, 1));
        assert_eq!(take(&mut queue, 1_168, 8), [(1, 0)]);
    }

    #[test]
    fn a_death_tells_its_age_when_it_is_sent() {
        let mut queue = Queue::default();
        let death = Death {
            id: id(1).0,
            incarnation: Incarnation::default().into(),
            announcer: id(2).0,
            age_ms: 0.into(),
            proof: 0.into(),
        };
        queue.push(NOW, id(1), Claim::Death { death, since: Instant::ORIGIN }, 10);
        let mut packet = Packet::default();
        let now = Instant::ORIGIN + Duration::from_millis(750);
        assert_eq!(queue.fill(now, &mut packet, 1_168, filling(8, 0)), 1);
        match Messages::new(packet.as_bytes()).next() {
            Some(Ok(Message::Death(death))) => assert_eq!(death.age_ms.get(), 750),
            other => panic!("{other:?}"),
        }
    }
}
