//! Broadcasts on their way out (rules U-2 and U-5).
//!
//! As updates are: each is sent a bounded number of times, the least sent first and among those the
//! newest. Nobody gets back what it said or brought, and no target gets the same one twice in one
//! burst.
//!
//! Invariants: `order`, `entries` and `keyed` hold the same broadcasts; `bytes` is the sum of their
//! bodies; of one origin, topic and key one waits, the latest.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::ops::Bound;

use crate::member::MemberId;
use crate::membership::broadcast::BroadcastId;
use crate::time::Instant;
use crate::wire::message::{FRAME, Packet, kind};

/// Fewest sends of a broadcast. A member whose 24 warm neighbours each tell 8 of theirs is missed once
/// in 17,000 times, and once in 17 million where they tell 12; what it missed of members it learns by
/// their digest, what it missed of hosts never.
pub const LEAST_SENDS: u32 = 12;

/// Broadcasts passed over, because they do not fit or need not go there, before a datagram counts
/// as filled.
const LOOKED_AT: usize = 64;

/// A broadcast that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Which one.
    pub id: BroadcastId,
    /// Topic and key, where it takes another one's place.
    pub key: Option<(u16, u64)>,
    /// Who brought it; its origin, if that is ourselves.
    pub from: MemberId,
    /// Its body, signature included.
    pub body: Arc<[u8]>,
}

#[derive(Clone, Debug)]
struct Entry {
    waiting: Waiting,
    sends: u32,
    /// The last burst that it went with.
    burst: u64,
    since: Instant,
}

/// What became of a broadcast that was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It waits; so many others had to go to stay within the limits.
    Waits(u64),
    /// It waits in the place of an earlier one with its key.
    Instead(u64),
    /// A later one with its key waits already.
    Outdated,
}

/// For whom a datagram is filled.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Whom.
    pub to: MemberId,
    /// Datagrams of one burst to one target have one number, not 0.
    pub burst: u64,
    /// How often a broadcast is sent.
    pub sends: u32,
}

/// What went into a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Filled {
    /// Broadcasts.
    pub count: usize,
    /// Their bytes, with frames.
    pub bytes: usize,
    /// The next one is larger than what was granted, and would have fitted.
    pub held_back: bool,
}

type Key = (u32, Reverse<u64>);
type Slot = (MemberId, u16, u64);

/// The queue.
#[derive(Clone, Debug, Default)]
pub struct Broadcasts {
    entries: BTreeMap<u64, Entry>,
    order: BTreeSet<Key>,
    keyed: BTreeMap<Slot, u64>,
    bytes: usize,
    next_number: u64,
}

impl Waiting {
    fn slot(&self) -> Option<Slot> {
        self.key.map(|(topic, key)| (self.id.origin, topic, key))
    }
}

impl Broadcasts {
    /// Broadcasts waiting.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of those that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Since when the oldest of those waits that were never sent.
    pub fn unsent_since(&self) -> Option<Instant> {
        let (_, Reverse(number)) = self.order.range(..(1, Reverse(u64::MAX))).next_back()?;
        self.entries.get(number).map(|entry| entry.since)
    }

    /// Queues a broadcast. Beyond `most` entries or `most_bytes` the most often sent ones go.
    pub fn push(
        &mut self,
        now: Instant,
        waiting: Waiting,
        (most, most_bytes): (usize, usize),
    ) -> Queued {
        let slot = waiting.slot();
        let earlier = slot.and_then(|slot| self.keyed.get(&slot).copied());
        if let Some(number) = earlier {
            let order = |id: BroadcastId| (id.generation, id.sequence);
            let known = self.entries.get(&number).map(|entry| order(entry.waiting.id));
            if known.is_some_and(|known| known >= order(waiting.id)) {
                return Queued::Outdated;
            }
            self.remove(number);
        }
        let number = self.next_number;
        self.next_number += 1;
        self.bytes += waiting.body.len();
        self.order.insert((0, Reverse(number)));
        if let Some(slot) = slot {
            self.keyed.insert(slot, number);
        }
        self.entries.insert(number, Entry { waiting, sends: 0, burst: 0, since: now });
        let mut dropped = 0;
        while self.entries.len() > most || self.bytes > most_bytes {
            let Some((_, Reverse(most_sent))) = self.order.last().copied() else { break };
            self.remove(most_sent);
            dropped += 1;
        }
        if earlier.is_some() { Queued::Instead(dropped) } else { Queued::Waits(dropped) }
    }

