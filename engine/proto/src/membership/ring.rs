//! Where members stand on the rings that tell who observes whom (rule D-1).
//!
//! Invariant: every present member stands on every ring once.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::member::MemberId;
use crate::membership::circle::{Circle, Forward, Names, Place};

pub use crate::membership::circle::Handle;

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

/// Tells positions; a test may place members where it likes.
pub trait Layout {
    /// Place of a member on a ring.
    fn position(&self, ring: u8, id: MemberId) -> u128;
}

/// [`position`] in one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashed {
    cluster_id: String,
}

impl Layout for Hashed {
    fn position(&self, ring: u8, id: MemberId) -> u128 {
        position(&self.cluster_id, ring, id)
    }
}

/// All rings of one table. Members are handles of their owner's, who tells the ids (`name`):
/// a ring costs some ten bytes a member. Walks begin in O(1) and allocate nothing.
#[derive(Clone, Debug)]
pub struct Rings<L = Hashed> {
    layout: L,
    rings: Vec<Circle>,
}

impl Rings {
    /// `count` empty rings of a cluster.
    pub fn new(cluster_id: &str, count: u8) -> Self {
        Self::with_layout(Hashed { cluster_id: cluster_id.to_string() }, count)
    }
}

impl<L: Layout> Rings<L> {
    /// `count` empty rings.
    pub fn with_layout(layout: L, count: u8) -> Self {
        let rings = (0..count).map(|_| Circle::default()).collect();
        Self { layout, rings }
    }

    /// Number of rings.
    pub fn count(&self) -> u8 {
        self.rings.len() as u8
    }

    /// Adds a member to every ring; nothing happens when it is there.
    pub fn insert(&mut self, handle: Handle, id: MemberId, name: impl Fn(Handle) -> MemberId) {
        for (ring, places) in (0..).zip(&mut self.rings) {
            let point = (self.layout.position(ring, id), Some(id));
            places.insert(point, handle, &On { layout: &self.layout, ring, name: &name });
        }
    }

    /// Takes a member from every ring; nothing happens when it is not there.
    pub fn remove(&mut self, handle: Handle, id: MemberId) {
        for (ring, places) in (0..).zip(&mut self.rings) {
            places.remove(self.layout.position(ring, id), handle);
        }
    }

    /// Members at or after the place whose leading bits are `point`, once around.
    pub fn from_point(
        &self,
        ring: u8,
        point: u64,
        name: impl Fn(Handle) -> MemberId,
    ) -> Forward<'_> {
        let names = On { layout: &self.layout, ring, name: &name };
        let point = (u128::from(point) << 64, None);
        self.rings[usize::from(ring)].forward(point, &names).0
    }

    /// See [`MemberTable::before`](crate::membership::table::MemberTable::before).
    pub fn before(
        &self,
        ring: u8,
        id: MemberId,
        name: impl Fn(Handle) -> MemberId,
    ) -> impl Iterator<Item = Place> {
        let names = On { layout: &self.layout, ring, name: &name };
        let places = &self.rings[usize::from(ring)];
        let point = (self.layout.position(ring, id), Some(id));
        let (others, member) = places.backward(point, &names);
        // The member itself comes last.
        others.take(places.len() - usize::from(member))
    }

    /// See [`MemberTable::after`](crate::membership::table::MemberTable::after).
    pub fn after(
        &self,
        ring: u8,
        id: MemberId,
        name: impl Fn(Handle) -> MemberId,
    ) -> impl Iterator<Item = Place> {
        let names = On { layout: &self.layout, ring, name: &name };
        let places = &self.rings[usize::from(ring)];
        let point = (self.layout.position(ring, id), Some(id));
        let (others, member) = places.forward(point, &names);
        // The member itself comes first.
        others.skip(usize::from(member))
    }
}

/// What one ring needs to settle ties.
struct On<'a, L, F> {
    layout: &'a L,
    ring: u8,
    name: &'a F,
}

impl<L: Layout, F: Fn(Handle) -> MemberId> Names for On<'_, L, F> {
    fn id(&self, handle: Handle) -> MemberId {
        (self.name)(handle)
    }

    fn position(&self, id: MemberId) -> u128 {
        self.layout.position(self.ring, id)
    }
}
