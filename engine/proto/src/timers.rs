//! One deadline per reason, the earliest first.
//!
//! Invariant: `due` and `by_key` hold the same pairs; a key has at most one deadline.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::time::Instant;

/// Deadlines keyed by reason. Setting and cancelling cost O(log n).
#[derive(Clone, Debug)]
pub struct Timers<K> {
    due: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K: Ord + Copy> Default for Timers<K> {
    fn default() -> Self {
        Self { due: BTreeSet::new(), by_key: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Timers<K> {
    /// Sets or moves the deadline of `key`.
    pub fn set(&mut self, key: K, at: Instant) {
        if let Some(previous) = self.by_key.insert(key, at) {
            self.due.remove(&(previous, key));
        }
        self.due.insert((at, key));
        debug_assert_eq!(self.due.len(), self.by_key.len(), "one deadline a key");
    }

    /// Forgets the deadline of `key`; returns it.
    pub fn cancel(&mut self, key: K) -> Option<Instant> {
        let at = self.by_key.remove(&key)?;
        self.due.remove(&(at, key));
        Some(at)
    }

    /// The deadline of `key`.
    pub fn deadline(&self, key: K) -> Option<Instant> {
        self.by_key.get(&key).copied()
    }

    /// The earliest deadline and its reason.
    pub fn next(&self) -> Option<(Instant, K)> {
        self.due.first().copied()
    }

    /// Takes the earliest deadline that has come at `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, key) = self.next()?;
        if at > now {
            return None;
        }
        self.cancel(key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;
    use proptest::prelude::*;
    use std::collections::BTreeMap as Model;

    proptest! {
        /// Against a plain map: any sequence of set, cancel and pop agrees.
        #[test]
        fn timers_behave_like_a_sorted_map(
            steps in prop::collection::vec((0u8..3, 0u8..6, 0u64..50), 1..200)
        ) {
            let mut timers = Timers::default();
            let mut model = Model::new();
            for (action, key, at) in steps {
                let at = Instant::from_nanos(at);
                match action {
                    0 => { timers.set(key, at); model.insert(key, at); }
                    1 => prop_assert_eq!(timers.cancel(key), model.remove(&key)),
                    _ => {
                        let due = model.iter().map(|(k, t)| (*t, *k)).min().filter(|(t, _)| *t <= at);
                        prop_assert_eq!(timers.pop_due(at), due.map(|(_, k)| k));
                        if let Some((_, k)) = due { model.remove(&k); }
                    }
                }
                let next = model.iter().map(|(k, t)| (*t, *k)).min();
                prop_assert_eq!(timers.next(), next);
            }
        }
    }

    #[test]
    fn a_moved_deadline_fires_once() {
        let mut timers = Timers::default();
        timers.set("a", Instant::from_nanos(5));
        timers.set("a", Instant::from_nanos(9));
        assert_eq!(timers.pop_due(Instant::from_nanos(5)), None);
        assert_eq!(timers.pop_due(Instant::ORIGIN + Duration::from_nanos(9)), Some("a"));
        assert_eq!(timers.pop_due(Instant::from_nanos(99)), None);
    }
}
