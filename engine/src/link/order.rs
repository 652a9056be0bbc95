//! The confirmed sessions with one member, the one to send on first.
//!
//! Nearly always it is one, and there is a list a member: a few need no allocation.
//!
//! Invariant: 0, which names nobody, stands behind the last of a few and nowhere else.

use std::ops::Deref;

const FEW: usize = 3;

/// Indices of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Few([u32; FEW]),
    /// In a box of its own: a vector is longer than everything else here.
    #[allow(clippy::box_collection)]
    Many(Box<Vec<u32>>),
}

const _: () = assert!(size_of::<Order>() == 16);

impl Default for Order {
    fn default() -> Self {
        Self::Few([0; FEW])
    }
}

impl Order {
    /// Puts `index` at the place `at`, or last.
    pub(super) fn insert(&mut self, at: usize, index: u32) {
        assert!(index != 0, "0 names nobody");
        let mut all = self.to_vec();
        all.insert(at.min(all.len()), index);
        *self = all.into();
    }

    /// Keeps those of which `stays` holds, in order.
    pub(super) fn retain(&mut self, stays: impl Fn(&u32) -> bool) {
        let mut all = self.to_vec();
        all.retain(stays);
        *self = all.into();
    }
}

impl From<Vec<u32>> for Order {
    fn from(all: Vec<u32>) -> Self {
        let mut few = [0; FEW];
        match few.get_mut(..all.len()) {
            Some(places) => {
                places.copy_from_slice(&all);
                Self::Few(few)
            }
            None => Self::Many(Box::new(all)),
        }
    }
}

impl Deref for Order {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        match self {
            Self::Few(few) => {
                let len = few.iter().position(|index| *index == 0).unwrap_or(FEW);
                &few[..len]
            }
            Self::Many(all) => all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_become_many_and_few_again() {
        let mut order = Order::default();
        assert!(order.is_empty());
        let mut model = Vec::new();
        for (index, at) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, 0)] {
            order.insert(at, index);
            model.insert(at, index);
            assert_eq!(*order, *model);
            assert_eq!(matches!(order, Order::Few(_)), index < 4);
        }
        order.retain(|index| *index % 2 == 1);
        assert_eq!(*order, [5, 3, 1]);
        assert!(matches!(order, Order::Few(_)));
        order.insert(9, 6);
        assert_eq!(*order, [5, 3, 1, 6]);
    }
}
