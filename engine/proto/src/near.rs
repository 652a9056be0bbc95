//! A small map whose entries stand where their keys say.
//!
//! Whoever asks thousands of such maps in turn waits for memory each time. Here the place of an
//! entry follows from its key and the map's head alone, so that it can be fetched before it is asked
//! for, and an entry that fills a cache line costs one.
//!
//! Invariants: the number of places is a power of two, a quarter of them at least free; from where
//! the search for an entry begins to where it stands no place is free.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// Places of the first table.
const LEAST: usize = 8;

/// What such a map holds.
pub trait Entry: Copy {
    /// What it is found by.
    type Key: Copy + Eq;

    /// A place without an entry.
    const FREE: Self;

    /// Its key; none where the place is free.
    fn key(&self) -> Option<Self::Key>;

    /// A number in whose lower bits keys differ.
    fn spread(key: Self::Key) -> usize;
}

/// Entries by their keys.
#[derive(Clone, Debug)]
pub struct Near<E> {
    entries: Box<[E]>,
    count: usize,
}

impl<E> Default for Near<E> {
    fn default() -> Self {
        Self { entries: Box::default(), count: 0 }
    }
}

impl<E: Entry> Near<E> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn mask(&self) -> usize {
        self.entries.len().wrapping_sub(1)
    }

    fn home(&self, key: E::Key) -> usize {
        E::spread(key) & self.mask()
    }

    /// Where in memory the search for `key` begins; of an empty map, anywhere.
    pub fn place(&self, key: E::Key) -> *const u8 {
        self.entries.as_ptr().wrapping_add(self.home(key)).cast()
    }

    /// Where `key` stands, or the free place where it would.
    fn find(&self, key: E::Key) -> Result<usize, usize> {
        let mut at = self.home(key);
        loop {
            match self.entries[at].key() {
                Some(found) if found == key => return Ok(at),
                Some(_) => at = (at + 1) & self.mask(),
                None => return Err(at),
            }
        }
    }

    fn standing(&self, key: E::Key) -> Option<usize> {
        if self.count == 0 { None } else { self.find(key).ok() }
    }

    /// The entry of `key`.
    pub fn get(&self, key: E::Key) -> Option<&E> {
        self.standing(key).map(|at| &self.entries[at])
    }

    /// The entry of `key`, to be changed but for its key.
    pub fn get_mut(&mut self, key: E::Key) -> Option<&mut E> {
        self.standing(key).map(|at| &mut self.entries[at])
    }

    /// Enters `entry`, in place of one with its key.
    pub fn insert(&mut self, entry: E) {
        let Some(key) = entry.key() else { return };
        if (self.count + 1) * 4 > self.entries.len() * 3 {
            self.grow();
        }
        let at = match self.find(key) {
            Ok(at) => at,
            Err(at) => {
                self.count += 1;
                at
            }
        };
        self.entries[at] = entry;
    }

    fn grow(&mut self) {
        let places = (self.entries.len() * 2).max(LEAST);
        let before = core::mem::replace(&mut self.entries, vec![E::FREE; places].into());
        for entry in &before {
            if let Some(key) = entry.key()
                && let Err(at) = self.find(key)
            {
                self.entries[at] = *entry;
            }
        }
    }

    /// Forgets the entry of `key`.
    pub fn remove(&mut self, key: E::Key) {
        let Some(mut gap) = self.standing(key) else { return };
        self.count -= 1;
        let mask = self.mask();
        let distance = |from: usize, to: usize| to.wrapping_sub(from) & mask;
        let mut next = (gap + 1) & mask;
        while let Some(other) = self.entries[next].key() {
            // Whoever the gap would cut off from where its search begins moves into it.
            if distance(self.home(other), next) >= distance(gap, next) {
                self.entries[gap] = self.entries[next];
                gap = next;
            }
            next = (next + 1) & mask;
        }
        self.entries[gap] = E::FREE;
    }

    /// Every entry, in no meaningful order.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        self.entries.iter().filter(|entry| entry.key().is_some())
    }

    /// Keeps those that `stays` holds for.
    pub fn retain(&mut self, mut stays: impl FnMut(&E) -> bool) {
        let go: Vec<E::Key> =
            self.iter().filter(|entry| !stays(entry)).filter_map(E::key).collect();
        go.into_iter().for_each(|key| self.remove(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Pair(u16, u16);

    impl Entry for Pair {
        type Key = u16;
        const FREE: Self = Self(u16::MAX, 0);

        fn key(&self) -> Option<u16> {
            (self.0 != u16::MAX).then_some(self.0)
        }

        /// Few numbers, so that many keys meet.
        fn spread(key: u16) -> usize {
            usize::from(key / 4 * 7)
        }
    }

    #[test]
    fn a_search_begins_where_it_is_told() {
        let mut pairs = Near::default();
        assert!(pairs.is_empty() && pairs.get(7).is_none());
        pairs.insert(Pair(7, 1));
        let found: *const Pair = pairs.get(7).unwrap();
        assert_eq!(pairs.place(7), found.cast());
    }

    proptest! {
        /// Against a plain map: any mixture of changes agrees.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0u8..4, 0u16..60, any::<u16>()), 1..400)) {
            let mut pairs = Near::default();
            let mut model = BTreeMap::new();
            for (action, key, value) in steps {
                match action {
                    0 | 1 => { pairs.insert(Pair(key, value)); model.insert(key, value); }
                    2 => { pairs.remove(key); model.remove(&key); }
                    _ => if value % 16 == 0 {
                        pairs.retain(|pair| pair.0 % 3 != 0);
                        model.retain(|key, _| key % 3 != 0);
                    } else if let Some(held) = pairs.get_mut(key) {
                        held.1 = value;
                        model.insert(key, value);
                    }
                }
                prop_assert_eq!(pairs.len(), model.len());
                for key in 0..60 {
                    prop_assert_eq!(pairs.get(key).map(|pair| pair.1), model.get(&key).copied());
                }
                let held: BTreeMap<u16, u16> = pairs.iter().map(|pair| (pair.0, pair.1)).collect();
                prop_assert_eq!(&held, &model);
            }
        }
    }
}
