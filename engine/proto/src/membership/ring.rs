//! Where members stand on the rings that tell who observes whom (rule D-1).
//!
//! Invariant: every present member stands on every ring once.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::member::MemberId;

/// Place of a member on ring `ring`: SHA-256("mesh-ring-v1" ‖ cluster ‖ ring ‖ id), its first 16
/// bytes, big-endian. Ties are broken by the id.
pub fn position(cluster_id: &str, ring: u8, id: MemberId) -> u128 {
    let mut hash = Sha256::new();
    hash.update(b"mesh-ring-v1");
    hash.update(cluster_id.as_bytes());
    hash.update([ring]);
    hash.update(id.0);
    let digest = hash.finalize();
    let mut prefix = [0; 16];
    prefix.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(prefix)
}

/// All rings of one table.
#[derive(Clone, Debug)]
pub struct Rings {
    cluster_id: String,
    rings: Vec<BTreeSet<(u128, MemberId)>>,
}

impl Rings {
    /// `count` empty rings.
    pub fn new(cluster_id: &str, count: u8) -> Self {
        let rings = (0..count).map(|_| BTreeSet::new()).collect();
        Self { cluster_id: cluster_id.to_string(), rings }
    }

    /// Number of rings.
    pub fn count(&self) -> u8 {
        self.rings.len() as u8
    }

    /// Adds a member to every ring.
    pub fn insert(&mut self, id: MemberId) {
        for (ring, places) in self.rings.iter_mut().enumerate() {
            places.insert((position(&self.cluster_id, ring as u8, id), id));
        }
    }

    /// Takes a member from every ring.
    pub fn remove(&mut self, id: MemberId) {
        for (ring, places) in self.rings.iter_mut().enumerate() {
            places.remove(&(position(&self.cluster_id, ring as u8, id), id));
        }
    }

    /// Members at or after the place whose leading bits are `point`, once around.
    pub fn from_point(&self, ring: u8, point: u64) -> impl Iterator<Item = MemberId> {
        let places = &self.rings[usize::from(ring)];
        let from = (u128::from(point) << 64, MemberId([0; 16]));
        places.range(from..).chain(places.range(..from)).map(|(_, id)| *id)
    }

    /// See [`MemberTable::before`](crate::membership::table::MemberTable::before).
    pub fn before(&self, ring: u8, id: MemberId) -> impl Iterator<Item = MemberId> {
        let places = &self.rings[usize::from(ring)];
        let own = (position(&self.cluster_id, ring, id), id);
        let (below, above) = (places.range(..own).rev(), places.range(own..).rev());
        below.chain(above).map(|(_, id)| *id).filter(move |other| *other != id)
    }

    /// See [`MemberTable::after`](crate::membership::table::MemberTable::after).
    pub fn after(&self, ring: u8, id: MemberId) -> impl Iterator<Item = MemberId> {
        let places = &self.rings[usize::from(ring)];
        let own = (position(&self.cluster_id, ring, id), id);
        let (above, below) = (places.range(own..), places.range(..own));
        above.chain(below).map(|(_, id)| *id).filter(move |other| *other != id)
    }
}
