//! The confirmed sessions with one member, the one to send on first.
//!
//! Invariant: a handful at most; whoever does not fit is handed back, never dropped.

use std::ops::Deref;

/// Confirmed sessions with one member; the worst goes first.
const MOST_A_MEMBER: usize = 4;

/// Up to four indices; 0 names nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Order([u32; MOST_A_MEMBER]);

impl Order {
    /// Puts `index` at the place `at`, or last; returns whoever had to go for it.
    pub(super) fn insert(&mut self, at: usize, index: u32) -> Option<u32> {
        assert!(index != 0, "0 names nobody");
        let at = at.min(self.len()).min(MOST_A_MEMBER - 1);
        let surplus = self.0[MOST_A_MEMBER - 1];
        self.0.copy_within(at..MOST_A_MEMBER - 1, at + 1);
        self.0[at] = index;
        (surplus != 0).then_some(surplus)
    }

    /// Keeps those of which `stays` holds, in order.
    pub(super) fn retain(&mut self, stays: impl Fn(&u32) -> bool) {
        let mut kept = Self::default();
        for (place, index) in self.iter().filter(|index| stays(index)).enumerate() {
            kept.0[place] = *index;
        }
        *self = kept;
    }
}

impl Deref for Order {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        let len = self.0.iter().position(|index| *index == 0).unwrap_or(MOST_A_MEMBER);
        &self.0[..len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_makes_room() {
        let mut order = Order::default();
        assert_eq!([1, 2, 3].map(|index| order.insert(0, index)), [None; 3]);
        assert_eq!(order.insert(1, 4), None);
        assert_eq!(*order, [3, 4, 2, 1]);
        assert_eq!(order.insert(1, 5), Some(1));
        assert_eq!(*order, [3, 5, 4, 2]);
        order.retain(|index| *index != 5 && *index != 2);
        assert_eq!(*order, [3, 4]);
        assert_eq!(order.insert(9, 6), None);
        assert_eq!(*order, [3, 4, 6]);
    }
}
