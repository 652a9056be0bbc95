//! Who was used last: three lists over the places of sessions, newest first.
//!
//! Everything is a few numbers in one array, eight bytes a place, so that moving a session to the
//! front touches no session.
//!
//! Invariant: a place stands in one list at most, and each list is in the order in which places
//! were put first.

/// Ends of lists; slots have 20 bits.
const NOBODY: u32 = (1 << 20) - 1;
const SLOT: u32 = NOBODY;
const LIST_SHIFT: u32 = 30;
/// Nodes made at once, at least.
const LEAST_GROWTH: usize = 16;

/// A list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// Hot whatever happens.
    Kept,
    /// Hot as long as it is used.
    Hot,
    /// Dehydrated.
    Cold,
}

/// Neighbours in a list. The list itself, 0 for none, is in the two highest bits of `newer`.
#[derive(Clone, Copy, Debug)]
struct Node {
    newer: u32,
    older: u32,
}

impl Node {
    const ALONE: Self = Self { newer: NOBODY, older: NOBODY };

    fn newer(self) -> u32 {
        self.newer & SLOT
    }

    fn list(self) -> Option<List> {
        match self.newer >> LIST_SHIFT {
            1 => Some(List::Kept),
            2 => Some(List::Hot),
            3 => Some(List::Cold),
            _ => None,
        }
    }

    fn set_newer(&mut self, slot: u32) {
        self.newer = self.newer & !SLOT | slot;
    }
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    newest: u32,
    oldest: u32,
    len: usize,
}

/// The lists.
#[derive(Debug)]
pub(super) struct Recency {
    nodes: Vec<Node>,
    ends: [Ends; 3],
}

impl Default for Recency {
    fn default() -> Self {
        let empty = Ends { newest: NOBODY, oldest: NOBODY, len: 0 };
        Self { nodes: Vec::new(), ends: [empty; 3] }
    }
}

impl Recency {
    /// Puts `slot` first in `list`, wherever it stood before.
    pub(super) fn put_first(&mut self, slot: u32, list: List) {
        assert!(slot < NOBODY, "the last place of all is never let");
        let ends = &self.ends[list as usize];
        if ends.newest == slot {
            return;
        }
        self.remove(slot);
        let place = slot as usize;
        if place >= self.nodes.len() {
            if place >= self.nodes.capacity() {
                // By an eighth, like the places of sessions.
                let more = (place + 1 - self.nodes.len()).max(self.nodes.len() / 8);
                self.nodes.reserve_exact(more.max(LEAST_GROWTH));
            }
            self.nodes.resize(place + 1, Node::ALONE);
        }
        let ends = &mut self.ends[list as usize];
        let before = std::mem::replace(&mut ends.newest, slot);
        ends.len += 1;
        if before == NOBODY {
            ends.oldest = slot;
        } else {
            self.nodes[before as usize].set_newer(slot);
        }
        let mark = (list as u32 + 1) << LIST_SHIFT;
        self.nodes[place] = Node { newer: mark | NOBODY, older: before };
    }

    /// Takes `slot` out of its list, if it is in one.
    pub(super) fn remove(&mut self, slot: u32) {
        let Some(list) = self.list_of(slot) else { return };
        let node = std::mem::replace(&mut self.nodes[slot as usize], Node::ALONE);
        let (newer, older) = (node.newer(), node.older);
        let ends = &mut self.ends[list as usize];
        ends.len -= 1;
        if newer == NOBODY {
            ends.newest = older;
        } else {
            self.nodes[newer as usize].older = older;
        }
        if older == NOBODY {
            ends.oldest = newer;
        } else {
            self.nodes[older as usize].set_newer(newer);
        }
    }

    /// Where `slot` stands.
    pub(super) fn list_of(&self, slot: u32) -> Option<List> {
        self.nodes.get(slot as usize).and_then(|node| node.list())
    }

    /// The one that was put first before all others in `list`.
    pub(super) fn oldest(&self, list: List) -> Option<u32> {
        let oldest = self.ends[list as usize].oldest;
        (oldest != NOBODY).then_some(oldest)
    }

    /// How many stand in `list`.
    pub(super) fn len(&self, list: List) -> usize {
        self.ends[list as usize].len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LISTS: [List; 3] = [List::Kept, List::Hot, List::Cold];

    proptest! {
        /// Against three plain queues.
        #[test]
        fn lists_are_in_order_of_use(
            steps in prop::collection::vec((0u32..24, 0usize..4), 1..300)
        ) {
            let mut recency = Recency::default();
            let mut model: [Vec<u32>; 3] = Default::default();
            for (slot, what) in steps {
                // Putting the newest first again changes nothing, which the model need not know.
                model.iter_mut().for_each(|list| list.retain(|other| *other != slot));
                match LISTS.get(what) {
                    Some(list) => {
                        recency.put_first(slot, *list);
                        model[*list as usize].push(slot);
                    }
                    None => recency.remove(slot),
                }
                for list in LISTS {
                    let expected = &model[list as usize];
                    prop_assert_eq!(recency.oldest(list), expected.first().copied());
                    prop_assert_eq!(recency.len(list), expected.len());
                    for slot in expected {
                        prop_assert_eq!(recency.list_of(*slot), Some(list));
                    }
                }
            }
            // Taken from the old end, all come out in order.
            for list in LISTS {
                let mut out = Vec::new();
                while let Some(slot) = recency.oldest(list) {
                    recency.remove(slot);
                    out.push(slot);
                }
                prop_assert_eq!(&out, &model[list as usize]);
            }
        }
    }
}