    /// Appends broadcasts to a datagram that may grow to `limit` bytes, no more than `granted` of
    /// them theirs.
    pub fn fill(
        &mut self,
        packet: &mut Packet,
        limit: usize,
        granted: usize,
        target: Target,
    ) -> Filled {
        let (mut filled, mut passed_over) = (Filled::default(), 0);
        let mut after: Option<Key> = None;
        let mut sent: Vec<u64> = Vec::new();
        while passed_over < LOOKED_AT {
            let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
            let Some(key) = self.order.range((lower, Bound::Unbounded)).next().copied() else {
                break;
            };
            after = Some(key);
            let (_, Reverse(number)) = key;
            let Some(entry) = self.entries.get(&number) else { break };
            let Waiting { id, from, body, .. } = &entry.waiting;
            let bytes = FRAME + body.len();
            let concerned = entry.burst != target.burst && ![*from, id.origin].contains(&target.to);
            if !concerned || packet.as_bytes().len() + bytes > limit {
                passed_over += 1;
                continue;
            }
            if filled.bytes + bytes > granted {
                filled.held_back = true;
                break;
            }
            if packet.push_raw(limit, kind::BROADCAST, body) {
                filled.count += 1;
                filled.bytes += bytes;
                sent.push(number);
            }
        }
        for number in sent {
            self.sent(number, target);
        }
        filled
    }

