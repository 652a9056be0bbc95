//! One deadline per reason, the earliest first.
//!
//! At rest a node waits for a handful of things, which a short list serves best: it fits in a few
//! cache lines. Where there are many, the list becomes a heap. Most deadlines never come: a
//! datagram sets a few and the answer cancels them. So a cancelled one stays in the heap, which is
//! told apart from a live one by a map, and goes when it comes up, or with all others of its kind
//! once they are the greater part.
//!
//! Invariants: a key has at most one deadline; the list is in order, latest first; in the heap's
//! map stands what lives, each in the heap as well, whose first is a live one; the dead are at most
//! as many as the living and `SPARE`.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::hash::{BuildHasherDefault, Hash, Hasher};

use hashbrown::HashMap;

use crate::time::Instant;

/// So many cancelled deadlines are not worth a pass over the heap.
const SPARE: usize = 8;
/// A longer list becomes a heap, which goes back to a list when it is half as long.
const FEW: usize = 16;

/// Deadlines keyed by reason. Reading the earliest is O(1), a change O(log n) at most and mostly
/// O(1).
#[derive(Clone, Debug)]
pub struct Timers<K>(Kept<K>);

#[derive(Clone, Debug)]
enum Kept<K> {
    Few(Vec<(Instant, K)>),
    Many(Many<K>),
}

#[derive(Clone, Debug)]
struct Many<K> {
    by_key: HashMap<K, Instant, BuildHasherDefault<KeyHasher>>,
    heap: BinaryHeap<Reverse<(Instant, K)>>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self(Kept::Few(Vec::new()))
    }
}

impl<K: Ord + Copy + Hash> Timers<K> {
    /// Sets or moves the deadline of `key`.
    pub fn set(&mut self, key: K, at: Instant) {
        match &mut self.0 {
            Kept::Few(list) => {
                if let Some(place) = place_of(list, key) {
                    list.remove(place);
                }
                // Keys count only where deadlines are equal, which is seldom.
                let is_later =
                    |(other, k): &(Instant, K)| *other > at || (*other == at && *k > key);
                let later = list.partition_point(is_later);
                list.insert(later, (at, key));
                if list.len() > FEW {
                    self.0 = Kept::Many(Many::of(list));
                }
            }
            Kept::Many(many) => many.set(key, at),
        }
    }

    /// Forgets the deadline of `key`; returns it.
    pub fn cancel(&mut self, key: K) -> Option<Instant> {
        match &mut self.0 {
            Kept::Few(list) => place_of(list, key).map(|place| list.remove(place).0),
            Kept::Many(many) => {
                let at = many.cancel(key)?;
                if many.by_key.len() <= FEW / 2 {
                    self.0 = Kept::Few(many.list());
                }
                Some(at)
            }
        }
    }

    /// The deadline of `key`.
    pub fn deadline(&self, key: K) -> Option<Instant> {
        match &self.0 {
            Kept::Few(list) => place_of(list, key).map(|place| list[place].0),
            Kept::Many(many) => many.by_key.get(&key).copied(),
        }
    }

    /// The earliest deadline and its reason.
    pub fn next(&self) -> Option<(Instant, K)> {
        match &self.0 {
            Kept::Few(list) => list.last().copied(),
            Kept::Many(many) => many.heap.peek().map(|Reverse(first)| *first),
        }
    }

    /// The bytes in memory that a change reads: where they begin, and how many.
    pub fn span(&self) -> (*const u8, usize) {
        match &self.0 {
            Kept::Few(list) => (list.as_ptr().cast(), size_of_val(list.as_slice())),
            Kept::Many(many) => {
                (many.heap.as_slice().as_ptr().cast(), 2 * size_of::<(Instant, K)>())
            }
        }
    }

    /// Takes the earliest deadline that has come at `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, key) = self.next()?;
        if at > now {
            return None;
        }
        self.cancel(key);
        Some(key)
    }
}

fn place_of<K: Eq + Copy>(list: &[(Instant, K)], key: K) -> Option<usize> {
    // What is set is mostly due soon: those stand last.
    list.iter().rposition(|(_, other)| *other == key)
}

impl<K: Ord + Copy + Hash> Many<K> {
    fn of(list: &[(Instant, K)]) -> Self {
        Self {
            by_key: list.iter().map(|(at, key)| (*key, *at)).collect(),
            heap: list.iter().copied().map(Reverse).collect(),
        }
    }

    fn list(&self) -> Vec<(Instant, K)> {
        let mut list: Vec<_> = self.by_key.iter().map(|(key, at)| (*at, *key)).collect();
        list.sort_unstable_by(|a, b| b.cmp(a));
        list
    }

