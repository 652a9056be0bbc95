//! Who has shown that it has an update (rule G-6).
//!
//! An update that others have need not be sent as often. A member speaks for itself alone: however
//! often it says the same, it counts once.
//!
//! Invariants: nobody stands here twice; a full list counts nobody, so that more is sent, not less.

use alloc::vec::Vec;

use crate::member::MemberId;

/// Members that count: as many as the largest limit that is spared in any cluster (rule G-1).
const COUNTED: usize = 32;
/// Members to whom an update does not go back.
const BROUGHT: usize = 4;

/// Those who have one update.
#[derive(Clone, Debug, Default)]
pub(super) struct Knowing {
    counted: Vec<MemberId>,
    brought: [Option<MemberId>; BROUGHT],
}

impl Knowing {
    /// `id` shows that it has the update; says whether that is news.
    pub(super) fn count(&mut self, id: MemberId) -> bool {
        if self.counted.len() == COUNTED || self.counted.contains(&id) {
            return false;
        }
        self.counted.push(id);
        true
    }

    /// How many have shown it.
    pub(super) fn counted(&self) -> usize {
        self.counted.len()
    }

    /// The update came from `id`.
    pub(super) fn bring(&mut self, id: MemberId) {
        if !self.brought_by(id)
            && let Some(place) = self.brought.iter_mut().find(|place| place.is_none())
        {
            *place = Some(id);
        }
    }

    /// Whether it came from there.
    pub(super) fn brought_by(&self, id: MemberId) -> bool {
        self.brought.contains(&Some(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule G-6.
    #[test]
    fn a_member_speaks_for_itself_and_once() {
        let id = |n: u8| MemberId([n; 16]);
        let mut knowing = Knowing::default();
        assert!(knowing.count(id(1)) && (0..100).all(|_| !knowing.count(id(1))));
        assert_eq!((2..=100).filter(|n| knowing.count(id(*n))).count(), COUNTED - 1);
        (0..100).for_each(|_| knowing.bring(id(1)));
        (2..=9).for_each(|n| knowing.bring(id(n)));
        let brought: Vec<u8> = (0..=100).filter(|n| knowing.brought_by(id(*n))).collect();
        assert_eq!(brought, [1, 2, 3, 4], "one that repeats itself has one place");
    }
}