    fn sent(&mut self, number: u64, target: Target) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        self.order.remove(&(entry.sends, Reverse(number)));
        entry.sends += 1;
        entry.burst = target.burst;
        if entry.sends >= target.sends {
            self.remove(number);
        } else {
            self.order.insert((entry.sends, Reverse(number)));
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(entry) = self.entries.remove(&number) else { return };
        self.order.remove(&(entry.sends, Reverse(number)));
        self.bytes -= entry.waiting.body.len();
        if let Some(slot) = entry.waiting.slot() {
            self.keyed.remove(&slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;
    use crate::wire::message::{Message, Messages};

    const ROOM: usize = 1_168;
    const LIMITS: (usize, usize) = (100, 100_000);

    fn member(n: u8) -> MemberId {
        MemberId([n; 16])
    }

    fn waiting(sequence: u64, bytes: usize, key: Option<(u16, u64)>) -> Waiting {
        let id = BroadcastId { origin: member(1), generation: 1, sequence };
        let mut body = alloc::vec![0; bytes];
        body[0] = sequence as u8;
        Waiting { id, key, from: member(2), body: body.into() }
    }

    fn queue(sequences: &[u64], bytes: usize) -> Broadcasts {
        let mut queue = Broadcasts::default();
        for sequence in sequences {
            queue.push(Instant::ORIGIN, waiting(*sequence, bytes, None), LIMITS);
        }
        queue
    }

    fn consistent(queue: &Broadcasts) {
        assert_eq!(queue.order.len(), queue.entries.len());
        let bytes: usize = queue.entries.values().map(|entry| entry.waiting.body.len()).sum();
        assert_eq!(queue.bytes, bytes);
        let keyed = queue.entries.values().filter(|entry| entry.waiting.key.is_some()).count();
        assert_eq!(queue.keyed.len(), keyed);
    }

    fn take(queue: &mut Broadcasts, granted: usize, target: Target) -> (Vec<u8>, Filled) {
        let mut packet = Packet::default();
        let filled = queue.fill(&mut packet, ROOM, granted, target);
        assert_eq!(packet.as_bytes().len(), filled.bytes);
        consistent(queue);
        let numbers = Messages::new(packet.as_bytes()).map(|message| match message {
            Ok(Message::Broadcast(body)) => body[0],
            other => panic!("{other:?}"),
        });
        (numbers.collect(), filled)
    }

    fn to(n: u8, burst: u64) -> Target {
        Target { to: member(n), burst, sends: 3 }
    }

    /// Rule U-2: least sent first, then the newest; so often and never again.
    #[test]
    fn the_least_sent_goes_first_and_ends_at_its_limit() {
        let mut queue = queue(&[1, 2, 3], 500);
        let taken: Vec<_> = (1..=9).map(|burst| take(&mut queue, ROOM, to(9, burst)).0).collect();
        assert_eq!(taken[0], [3, 2], "two fit");
        assert_eq!(taken[1], [1, 3], "the unsent one, then the newest of the others");
        let all: Vec<u8> = taken.concat();
        for number in [1, 2, 3] {
            assert_eq!(all.iter().filter(|sent| **sent == number).count(), 3);
        }
        assert!(queue.is_empty() && queue.bytes() == 0);
    }

    /// Rule U-2: who said or brought it has it, and a burst brings each once.
    #[test]
    fn nobody_gets_what_it_has() {
        let mut queue = queue(&[1, 2], 100);
        assert_eq!(take(&mut queue, ROOM, to(1, 1)).1, Filled::default(), "its origin");
        assert_eq!(take(&mut queue, ROOM, to(2, 2)).1, Filled::default(), "who brought it");
        assert_eq!(take(&mut queue, ROOM, to(3, 3)).0, [2, 1]);
        assert_eq!(take(&mut queue, ROOM, to(3, 3)).0, [0; 0], "the same burst");
        assert_eq!(take(&mut queue, ROOM, to(4, 4)).0, [2, 1]);
    }

    /// Rule U-4: what is granted is kept to; a piece that is too large for it is not overtaken, but
    /// one that is too large for the datagram is.
    #[test]
    fn a_grant_is_kept() {
        let mut queue = queue(&[1], 100);
        queue.push(Instant::ORIGIN, waiting(2, 900, None), LIMITS);
        let (taken, filled) = take(&mut queue, 500, to(9, 1));
        assert_eq!((taken.len(), filled.held_back), (0, true), "the newest waits for its turn");
        let mut packet = Packet::on(alloc::vec![0; 600]);
        let filled = queue.fill(&mut packet, ROOM, 568, to(9, 2));
        assert_eq!((filled.count, filled.bytes, filled.held_back), (1, 103, false));
        assert_eq!(take(&mut queue, 1_000, to(9, 3)).0, [2]);
    }

    /// Rule U-5: a later one of a key takes the place of an earlier one, whatever comes first.
    #[test]
    fn a_later_one_of_a_key_replaces() {
        let mut queue = Broadcasts::default();
        let push = |queue: &mut Broadcasts, sequence, key| {
            queue.push(Instant::ORIGIN, waiting(sequence, 100, key), LIMITS)
        };
        assert_eq!(push(&mut queue, 1, Some((7, 0))), Queued::Waits(0));
        assert_eq!(push(&mut queue, 2, Some((7, 1))), Queued::Waits(0), "another key");
        assert_eq!(push(&mut queue, 3, Some((8, 0))), Queued::Waits(0), "another topic");
        assert_eq!(push(&mut queue, 4, None), Queued::Waits(0));
        assert_eq!(push(&mut queue, 6, Some((7, 0))), Queued::Instead(0));
        assert_eq!(push(&mut queue, 5, Some((7, 0))), Queued::Outdated);
        assert_eq!(take(&mut queue, ROOM, to(9, 1)).0, [6, 4, 3, 2]);
        let mut other = waiting(1, 100, Some((7, 0)));
        other.id.origin = member(5);
        assert_eq!(queue.push(Instant::ORIGIN, other, LIMITS), Queued::Waits(0), "another member");
        assert_eq!(queue.len(), 5);
        consistent(&queue);
    }

    /// Rules U-2 and B-1: the most often sent make room, by number and by bytes.
    #[test]
    fn a_full_queue_drops_the_most_sent() {
        let mut queue = queue(&[1, 2], 100);
        take(&mut queue, 103, to(9, 1));
        let push = |queue: &mut Broadcasts, limits| {
            queue.push(Instant::ORIGIN, waiting(3, 300, None), limits)
        };
        assert_eq!(push(&mut queue, (2, 1_000)), Queued::Waits(1));
        assert_eq!(take(&mut queue, ROOM, to(9, 2)).0, [3, 1], "the one that was sent is gone");
        assert_eq!(push(&mut queue, (9, 400)), Queued::Waits(2), "both were sent before");
        assert_eq!(
            push(&mut queue, (9, 200)),
            Queued::Waits(2),
            "larger than all there is room for"
        );
        consistent(&queue);
        assert!(queue.is_empty());
    }

    /// Rule G-5: the age of the queue is that of the oldest that was never sent.
    #[test]
    fn the_oldest_unsent_is_known() {
        let at = |ms| Instant::ORIGIN + Duration::from_millis(ms);
        let mut queue = Broadcasts::default();
        assert_eq!(queue.unsent_since(), None);
        for sequence in 1..=3 {
            queue.push(at(sequence), waiting(sequence, 500, None), LIMITS);
        }
        assert_eq!(queue.unsent_since(), Some(at(1)));
        take(&mut queue, ROOM, to(9, 1));
        assert_eq!(queue.unsent_since(), Some(at(1)), "the newest two went");
        take(&mut queue, ROOM, to(9, 2));
        assert_eq!(queue.unsent_since(), None);
    }
}
