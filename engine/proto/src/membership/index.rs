//! Where a member's slot is, by its id.
//!
//! Ids are hashes already: a few of their bits choose a bucket of some sixteen members, 32 bits
//! tell those apart, and whoever owns the slots has the last word. A copy shares every bucket; a
//! member's coming or going writes one bucket and the chunk that it stands in, and a change to a
//! member that is known writes nothing.
//!
//! Invariant: every member has one entry, in the bucket of its bits.

use alloc::sync::Arc;

use crate::member::MemberId;
use crate::membership::chunks::Chunks;
use crate::membership::split::{bucket_of, origin};

/// Index of a member in its table.
pub type Slot = u32;

/// Members a bucket on average.
const LOAD: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    bits: u32,
    slot: Slot,
}

/// A bucket is written whole, so that it needs no room to grow.
type Bucket = Arc<[Entry]>;

/// Slots by id; `clone` is O(len / 65,536).
#[derive(Clone, Debug)]
pub struct Index {
    buckets: Chunks<Bucket>,
    len: usize,
}

impl Default for Index {
    fn default() -> Self {
        let mut buckets = Chunks::default();
        buckets.push(Bucket::default());
        Self { buckets, len: 0 }
    }
}

impl Index {
    /// Number of members.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slot of `id`, which is the one that `is` says yes to.
    pub fn find(&self, id: MemberId, is: impl Fn(Slot) -> bool) -> Option<Slot> {
        let bits = bits(id);
        let alike = self.bucket(bits)?.iter().filter(|entry| entry.bits == bits);
        alike.map(|entry| entry.slot).find(|slot| is(*slot))
    }

    /// All that is read to find a member with these bits.
    fn bucket(&self, bits: u32) -> Option<&Bucket> {
        self.buckets.get(bucket_of(bits, self.buckets.len()).0)
    }

    /// Adds a member that has no entry.
    pub fn insert(&mut self, id: MemberId, slot: Slot) {
        let bits = bits(id);
        self.write(bucket_of(bits, self.buckets.len()).0, |old| {
            old.iter().copied().chain([Entry { bits, slot }]).collect()
        });
        self.len += 1;
        if self.len > self.buckets.len() * LOAD {
            self.split();
        }
    }

    /// Takes a member's entry away; returns whether there was one.
    pub fn remove(&mut self, id: MemberId, slot: Slot) -> bool {
        let entry = Entry { bits: bits(id), slot };
        let bucket = bucket_of(entry.bits, self.buckets.len()).0;
        if !self.buckets.get(bucket).is_some_and(|bucket| bucket.contains(&entry)) {
            return false;
        }
        self.write(bucket, |old| old.iter().copied().filter(|other| *other != entry).collect());
        self.len -= 1;
        // Half, so that a member that comes and goes does not split and merge.
        if self.buckets.len() > 1 && self.len < (self.buckets.len() - 1) * LOAD / 2 {
            self.merge();
        }
        true
    }

    /// How many chunks of buckets are one and the same in both.
    pub fn shared_with(&self, other: &Self) -> usize {
        self.buckets.shared_with(&other.buckets)
    }

    /// Number of chunks of buckets.
    pub fn chunks(&self) -> usize {
        self.buckets.chunks().count()
    }

    fn write(&mut self, bucket: usize, change: impl FnOnce(&[Entry]) -> Bucket) {
        let Some(bucket) = self.buckets.get_mut(bucket) else {
            unreachable!("a hash falls into a bucket that exists")
        };
        *bucket = change(bucket);
    }

    fn split(&mut self) {
        let new = self.buckets.len();
        let is_new = |entry: &&Entry| bucket_of(entry.bits, new + 1).0 == new;
        let mut upper = Bucket::default();
        self.write(origin(new), |old| {
            upper = old.iter().filter(is_new).copied().collect();
            old.iter().filter(|entry| !is_new(entry)).copied().collect()
        });
        self.buckets.push(upper);
    }

    fn merge(&mut self) {
        let Some(upper) = self.buckets.pop() else { return };
        self.write(origin(self.buckets.len()), |lower| {
            lower.iter().chain(upper.iter()).copied().collect()
        });
    }
}

fn bits(id: MemberId) -> u32 {
    id.prefix() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    /// Ids of which many agree in the bits that the index keeps.
    fn id(number: u16) -> MemberId {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&(number / 3).wrapping_mul(0x9e37).to_le_bytes());
        id[14..].copy_from_slice(&number.to_le_bytes());
        MemberId(id)
    }

    /// What a lookup reads, by count: the entries of one bucket, however many members there are.
    #[test]
    fn a_lookup_reads_no_more_among_a_hundred_thousand_than_among_a_thousand() {
        let id = |number: u32| {
            MemberId(u128::from(crate::membership::digest::mix(number.into())).to_le_bytes())
        };
        let mut index = Index::default();
        for number in 0..100_000 {
            index.insert(id(number), number);
            if !matches!(index.len(), 1_000 | 10_000 | 100_000) {
                continue;
            }
            let read = |number| index.bucket(bits(id(number))).map_or(0, |bucket| bucket.len());
            let sum: usize = (0..=number).map(read).sum();
            let mean = sum as f64 / index.len() as f64;
            // By the load of a bucket, and somewhat more because fuller ones are met more often.
            assert!((16.0..24.0).contains(&mean), "{mean} entries among {}", index.len());
            let most = (0..=number).map(read).max();
            assert!(most < Some(64), "{most:?} entries among {}", index.len());
        }
    }

    proptest! {
        #[test]
        fn an_index_behaves_like_a_map(
            steps in prop::collection::vec((prop::bool::weighted(0.7), 0u16..400), 0..800)
        ) {
            let mut index = Index::default();
            let mut model: BTreeMap<u16, Slot> = BTreeMap::new();
            let (mut copies, mut slots) = (Vec::new(), Vec::new());
            for (add, number) in steps {
                let slot = slots.len() as Slot;
                let known = model.get(&number).copied();
                match (add, known) {
                    (true, None) => {
                        index.insert(id(number), slot);
                        slots.push(number);
                        model.insert(number, slot);
                    }
                    (true, Some(_)) => {}
                    (false, _) => {
                        prop_assert_eq!(index.remove(id(number), known.unwrap_or(slot)), known.is_some());
                        model.remove(&number);
                    }
                }
                if slots.len() % 50 == 0 {
                    copies.push((index.clone(), model.clone()));
                }
            }
            copies.push((index, model));
            for (index, model) in copies {
                prop_assert_eq!(index.len(), model.len());
                for number in 0..400 {
                    let found = index.find(id(number), |slot| slots[slot as usize] == number);
                    prop_assert_eq!(found, model.get(&number).copied());
                }
            }
        }
    }
}
