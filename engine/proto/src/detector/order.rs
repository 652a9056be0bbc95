//! Whom to probe next (rule F-1).
//!
//! A shuffled round robin: every member is probed once a round, and two probes of one member are
//! never more than two rounds apart (SWIM §4.3). Small clusters keep the order between rounds,
//! which makes the distance exactly one round: the promise of rule F-6 counts on it.
//!
//! The order of a round is that of a keyed hash of the ids: a new key shuffles, the same key keeps
//! the order. So nobody has to hold it: the members are walked a stretch of the hash at a time,
//! and only those of the present stretch are listed. A list of a few kilobytes serves any number
//! of members, and looking through all of them once a stretch costs a probe N/256 steps at most.
//!
//! Invariants: an id stands in the list at most once; whom the order names depends on the key, the
//! members and the calls, never on the order in which members came.

use alloc::vec::Vec;

use crate::member::MemberId;

/// Largest cluster that keeps its order.
pub const KEEPS_ORDER: usize = 16;

/// So many members are listed at a time, on average.
const STRETCH: usize = 256;

/// The round robin.
#[derive(Clone, Debug, Default)]
pub struct ProbeOrder {
    /// Key of this round; `None` before the first.
    key: Option<u64>,
    /// Stretches of this round, and the present one.
    stretches: u64,
    stretch: u64,
    /// Whose turn is still to come in this stretch, the last one first.
    waiting: Vec<MemberId>,
}

impl ProbeOrder {
    /// A member has come, or come back. It has its turn in this round unless its stretch is over;
    /// then in the next.
    pub fn insert(&mut self, id: MemberId) {
        let Some(key) = self.key else { return };
        if self.stretch_of(key, id) != self.stretch {
            return;
        }
        let place = rank(key, id);
        if let Err(at) = self.waiting.binary_search_by(|other| place.cmp(&rank(key, *other))) {
            self.waiting.insert(at, id);
        }
    }

    /// The next member for which `is_target` holds; `None` when a whole round has none. `present`
    /// lists the present members other than ourselves, in any order; `is_present` knows them, and
    /// whoever departed meanwhile loses its turn. A round begun with `keeps` has the order of the
    /// round before.
    pub fn next<I: Iterator<Item = MemberId>>(
        &mut self,
        rng: &mut fastrand::Rng,
        keeps: bool,
        present: impl Fn() -> I,
        is_present: impl Fn(MemberId) -> bool,
        is_target: impl Fn(MemberId) -> bool,
    ) -> Option<MemberId> {
        let mut begun = false;
        loop {
            while let Some(id) = self.waiting.pop() {
                if is_present(id) && is_target(id) {
                    return Some(id);
                }
            }
            let key = match self.key {
                Some(key) if self.stretch + 1 < self.stretches => {
                    self.stretch += 1;
                    key
                }
                Some(_) | None if begun => return None,
                before => {
                    begun = true;
                    let key = before.filter(|_| keeps).unwrap_or_else(|| rng.u64(..));
                    self.key = Some(key);
                    self.stretches = present().count().div_ceil(STRETCH).max(1) as u64;
                    self.stretch = 0;
                    key
                }
            };
            self.list_stretch(key, present());
        }
    }

    fn list_stretch(&mut self, key: u64, present: impl Iterator<Item = MemberId>) {
        let (stretches, stretch) = (self.stretches, self.stretch);
        self.waiting.extend(present.filter(|id| share(key, *id, stretches) == stretch));
        self.waiting.sort_unstable_by_key(|id| core::cmp::Reverse(rank(key, *id)));
        debug_assert!(self.waiting.is_sorted_by(|a, b| a != b), "an id stands there once");
    }

    fn stretch_of(&self, key: u64, id: MemberId) -> u64 {
        share(key, id, self.stretches)
    }

    /// Probes begun in one interval: one, or within the promise's range clamp(64/N, 1, min(4,
    /// N−1)) for `members` present members.
    pub fn probes_per_interval(members: usize, promise: bool) -> usize {
        match members {
            0 | 1 => 0,
            2..=KEEPS_ORDER if promise => (64 / members).clamp(1, 4.min(members - 1)),
            _ => 1,
        }
    }
}

/// Place of `id` in a round: by keyed hash, ties by id.
fn rank(key: u64, id: MemberId) -> (u64, MemberId) {
    // The finaliser of SplitMix64 (Steele, Lea, Flood 2014): ids are hashes already, the key makes
    // a new order of them.
    let mut word = id.prefix() ^ key;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (word ^ (word >> 31), id)
}

