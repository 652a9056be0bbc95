//! A map by SHA-256 that forgets its oldest entry when it is full.

use std::collections::{HashMap, VecDeque};

/// What is remembered by hash.
pub(super) struct Bounded<V> {
    entries: HashMap<[u8; 32], V>,
    order: VecDeque<[u8; 32]>,
    capacity: usize,
}

impl<V> Bounded<V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), capacity }
    }

    /// Remembers so many from here on; never fewer than before.
    pub(super) fn widen(&mut self, capacity: usize) {
        self.capacity = self.capacity.max(capacity);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn find(&self, hash: &[u8; 32]) -> Option<&V> {
        self.entries.get(hash)
    }

    pub(super) fn insert(&mut self, hash: [u8; 32], value: V) {
        if self.entries.insert(hash, value).is_none() {
            self.order.push_back(hash);
        }
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        assert_eq!(self.entries.len(), self.order.len(), "each entry has one place in the order");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_memory_forgets_its_oldest_entry() {
        let mut memory = Bounded::new(2);
        for (byte, value) in [(1, "a"), (2, "b"), (1, "c"), (3, "d")] {
            memory.insert([byte; 32], value);
        }
        let left: Vec<_> = (1..=3).filter_map(|byte| memory.find(&[byte; 32])).collect();
        assert_eq!(left, [&"b", &"d"]);
    }
}
