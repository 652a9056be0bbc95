//! Whom to probe next (rule F-1).
//!
//! A shuffled round robin: every member is probed once a round, and two probes of one member are
//! never more than two rounds apart (SWIM §4.3). Small clusters keep the order between rounds,
//! which makes the distance exactly one round: the promise of rule F-6 counts on it.
//!
//! Invariant: the list holds each id at most once; ids that are no longer present are dropped when
//! their turn comes.

use alloc::vec::Vec;

use crate::member::MemberId;

/// Largest cluster that keeps its order.
pub const KEEPS_ORDER: usize = 16;

/// The round robin.
#[derive(Clone, Debug, Default)]
pub struct ProbeOrder {
    ids: Vec<MemberId>,
    next: usize,
}

impl ProbeOrder {
    /// A shuffled round over these members, whose order does not matter.
    pub fn of(mut ids: Vec<MemberId>, rng: &mut fastrand::Rng) -> Self {
        ids.sort_unstable();
        rng.shuffle(&mut ids);
        Self { ids, next: 0 }
    }

    /// Adds a member at a random place among those whose turn is still to come, or anywhere when
    /// the round is nearly over.
    pub fn insert(&mut self, id: MemberId, rng: &mut fastrand::Rng) {
        if self.ids.contains(&id) {
            return;
        }
        let at = rng.usize(0..=self.ids.len());
        self.ids.insert(at, id);
        if at < self.next {
            self.next += 1;
        }
    }

    /// The next member for which `is_target` holds; `None` when there is none. Members for which
    /// `is_known` does not hold are dropped.
    pub fn next(
        &mut self,
        rng: &mut fastrand::Rng,
        mut is_known: impl FnMut(MemberId) -> bool,
        mut is_target: impl FnMut(MemberId) -> bool,
    ) -> Option<MemberId> {
        for _ in 0..self.ids.len() {
            if self.next >= self.ids.len() {
                self.next = 0;
                if self.ids.len() > KEEPS_ORDER {
                    rng.shuffle(&mut self.ids);
                }
            }
            let id = *self.ids.get(self.next)?;
            if !is_known(id) {
                self.ids.remove(self.next);
                continue;
            }
            self.next += 1;
            if is_target(id) {
                return Some(id);
            }
        }
        None
    }

    /// Probes begun in one interval: clamp(64/N, 1, min(4, N−1)) for `members` present members
    /// within the promise's range, else one.
    pub fn probes_per_interval(members: usize) -> usize {
        match members {
            0 | 1 => 0,
            2..=KEEPS_ORDER => (64 / members).clamp(1, 4.min(members - 1)),
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn id(n: u8) -> MemberId {
        MemberId([n; 16])
    }

    /// Rule F-1.
    #[test]
    fn every_member_is_probed_once_a_round() {
        for members in [3, 16, 40] {
            let mut rng = fastrand::Rng::with_seed(7);
            let mut order = ProbeOrder::default();
            for n in 0..members {
                order.insert(id(n), &mut rng);
            }
            for round in 0..5 {
                let mut counts = BTreeMap::new();
                for _ in 0..members {
                    let next = order.next(&mut rng, |_| true, |_| true).unwrap();
                    *counts.entry(next).or_insert(0) += 1;
                }
                assert!(counts.values().all(|n| *n == 1), "{members} members, round {round}");
            }
        }
    }

    #[test]
    fn the_departed_are_dropped_and_an_empty_list_ends() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut order = ProbeOrder::default();
        assert_eq!(order.next(&mut rng, |_| true, |_| true), None);
        order.insert(id(1), &mut rng);
        order.insert(id(2), &mut rng);
        for _ in 0..4 {
            assert_eq!(order.next(&mut rng, |x| x == id(2), |_| true), Some(id(2)));
        }
        assert_eq!(order.ids.len(), 1);
        assert_eq!(order.next(&mut rng, |_| true, |_| false), None);
    }

    /// Rule F-6: the rate that the promise counts on.
    #[test]
    fn small_clusters_probe_faster() {
        let rates: Vec<_> = [1, 2, 3, 5, 8, 16, 17].map(ProbeOrder::probes_per_interval).to_vec();
        assert_eq!(rates, [0, 1, 2, 4, 4, 4, 1]);
    }
}
