//! A calendar of what is to come: the nearest events in fine slots, later ones in coarse ones.
//!
//! An event is put into a slot without comparing it with any other; only the events of the slot
//! that is due are sorted. That is what makes a million events a second possible.
//!
//! Whoever handles events may look ahead: a scout runs before the cursor and tells what it meets,
//! each event at most once and before its turn, in no order that matters.
//!
//! Invariants: events come out in order of (time, number); `current` holds every event of slots up
//! to the cursor, `near` those of the cursor's group, `far` and `later` those of later groups; the
//! scout stands in the cursor's group, and `within` events are left up to it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use mesh_gossip_proto::Instant;

/// A slot is 2^16 ns, 65 µs, long.
const SLOT_SHIFT: u32 = 16;
/// A group is so many slots, 67 ms; `far` covers so many groups, 69 s.
const WIDTH_SHIFT: u32 = 10;
const WIDTH: usize = 1 << WIDTH_SHIFT;

struct Entry<E> {
    at: u64,
    number: u64,
    event: E,
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
        let slot = entry.at >> SLOT_SHIFT;
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

    /// When the next event is due.
    pub(crate) fn next_time(&mut self) -> Option<Instant> {
        while self.current.is_empty() {
            self.advance()?;
        }
        self.current.peek().map(|entry| Instant::from_nanos(entry.at))
    }

    /// Takes the next event.
    pub(crate) fn pop(&mut self) -> Option<(Instant, E)> {
        self.next_time()?;
        let entry = self.current.pop()?;
        self.within -= 1;
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
            let slot = self.near.next(stands + 1)?;
            self.scout += (slot - stands) as u64;
            let met = &self.near.slots[slot];
            self.within += met.len();
            self.untold.extend(met.iter().rev().map(|entry| entry.event));
        }
        self.untold.pop()
    }

    /// Moves the cursor to the next occupied slot or group; `None` when nothing is to come.
    fn advance(&mut self) -> Option<()> {
        let within = (self.cursor % WIDTH as u64) as usize;
        if let Some(slot) = self.near.next(within) {
            self.cursor += (slot - within) as u64;
            self.near.clear_bit(slot);
            if self.cursor > self.scout {
                // Overtaken: what is due now need not be foreseen.
                self.scout = self.cursor;
                self.within = self.near.slots[slot].len();
            }
            self.current.extend(self.near.slots[slot].drain(..));
            return Some(());
        }
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
        if far == Some(group) {
            let slot = group as usize % WIDTH;
            self.far.clear_bit(slot);
            // The list goes: its capacity would otherwise stay with every slot.
            for entry in std::mem::take(&mut self.far.slots[slot]) {
                self.place(entry);
            }
        }
        for entry in self.later.remove(&group).unwrap_or_default() {
            self.place(entry);
        }
        Some(())
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
