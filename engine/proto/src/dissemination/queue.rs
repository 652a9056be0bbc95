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

/// How far an update has to go.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Sends, as many as the size of the cluster asks for.
    pub sends: u32,
    /// Members that may need it: all that are present but ourselves.
    pub others: usize,
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
    pub fn heard(&mut self, id: MemberId, from: MemberId, need: Need) {
        if self.entries.get(&id).is_some_and(|entry| entry.spared) {
            self.brought(id, from);
            self.count(id, from, need);
        }
    }

    /// What waits here about `id` has come from there, and need not go back.
    pub fn brought(&mut self, id: MemberId, from: MemberId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.knowing.bring(from);
        }
    }

    /// The view of `from` equals ours, so it has all that waits here.
    pub fn agreed(&mut self, from: MemberId, need: Need) {
        if self.entries.len() > CALM {
            return;
        }
        let spared = self.entries.iter().filter(|(_, entry)| entry.spared);
        let ids: alloc::vec::Vec<MemberId> = spared.map(|(id, _)| *id).collect();
        for id in ids {
            self.count(id, from, need);
        }
    }

    fn most(&self, sends: u32) -> u32 {
        if self.generous { sends } else { few(sends) }
    }

    fn count(&mut self, id: MemberId, from: MemberId, need: Need) {
        let most = self.most(need.sends);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if !entry.knowing.count(from) {
            return;
        }
        let everybody = entry.knowing.counted() >= need.others;
        // Whatever some say, it leaves here once; but each speaks for itself.
        if entry.sends + 1 >= most && !entry.left && !everybody {
            return;
        }
        self.order.remove(&entry.key(id));
        entry.sends += 1;
        if entry.sends >= most || everybody {
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
#[path = "queue_tests.rs"]
mod tests;
