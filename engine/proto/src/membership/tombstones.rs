//! Lives that are over, and forgotten (rule S-11).
//!
//! A departed member is forgotten some day, but its last record stays signed until its certificate
//! ends: whoever kept it could bring it back as a newcomer. What stays is the id and the
//! incarnation, which is little.
//!
//! Invariants: a stone only forbids more, never less; the number is bounded, and the one that ends
//! first goes.

use alloc::collections::BTreeSet;

use crate::member::{Incarnation, MemberId};
use crate::membership::table::IdMap;
use crate::time::WallTime;

/// Stones kept: some 100 bytes each.
const MOST: usize = 16_384;

#[derive(Clone, Copy, Debug)]
struct Stone {
    incarnation: Incarnation,
    until: WallTime,
}

/// Lives that are over.
#[derive(Clone, Debug, Default)]
pub struct Tombstones {
    stones: IdMap<Stone>,
    order: BTreeSet<(WallTime, MemberId)>,
}

impl Tombstones {
    /// No record of `id` up to this incarnation counts any more, until the signer's certificate
    /// ends and nothing that it signed does.
    pub fn set(&mut self, id: MemberId, incarnation: Incarnation, until: WallTime) {
        let before = self.stones.get(&id).copied();
        let stone = before.map_or(Stone { incarnation, until }, |before| Stone {
            incarnation: before.incarnation.max(incarnation),
            until: before.until.max(until),
        });
        if let Some(before) = before {
            self.order.remove(&(before.until, id));
        }
        self.stones.insert(id, stone);
        self.order.insert((stone.until, id));
        if self.order.len() > MOST
            && let Some((_, first)) = self.order.pop_first()
        {
            self.stones.remove(&first);
        }
    }

    /// Whether this life of a member is over.
    pub fn forbids(&self, id: MemberId, incarnation: Incarnation) -> bool {
        self.stones.get(&id).is_some_and(|stone| incarnation <= stone.incarnation)
    }

    /// The last life of a member that is over.
    pub fn of(&self, id: MemberId) -> Option<Incarnation> {
        self.stones.get(&id).map(|stone| stone.incarnation)
    }

    /// Certificates that ended by `wall` sign nothing any more.
    pub fn forget(&mut self, wall: WallTime) {
        while let Some((until, id)) = self.order.first().copied()
            && until < wall
        {
            self.order.pop_first();
            self.stones.remove(&id);
        }
    }

    /// Stones kept.
    pub fn len(&self) -> usize {
        self.stones.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.stones.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(generation: u64) -> Incarnation {
        Incarnation { generation, counter: 0 }
    }

    /// Rule S-11.
    #[test]
    fn a_life_stays_over_until_its_certificate_ends() {
        let (id, other) = (MemberId([1; 16]), MemberId([2; 16]));
        let mut stones = Tombstones::default();
        stones.set(id, life(5), WallTime(100));
        stones.set(id, life(3), WallTime(90));
        assert!(stones.forbids(id, life(5)) && stones.forbids(id, life(4)));
        assert!(!stones.forbids(id, life(6)), "a new life is another matter");
        assert!(!stones.forbids(other, life(1)));
        stones.forget(WallTime(100));
        assert_eq!(stones.len(), 1);
        stones.forget(WallTime(101));
        assert!(stones.is_empty() && stones.order.is_empty());
    }

    /// Rule B-1.
    #[test]
    fn the_one_that_ends_first_makes_room() {
        let id = |n: u32| MemberId(core::array::from_fn(|i| n.to_le_bytes()[i % 4]));
        let mut stones = Tombstones::default();
        for n in 0..=MOST as u32 {
            stones.set(id(n), life(1), WallTime(1_000 + u64::from(n ^ 1)));
        }
        assert_eq!((stones.len(), stones.order.len()), (MOST, MOST));
        assert!(!stones.forbids(id(1), life(1)) && stones.forbids(id(0), life(1)));
    }
}
