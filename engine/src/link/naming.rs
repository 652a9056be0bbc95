//! A table by member that is asked for every datagram.
//!
//! An id is a piece of a SHA-256 already (rule M-1), and only who has a certificate for it gets
//! into the table. So one multiplication spreads ids well enough; a key that differs from process to
//! process keeps names from being chosen to collide.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use mesh_gossip_proto::MemberId;

/// Values by member.
pub(super) type ByMember<V> = HashMap<MemberId, V, Spread>;

/// The odd number next to 2^64 divided by the golden ratio (Knuth, volume 3, 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes hashers of one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    key: u64,
}

impl Spread {
    pub(super) fn keyed(seed: u64) -> Self {
        Self { key: fastrand::Rng::with_seed(seed ^ GOLDEN).u64(..) }
    }
}

impl BuildHasher for Spread {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded(self.key)
    }
}

/// Of one id.
pub(super) struct Folded(u64);

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        for word in words.iter().chain((!rest.is_empty()).then_some(&last)) {
            let product = u128::from(self.0 ^ u64::from_le_bytes(*word)) * u128::from(GOLDEN);
            self.0 = (product >> 64) as u64 ^ product as u64;
        }
    }

    fn write_usize(&mut self, _: usize) {
        // Ids are of one length.
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table takes the place from the low bits and tells neighbours apart by the high ones.
    #[test]
    fn ids_are_spread_over_both_ends_of_a_hash() {
        let ids: Vec<_> =
            (0..4_096).map(|n| MemberId::derive("cluster", &format!("n{n}"))).collect();
        for key in [1, 2] {
            let spread = Spread::keyed(key);
            for shift in [0, 52] {
                let mut filled = vec![0; 4_096];
                for id in &ids {
                    filled[(spread.hash_one(id) >> shift & 0xFFF) as usize] += 1;
                }
                // As balls thrown at random: 4,096 of them leave a share of 1/e empty.
                let empty = filled.iter().filter(|count| **count == 0).count();
                assert!((1_390..1_620).contains(&empty), "{empty} of 4,096");
                assert!(filled.iter().all(|count| *count < 12));
            }
        }
    }

    #[test]
    fn another_key_is_another_order() {
        let id = MemberId::derive("cluster", "node");
        assert_eq!(Spread::keyed(1).hash_one(id), Spread::keyed(1).hash_one(id));
        assert_ne!(Spread::keyed(1).hash_one(id), Spread::keyed(2).hash_one(id));
    }

    /// Ids that share their first or their last half are told apart.
    #[test]
    fn all_of_an_id_counts() {
        let spread = Spread::keyed(3);
        let base = spread.hash_one(MemberId([7; 16]));
        for byte in 0..16 {
            let mut id = MemberId([7; 16]);
            id.0[byte] = 8;
            assert_ne!(spread.hash_one(id), base, "byte {byte}");
        }
    }
}