    fn set(&mut self, key: K, at: Instant) {
        let previous = self.by_key.insert(key, at);
        if previous == Some(at) {
            return;
        }
        self.heap.push(Reverse((at, key)));
        if previous.is_some() {
            self.tidy();
        }
    }

    fn cancel(&mut self, key: K) -> Option<Instant> {
        let at = self.by_key.remove(&key)?;
        self.tidy();
        Some(at)
    }

    /// Restores the invariants after a deadline in the heap has died.
    fn tidy(&mut self) {
        let by_key = &self.by_key;
        let lives = |Reverse((at, key)): &Reverse<(Instant, K)>| by_key.get(key) == Some(at);
        if self.heap.len() > 2 * by_key.len() + SPARE {
            // From the map, where nothing stands twice, as what died and was set again does here.
            self.heap.clear();
            self.heap.extend(by_key.iter().map(|(key, at)| Reverse((*at, *key))));
        }
        while self.heap.peek().is_some_and(|first| !lives(first)) {
            self.heap.pop();
        }
    }
}

/// Keys are small numbers and ids that nobody chooses to make collide: a multiplication a word.
#[derive(Clone, Debug, Default)]
pub struct KeyHasher(u64);

impl KeyHasher {
    fn add(&mut self, word: u64) {
        // The odd number next to 2^64 divided by the golden ratio (Knuth, volume 3, 6.4).
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        // The upper bits are the well mixed ones, and a map looks at both ends.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.add(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.add(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.add(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.add(word as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;
    use proptest::prelude::*;
    use std::collections::BTreeMap as Model;

    impl<K> Timers<K> {
        fn kept(&self) -> usize {
            match &self.0 {
                Kept::Few(list) => list.len(),
                Kept::Many(many) => many.heap.len(),
            }
        }
    }

    proptest! {
        /// Against a plain map: any sequence of set, cancel and pop agrees.
        #[test]
        fn timers_behave_like_a_sorted_map(
            steps in prop::collection::vec((0u8..4, 0u8..40, 0u64..50), 1..300)
        ) {
            let mut timers = Timers::default();
            let mut model = Model::new();
            for (action, key, at) in steps {
                let at = Instant::from_nanos(at);
                match action {
                    0 | 1 => { timers.set(key, at); model.insert(key, at); }
                    2 => prop_assert_eq!(timers.cancel(key), model.remove(&key)),
                    _ => {
                        let due = model.iter().map(|(k, t)| (*t, *k)).min().filter(|(t, _)| *t <= at);
                        prop_assert_eq!(timers.pop_due(at), due.map(|(_, k)| k));
                        if let Some((_, k)) = due { model.remove(&k); }
                    }
                }
                let next = model.iter().map(|(k, t)| (*t, *k)).min();
                prop_assert_eq!(timers.next(), next);
                for key in 0..40 {
                    prop_assert_eq!(timers.deadline(key), model.get(&key).copied());
                }
                prop_assert!(timers.kept() <= 2 * model.len() + SPARE);
            }
        }
    }

    #[test]
    fn a_moved_deadline_fires_once() {
        let mut timers = Timers::default();
        timers.set("a", Instant::from_nanos(5));
        timers.set("a", Instant::from_nanos(9));
        assert_eq!(timers.pop_due(Instant::from_nanos(5)), None);
        assert_eq!(timers.pop_due(Instant::ORIGIN + Duration::from_nanos(9)), Some("a"));
        assert_eq!(timers.pop_due(Instant::from_nanos(99)), None);
    }

    /// What nobody needs any more does not pile up.
    #[test]
    fn cancelled_deadlines_leave_no_trace() {
        let mut timers = Timers::default();
        let living = FEW as u32;
        for key in 0..=living {
            timers.set(u32::MAX - key, Instant::ORIGIN);
        }
        assert!(matches!(timers.0, Kept::Many(_)));
        for key in 0..10_000 {
            timers.set(key, Instant::from_nanos(1_000 + u64::from(key)));
            assert_eq!(timers.cancel(key), Some(Instant::from_nanos(1_000 + u64::from(key))));
        }
        assert!(timers.kept() <= 2 * (FEW + 1) + SPARE, "{} in the heap", timers.kept());
        assert_eq!(timers.next(), Some((Instant::ORIGIN, u32::MAX - living)));
        for key in 0..living {
            timers.cancel(u32::MAX - key);
        }
        assert_eq!(timers.kept(), 1, "few again");
    }
}
