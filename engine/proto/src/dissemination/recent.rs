//! What changed here a moment ago, and what it did to our digest (rule G-6).
//!
//! Like a till that is short by exactly the price of one thing: the difference of two digests names
//! what the other side has not heard of, if that is among the latest changes. Whoever shows it is
//! told just that.
//!
//! Invariant: at most [`MOST`] changes, the oldest first.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::member::MemberId;
use crate::time::{Duration, Instant};

/// Changes that are remembered,
const MOST: usize = 32;
/// and for how long: an older death would not evict on arrival much longer (rule D-15).
const RECENT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
struct Change {
    id: MemberId,
    /// Our digest before XOR after.
    delta: u64,
    at: Instant,
}

/// The latest changes.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    changes: VecDeque<Change>,
}

impl Recent {
    /// A claim about `id` changed our digest by `delta`.
    pub fn changed(&mut self, now: Instant, id: MemberId, delta: u64) {
        if delta == 0 {
            return;
        }
        if self.changes.len() >= MOST {
            self.changes.pop_front();
        }
        self.changes.push_back(Change { id, delta, at: now });
    }

    /// About whom somebody has not heard whose digest differs from ours by `difference`. Nobody, if
    /// the latest changes do not explain it: the other side may be ahead of us.
    ///
    /// Deltas are well mixed, so no two sets of so few give one sum; which set gives this one is found
    /// as one solves linear equations, modulo two.
    pub fn explain(&mut self, now: Instant, difference: u64) -> Vec<MemberId> {
        while self.changes.front().is_some_and(|change| now.since(change.at) > RECENT) {
            self.changes.pop_front();
        }
        // Sums of deltas, each with a leading bit of its own, and of which deltas they are.
        let mut sums: Vec<(u64, u32)> = Vec::with_capacity(self.changes.len());
        let reduce = |sums: &[(u64, u32)], (mut rest, mut of): (u64, u32)| {
            for (sum, deltas) in sums {
                if rest ^ sum < rest {
                    (rest, of) = (rest ^ sum, of ^ deltas);
                }
            }
            (rest, of)
        };
        for (index, change) in self.changes.iter().enumerate() {
            let (rest, of) = reduce(&sums, (change.delta, 1 << index));
            if rest != 0 {
                let place = sums.partition_point(|(sum, _)| *sum > rest);
                sums.insert(place, (rest, of));
            }
        }
        let (0, of) = reduce(&sums, (difference, 0)) else { return Vec::new() };
        let named = self.changes.iter().enumerate().filter(|(index, _)| of & (1 << index) != 0);
        let mut ids: Vec<MemberId> = named.map(|(_, change)| change.id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(ms)
    }

    fn id(n: u8) -> MemberId {
        MemberId([n; 16])
    }

    /// Rule G-6.
    #[test]
    fn a_difference_of_digests_names_the_changes_behind_it() {
        let mut recent = Recent::default();
        for (n, delta) in [(1, 0b0001), (2, 0b0010), (3, 0b0100)] {
            recent.changed(at(u64::from(n)), id(n), delta);
        }
        recent.changed(at(4), id(4), 0);
        assert_eq!(recent.explain(at(5), 0b0010), [id(2)]);
        assert_eq!(recent.explain(at(5), 0b0101), [id(1), id(3)]);
        assert_eq!(recent.explain(at(5), 0b0111), [id(1), id(2), id(3)]);
        assert_eq!(recent.explain(at(5), 0b1000), [], "the other side is ahead");
        recent.changed(at(6), id(2), 0b1000);
        assert_eq!(recent.explain(at(7), 0b1010), [id(2)], "twice about one member");
        assert_eq!(recent.explain(at(10_002), 0b0001), [], "long ago");
        assert_eq!(recent.explain(at(10_002), 0b0010), [id(2)]);
    }

    /// Rule G-6: what is remembered is bounded; the oldest goes.
    #[test]
    fn the_oldest_change_makes_room() {
        let mut recent = Recent::default();
        for n in 0..=MOST as u8 {
            recent.changed(at(0), id(n), 1 << n);
        }
        assert_eq!(recent.changes.len(), MOST);
        assert_eq!(recent.explain(at(0), 1), []);
        assert_eq!(recent.explain(at(0), 2), [id(1)]);
    }
}
