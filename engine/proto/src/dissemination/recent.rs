//! What changed here a moment ago: the shares that came into our digest and left it (rule G-6).
//!
//! Like a till that is short by exactly the price of one thing: the difference of two digests names
//! what the other side has not heard of, if that is among the latest changes. Whoever shows it is
//! told just that.
//!
//! Any set of the latest few is found; of many, as a storm brings them, any one or two. A new record
//! for an old one is two, since the other side may have held neither.
//!
//! Invariant: at most `MOST` shares, the oldest first.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::member::MemberId;
use crate::time::{Duration, Instant};

/// Shares that are remembered,
const MOST: usize = 256;
/// and for how long: an older death would not evict on arrival much longer (rule D-15).
const RECENT: Duration = Duration::from_secs(10);
/// Of the latest so many any set is found: their 2³² sums among 2⁶⁴ numbers are no two the same.
const ANY_SET: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Change {
    id: MemberId,
    /// What came into our digest, or left it.
    share: u64,
    at: Instant,
}

/// The latest changes.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    changes: VecDeque<Change>,
}

impl Recent {
    /// Whether a change of `id` is remembered.
    pub fn names(&self, now: Instant, id: MemberId) -> bool {
        self.changes.iter().any(|change| change.id == id && now.since(change.at) <= RECENT)
    }

    /// The share of `id` in our digest was the first of these and is the second; 0 stands for none.
    pub fn changed(&mut self, now: Instant, id: MemberId, (before, after): (u64, u64)) {
        if before == after {
            return;
        }
        for share in [before, after].into_iter().filter(|share| *share != 0) {
            if self.changes.len() >= MOST {
                self.changes.pop_front();
            }
            self.changes.push_back(Change { id, share, at: now });
        }
    }

    /// About whom somebody has not heard whose digest differs from ours by `difference`. Nobody, if
    /// the latest changes do not explain it: the other side may be ahead of us.
    ///
    /// Shares are well mixed, so no two sets of so few give one sum; which set gives this one is found
    /// as one solves linear equations, modulo two.
    pub fn explain(&mut self, now: Instant, difference: u64) -> Vec<MemberId> {
        while self.changes.front().is_some_and(|change| now.since(change.at) > RECENT) {
            self.changes.pop_front();
        }
        let first = self.changes.len().saturating_sub(ANY_SET);
        let latest = self.set_of_latest(first, difference);
        let mut ids: Vec<MemberId> = match latest {
            Some(set) => self
                .changes
                .range(first..)
                .enumerate()
                .filter_map(|(index, change)| (set & (1 << index) != 0).then_some(change.id))
                .collect(),
            None => self.one_or_two(difference),
        };
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Which of the changes from `first` on sum up to `difference`, a bit each.
    fn set_of_latest(&self, first: usize, difference: u64) -> Option<u32> {
        // Sums of shares, each with a leading bit of its own, and of which shares they are.
        let mut sums: Vec<(u64, u32)> = Vec::with_capacity(self.changes.len() - first);
        let reduce = |sums: &[(u64, u32)], (mut rest, mut of): (u64, u32)| {
            for (sum, shares) in sums {
                if rest ^ sum < rest {
                    (rest, of) = (rest ^ sum, of ^ shares);
                }
            }
            (rest, of)
        };
        for (index, change) in self.changes.range(first..).enumerate() {
            let (rest, of) = reduce(&sums, (change.share, 1 << index));
            if rest != 0 {
                let place = sums.partition_point(|(sum, _)| *sum > rest);
                sums.insert(place, (rest, of));
            }
        }
        let (rest, of) = reduce(&sums, (difference, 0));
        (rest == 0).then_some(of)
    }

    /// The one change, or the two, that make up `difference`; nobody, if none do.
    fn one_or_two(&self, difference: u64) -> Vec<MemberId> {
        if let Some(change) = self.changes.iter().find(|change| change.share == difference) {
            return [change.id].into();
        }
        let mut sorted: Vec<(u64, MemberId)> =
            self.changes.iter().map(|change| (change.share, change.id)).collect();
        sorted.sort_unstable();
        let other = |change: &Change| {
            let at = sorted.binary_search_by_key(&(difference ^ change.share), |(share, _)| *share);
            at.ok().and_then(|at| sorted.get(at)).map(|(_, id)| *id)
        };
        let pair = self.changes.iter().find_map(|change| Some([change.id, other(change)?]));
        pair.map(Vec::from).unwrap_or_default()
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
        for (n, share) in [(1, 0b0001), (2, 0b0010), (3, 0b0100)] {
            recent.changed(at(u64::from(n)), id(n), (0, share));
        }
        recent.changed(at(4), id(4), (0, 0));
        assert!(recent.names(at(5), id(2)) && !recent.names(at(5), id(4)));
        assert!(!recent.names(at(10_003), id(2)), "long ago");
        recent.changed(at(4), id(4), (7, 7));
        assert_eq!(recent.explain(at(5), 0b0010), [id(2)]);
        assert_eq!(recent.explain(at(5), 0b0101), [id(1), id(3)]);
        assert_eq!(recent.explain(at(5), 0b0111), [id(1), id(2), id(3)]);
        assert_eq!(recent.explain(at(5), 0b1000), [], "the other side is ahead");
        recent.changed(at(6), id(2), (0b0010, 0b1000));
        assert_eq!(recent.explain(at(7), 0b1010), [id(2)], "a new record for an old one");
        assert_eq!(recent.explain(at(7), 0b1000), [id(2)], "the old one was not held either");
        assert_eq!(recent.explain(at(10_002), 0b0001), [], "long ago");
        assert_eq!(recent.explain(at(10_002), 0b0010), [id(2)]);
    }

    /// Rule G-6: a storm has more changes than sets can be found of.
    #[test]
    fn of_many_changes_one_or_two_are_found() {
        let mut recent = Recent::default();
        let share = |n: u64| crate::membership::digest::mix(n);
        for n in 0..200 {
            recent.changed(at(n), id(n as u8), (0, share(n)));
        }
        let mut explain = |those: &[u64]| {
            let difference = those.iter().fold(0, |sum, n| sum ^ share(*n));
            recent.explain(at(200), difference)
        };
        assert_eq!(explain(&[3]), [id(3)]);
        assert_eq!(explain(&[3, 90]), [id(3), id(90)]);
        assert_eq!(explain(&[199, 3]), [id(3), id(199)]);
        assert_eq!(explain(&[3, 90, 91]), [], "that is for a sketch");
        let latest = [170, 180, 190, 199];
        assert_eq!(explain(&latest), latest.map(|n| id(n as u8)));
        assert_eq!(explain(&[3, 1_000]), [], "the other side is ahead as well");
    }

    /// Rule G-6: what is remembered is bounded; the oldest goes.
    #[test]
    fn the_oldest_change_makes_room() {
        let mut recent = Recent::default();
        for n in 0..=MOST as u64 {
            recent.changed(at(0), MemberId([(n % 251) as u8; 16]), (0, 0x1_0000 + n));
        }
        assert_eq!(recent.changes.len(), MOST);
        assert!(recent.changes.iter().all(|change| change.share != 0x1_0000));
        assert_eq!(recent.one_or_two(0x1_0001), [id(1)]);
    }
}
