//! Two lists of slots, present and departed, from which a random one is drawn in O(1).
//!
//! Invariant: `place[slot]` is where the slot stands in its list, and every slot stands in at
//! most one.

use alloc::vec::Vec;

/// Index of a member in its table.
pub type Slot = u32;

/// Which list a slot stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Alive or suspect.
    Present,
    /// Dead or left.
    Departed,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    list: List,
    at: u32,
}

/// The two lists.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    present: Vec<Slot>,
    departed: Vec<Slot>,
    places: Vec<Option<Place>>,
}

impl Roster {
    /// The slots of one list, in no meaningful order.
    pub fn slots(&self, list: List) -> &[Slot] {
        match list {
            List::Present => &self.present,
            List::Departed => &self.departed,
        }
    }

    /// Moves `slot` to `list`, from wherever it stood.
    pub fn put(&mut self, slot: Slot, list: List) {
        if self.place(slot).is_some_and(|place| place.list == list) {
            return;
        }
        self.remove(slot);
        if self.places.len() <= slot as usize {
            self.places.resize(slot as usize + 1, None);
        }
        let slots = self.list_mut(list);
        slots.push(slot);
        let at = slots.len() as u32 - 1;
        self.places[slot as usize] = Some(Place { list, at });
    }

    /// Takes `slot` out of its list.
    pub fn remove(&mut self, slot: Slot) {
        let Some(Place { list, at }) = self.place(slot) else { return };
        let slots = self.list_mut(list);
        slots.swap_remove(at as usize);
        let moved = slots.get(at as usize).copied();
        if let Some(moved) = moved {
            self.places[moved as usize] = Some(Place { list, at });
        }
        self.places[slot as usize] = None;
    }

    fn place(&self, slot: Slot) -> Option<Place> {
        self.places.get(slot as usize).copied().flatten()
    }

    fn list_mut(&mut self, list: List) -> &mut Vec<Slot> {
        match list {
            List::Present => &mut self.present,
            List::Departed => &mut self.departed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn lists_hold_what_was_put(steps in prop::collection::vec((0u32..20, 0u8..3), 0..200)) {
            let mut roster = Roster::default();
            let mut model: BTreeMap<u32, bool> = BTreeMap::new();
            for (slot, action) in steps {
                match action {
                    0 => { roster.put(slot, List::Present); model.insert(slot, true); }
                    1 => { roster.put(slot, List::Departed); model.insert(slot, false); }
                    _ => { roster.remove(slot); model.remove(&slot); }
                }
                for (list, present) in [(List::Present, true), (List::Departed, false)] {
                    let mut found = roster.slots(list).to_vec();
                    found.sort_unstable();
                    let expected: Vec<_> = model
                        .iter()
                        .filter_map(|(slot, value)| (*value == present).then_some(*slot))
                        .collect();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
