//! A calendar of what is to come: later events in coarse lists, the nearest in order.
//!
//! An event is put into a list without comparing it with any other. A list whose turn comes is sorted
//! as a whole, which walks through memory in one direction; what is put into it while it has its turn
//! stands beside it in fine slots. That is what makes a million events a second possible.
//!
//! Whoever handles events may look ahead: a scout runs before the cursor and tells what it meets,
//! each event at most once and before its turn, in no order that matters.
//!
//! Invariants: events come out in order of (time, number); of the cursor's group `sorted` holds from
//! `next` on what was known when its turn came, `current` and `near` what was put since, in slots up
//! to the cursor and beyond it; `far` and `later` hold later groups, in order of number; the scout
//! stands in the cursor's group and has `seen` so much of `sorted`, and `within` events are left up to
//! it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use mesh_gossip_proto::Instant;

/// A slot is 2^16 ns, 65 µs, long.
const SLOT_SHIFT: u32 = 16;
/// A group is so many slots, 67 ms; `far` covers so many groups, 69 s.
const WIDTH_SHIFT: u32 = 10;
const WIDTH: usize = 1 << WIDTH_SHIFT;
/// What a time within a group leaves of a word.
const PLACE_BITS: u32 = 64 - SLOT_SHIFT - WIDTH_SHIFT;

#[derive(Clone, Copy)]
struct Entry<E> {
    at: u64,
    number: u64,
    event: E,
}