/// The stretch in which `id` has its turn when a round has `stretches` of equal width.
fn share(key: u64, id: MemberId, stretches: u64) -> u64 {
    let wide = u128::from(rank(key, id).0) * u128::from(stretches);
    (wide >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::format;

    fn id(n: usize) -> MemberId {
        MemberId::derive("order", &format!("{n}"))
    }

    fn draw(order: &mut ProbeOrder, rng: &mut fastrand::Rng, ids: &[MemberId]) -> Option<MemberId> {
        let keeps = ids.len() <= KEEPS_ORDER;
        order.next(rng, keeps, || ids.iter().copied(), |id| ids.contains(&id), |_| true)
    }

    fn round(order: &mut ProbeOrder, rng: &mut fastrand::Rng, ids: &[MemberId]) -> Vec<MemberId> {
        ids.iter().map(|_| draw(order, rng, ids).unwrap()).collect()
    }

    /// Rule F-1.
    #[test]
    fn every_member_is_probed_once_a_round() {
        for members in [3, 16, 40, 2_000] {
            let mut rng = fastrand::Rng::with_seed(7);
            let mut order = ProbeOrder::default();
            let ids: Vec<_> = (0..members).map(id).collect();
            let rounds: Vec<_> = (0..4).map(|_| round(&mut order, &mut rng, &ids)).collect();
            for turns in &rounds {
                let distinct: BTreeSet<_> = turns.iter().collect();
                assert_eq!(distinct.len(), members, "{members} members");
            }
            let kept = rounds.windows(2).all(|pair| pair[0] == pair[1]);
            assert_eq!(kept, members <= KEEPS_ORDER, "small clusters keep their order");
            assert!(order.waiting.capacity() < 1_024, "{}", order.waiting.capacity());
        }
    }

    /// Rule F-1: shuffled means that everybody may come first, and after anybody.
    #[test]
    fn every_order_is_as_likely() {
        let mut rng = fastrand::Rng::with_seed(3);
        let ids: Vec<_> = (0..4).map(id).collect();
        let mut seen: BTreeMap<Vec<MemberId>, usize> = BTreeMap::new();
        let mut order = ProbeOrder::default();
        for _ in 0..24_000 {
            let turns = (0..4).map(|_| {
                order.next(&mut rng, false, || ids.iter().copied(), |_| true, |_| true).unwrap()
            });
            *seen.entry(turns.collect()).or_default() += 1;
        }
        assert_eq!(seen.len(), 24);
        // 1,000 each on average, standard deviation 31.
        assert!(seen.values().all(|n| (850..1_150).contains(n)), "{:?}", seen.values());
    }

    #[test]
    fn the_departed_lose_their_turn_and_an_empty_list_ends() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut order = ProbeOrder::default();
        assert_eq!(draw(&mut order, &mut rng, &[]), None);
        let ids = [id(1), id(2)];
        draw(&mut order, &mut rng, &ids);
        for _ in 0..4 {
            assert_eq!(draw(&mut order, &mut rng, &ids[1..]), Some(id(2)));
        }
        let nobody = order.next(&mut rng, true, || ids.iter().copied(), |_| true, |_| false);
        assert_eq!(nobody, None);
    }

    /// Rule F-1: a newcomer waits for its turn in this round or the next, not for the end of both.
    #[test]
    fn a_newcomer_has_its_turn_within_two_rounds() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut order = ProbeOrder::default();
        let mut ids: Vec<_> = (0..600).map(id).collect();
        for _ in 0..250 {
            draw(&mut order, &mut rng, &ids);
        }
        for n in 600..700 {
            ids.push(id(n));
            order.insert(id(n));
            order.insert(id(n));
        }
        let probed: BTreeSet<_> = (0..1_250).map(|_| draw(&mut order, &mut rng, &ids)).collect();
        assert_eq!(probed.len(), 700);
    }

    /// Rule F-6: the rate that the promise counts on.
    #[test]
    fn small_clusters_probe_faster_for_the_sake_of_the_promise() {
        let rates = |promise| {
            [1, 2, 3, 5, 8, 16, 17].map(|members| ProbeOrder::probes_per_interval(members, promise))
        };
        assert_eq!(rates(true), [0, 1, 2, 4, 4, 4, 1]);
        assert_eq!(rates(false), [0, 1, 1, 1, 1, 1, 1], "the papers probe once an interval");
    }

    proptest! {
        /// Whatever comes and goes, nobody is listed twice, and the order in which members came
        /// does not matter.
        #[test]
        fn the_list_holds_nobody_twice(
            steps in prop::collection::vec((0usize..40, 0u8..4), 1..300),
            keeps: bool,
        ) {
            let (mut one, mut other) = (ProbeOrder::default(), ProbeOrder::default());
            let mut rngs = [fastrand::Rng::with_seed(9), fastrand::Rng::with_seed(9)];
            let mut present: BTreeSet<MemberId> = BTreeSet::new();
            for (n, action) in steps {
                match action {
                    0 => { present.remove(&id(n)); }
                    1 => {
                        present.insert(id(n));
                        one.insert(id(n));
                        other.insert(id(n));
                    }
                    _ => {
                        let holds = |id| present.contains(&id);
                        let target = |id: MemberId| id.0[0] % 8 != n as u8 % 8;
                        let forth = || present.iter().copied();
                        let back = || present.iter().rev().copied();
                        let turn = one.next(&mut rngs[0], keeps, forth, holds, target);
                        let twin = other.next(&mut rngs[1], keeps, back, holds, target);
                        prop_assert_eq!(turn, twin);
                        let wanted = present.iter().any(|id| target(*id));
                        prop_assert_eq!(turn.is_some(), wanted);
                    }
                }
                let distinct: BTreeSet<_> = one.waiting.iter().collect();
                prop_assert_eq!(distinct.len(), one.waiting.len());
            }
        }
    }
}