impl<E> Entry<E> {
    fn slot(&self) -> u64 {
        self.at >> SLOT_SHIFT
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl<E> Eq for Entry<E> {}
impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Entry<E> {
    /// Reversed: a heap gives its greatest first, and the earliest is wanted.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// Lists by slot, and which of them hold something.
struct Ring<E> {
    slots: Vec<Vec<Entry<E>>>,
    taken: [u64; WIDTH / 64],
}

impl<E> Ring<E> {
    fn new() -> Self {
        Self { slots: (0..WIDTH).map(|_| Vec::new()).collect(), taken: [0; WIDTH / 64] }
    }

    fn put(&mut self, slot: usize, entry: Entry<E>) {
        self.slots[slot].push(entry);
        self.taken[slot / 64] |= 1 << (slot % 64);
    }

    fn clear_bit(&mut self, slot: usize) {
        self.taken[slot / 64] &= !(1 << (slot % 64));
    }

    /// The first occupied slot at or after `from`, without wrapping.
    fn next(&self, from: usize) -> Option<usize> {
        let mut word = from / 64;
        let mut bits = self.taken.get(word)? & (u64::MAX << (from % 64));
        while bits == 0 {
            word += 1;
            bits = *self.taken.get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }

    /// As [`Ring::next`], once around.
    fn next_around(&self, from: usize) -> Option<usize> {
        self.next(from).or_else(|| self.next(0))
    }
}

/// The calendar.
pub(crate) struct Wheel<E> {
    sorted: Vec<Entry<E>>,
    next: usize,
    seen: usize,
    current: BinaryHeap<Entry<E>>,
    cursor: u64,
    near: Ring<E>,
    far: Ring<E>,
    later: BTreeMap<u64, Vec<Entry<E>>>,
    next_number: u64,
    /// The slot up to which the scout has come.
    scout: u64,
    within: usize,
    /// What it has met, or what was put behind it, and has not told.
    untold: Vec<E>,
}

impl<E: Copy> Wheel<E> {
    pub(crate) fn new() -> Self {
        Self {
            sorted: Vec::new(),
            next: 0,
            seen: 0,
            current: BinaryHeap::new(),
            cursor: 0,
            near: Ring::new(),
            far: Ring::new(),
            later: BTreeMap::new(),
            next_number: 0,
            scout: 0,
            within: 0,
            untold: Vec::new(),
        }
    }

    /// Puts an event; of two at one time the one put first comes first.
    pub(crate) fn push(&mut self, at: Instant, event: E) {
        let number = self.next_number;
        self.next_number += 1;
        self.place(Entry { at: at.as_nanos(), number, event });
    }

    fn place(&mut self, entry: Entry<E>) {
        let slot = entry.slot();
        let (group, present) = (slot >> WIDTH_SHIFT, self.cursor >> WIDTH_SHIFT);
        if slot <= self.scout {
            self.within += 1;
            self.untold.push(entry.event);
        }
        if slot <= self.cursor {
            self.current.push(entry);
        } else if group == present {
            self.near.put(slot as usize % WIDTH, entry);
        } else if group - present < WIDTH as u64 {
            self.far.put(group as usize % WIDTH, entry);
        } else {
            self.later.entry(group).or_default().push(entry);
        }
    }

    /// The first of the sorted ones, if it stands at the cursor or before.
    fn due(&self) -> Option<&Entry<E>> {
        self.sorted.get(self.next).filter(|entry| entry.slot() <= self.cursor)
    }

    /// When the next event is due.
    pub(crate) fn next_time(&mut self) -> Option<Instant> {
        loop {
            let at = match (self.due(), self.current.peek()) {
                (Some(one), Some(other)) => one.at.min(other.at),
                (Some(one), None) | (None, Some(one)) => one.at,
                (None, None) => {
                    self.advance()?;
                    continue;
                }
            };
            return Some(Instant::from_nanos(at));
        }
    }

    /// Takes the next event.
    pub(crate) fn pop(&mut self) -> Option<(Instant, E)> {
        self.next_time()?;
        self.within -= 1;
        let entry = match self.due() {
            // Reversed: the greater one is the earlier.
            Some(entry) if self.current.peek().is_none_or(|other| entry > other) => {
                let entry = *entry;
                self.next += 1;
                entry
            }
            Some(_) | None => self.current.pop()?,
        };
        Some((Instant::from_nanos(entry.at), entry.event))
    }

    /// One of the next events, as long as fewer than `most` lie between the cursor and the scout.
    /// It may have been taken already.
    pub(crate) fn foresee(&mut self, most: usize) -> Option<E> {
        while self.untold.is_empty() {
            if self.within >= most {
                return None;
            }
            let stands = (self.scout % WIDTH as u64) as usize;
            let fresh = self.near.next(stands + 1);
            let fresh = fresh.map(|slot| self.scout + (slot - stands) as u64);
            let known = self.sorted.get(self.seen).map(Entry::slot);
            self.scout = [fresh, known].into_iter().flatten().min()?;
            self.meet();
        }
        self.untold.pop()
    }

    /// The scout meets everything in the slot where it has come to.
    fn meet(&mut self) {
        let (slot, before) = ((self.scout % WIDTH as u64) as usize, self.untold.len());
        self.untold.extend(self.near.slots[slot].iter().map(|entry| entry.event));
        let known = self.sorted[self.seen..].iter().take_while(|entry| entry.slot() <= self.scout);
        self.untold.extend(known.clone().map(|entry| entry.event));
        self.seen += known.count();
        self.within += self.untold.len() - before;
    }

    /// Moves the cursor to the next occupied slot or group; `None` when nothing is to come.
    fn advance(&mut self) -> Option<()> {
        let within = (self.cursor % WIDTH as u64) as usize;
        let fresh = self.near.next(within).map(|slot| self.cursor + (slot - within) as u64);
        let known = self.sorted.get(self.next).map(Entry::slot);
        let Some(cursor) = [fresh, known].into_iter().flatten().min() else {
            return self.advance_group();
        };
        self.cursor = cursor;
        if cursor > self.scout {
            // Overtaken: what is due now need not be foreseen.
            (self.scout, self.within, self.seen) = (cursor, 0, self.next);
            self.meet();
            self.untold.clear();
        }
        if fresh == Some(cursor) {
            let slot = (cursor % WIDTH as u64) as usize;
            self.near.clear_bit(slot);
            self.current.extend(self.near.slots[slot].drain(..));
        }
        Some(())
    }

    /// Moves the cursor to the beginning of the next occupied group, and sorts that.
    fn advance_group(&mut self) -> Option<()> {
        let present = self.cursor >> WIDTH_SHIFT;
        let from = (present as usize + 1) % WIDTH;
        let far = self.far.next_around(from).map(|slot| {
            let steps = (slot + WIDTH - from) % WIDTH;
            present + 1 + steps as u64
        });
        let later = self.later.keys().next().copied();
        let group = [far, later].into_iter().flatten().min()?;
        self.cursor = group << WIDTH_SHIFT;
        (self.scout, self.within) = (self.cursor, 0);
        self.untold.clear();
        // What was put when the group was farther away was put before the rest.
        let mut entries = self.later.remove(&group).unwrap_or_default();
        if far == Some(group) {
            let slot = group as usize % WIDTH;
            self.far.clear_bit(slot);
            // The list goes: its capacity would otherwise stay with every slot.
            entries.append(&mut std::mem::take(&mut self.far.slots[slot]));
        }
        self.sort(&entries);
        self.meet();
        Some(())
    }

    /// Makes the entries of the cursor's group, which stand in order of number, the sorted ones.
    fn sort(&mut self, entries: &[Entry<E>]) {
        debug_assert!(entries.is_sorted_by_key(|entry| entry.number));
        // Numbers of a word are sorted faster than entries: the time within the group, and the place.
        let within = |at: u64| at % (1 << (SLOT_SHIFT + WIDTH_SHIFT));
        let key = |(place, entry): (u64, &Entry<E>)| within(entry.at) << PLACE_BITS | place;
        let mut order: Vec<u64> = (0..).zip(entries).map(key).collect();
        order.sort_unstable();
        let place = |key: u64| (key % (1 << PLACE_BITS)) as usize;
        self.sorted.clear();
        self.sorted.extend(order.into_iter().map(|key| entries[place(key)]));
        (self.next, self.seen) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Reverse;

    /// Every event is foreseen once, in time, whether it stood there or was put behind the scout.
    #[test]
    fn what_is_next_is_foreseen() {
        let slot = 1 << SLOT_SHIFT;
        let mut wheel = Wheel::new();
        for number in 0..40 {
            wheel.push(Instant::from_nanos(number * slot / 2), number);
        }
        let foreseen = |wheel: &mut Wheel<u64>| {
            let mut met: Vec<u64> = std::iter::from_fn(|| wheel.foresee(8)).collect();
            met.sort_unstable();
            met
        };
        // Two in a slot, and slot 0 is the cursor's.
        assert_eq!(foreseen(&mut wheel), (0..8).collect::<Vec<_>>());
        assert!(foreseen(&mut wheel).is_empty());
        wheel.push(Instant::from_nanos(slot + 1), 100);
        assert_eq!(foreseen(&mut wheel), vec![100]);
        wheel.push(Instant::from_nanos(30 * slot), 101);
        assert!(foreseen(&mut wheel).is_empty(), "it stands beyond the scout");
        let mut taken = 0;
        let mut met = 9;
        while wheel.pop().is_some() {
            taken += 1;
            met += foreseen(&mut wheel).len();
            assert!(met >= (taken + 8).min(42), "{met} foreseen when {taken} were taken");
        }
        assert_eq!((taken, met), (42, 42));
    }

    proptest! {
        /// Against a heap: any mixture of puts and takes agrees, whatever the distances.
        #[test]
        fn the_wheel_is_a_priority_queue(
            steps in prop::collection::vec((0u8..4, 0u32..41, 0u64..1_000), 1..300)
        ) {
            let mut wheel = Wheel::new();
            let mut model = BinaryHeap::new();
            let mut now = 0;
            for (number, (action, magnitude, offset)) in steps.into_iter().enumerate() {
                if action == 0 {
                    let expected = model.pop().map(|Reverse((at, number))| (at, number));
                    let found = wheel.pop().map(|(at, event)| (at.as_nanos(), event));
                    prop_assert_eq!(found, expected);
                    now = found.map_or(now, |(at, _)| at);
                    wheel.foresee(usize::from(magnitude as u8));
                } else {
                    let at = now + (offset << magnitude.saturating_sub(5));
                    wheel.push(Instant::from_nanos(at), number);
                    model.push(Reverse((at, number)));
                }
            }
            while let Some(Reverse((at, number))) = model.pop() {
                let next = wheel.next_time();
                prop_assert_eq!(next, Some(Instant::from_nanos(at)));
                prop_assert_eq!(wheel.pop(), Some((Instant::from_nanos(at), number)));
            }
            prop_assert!(wheel.pop().is_none());
        }
    }
}
