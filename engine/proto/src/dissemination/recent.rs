//! What changed here a moment ago, and what it did to our digest (rule G-6).
//!
//! Like a till that is short by exactly the price of one thing: the difference of two digests names
//! what the other side has not heard of, if that is one or two of the latest changes. Whoever asks
//! is told just that.
//!
//! Invariant: at most [`MOST`] changes, the oldest first.

use alloc::collections::VecDeque;

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

    /// About whom somebody has not heard whose digest differs from ours by `difference`: one change,
    /// else two. The other side may also be ahead of us, or differ by more: then none.
    pub fn explain(
        &mut self,
        now: Instant,
        difference: u64,
    ) -> Option<(MemberId, Option<MemberId>)> {
        while self.changes.front().is_some_and(|change| now.since(change.at) > RECENT) {
            self.changes.pop_front();
        }
        let with = |wanted: u64| self.changes.iter().find(move |change| change.delta == wanted);
        if let Some(one) = with(difference) {
            return Some((one.id, None));
        }
        self.changes.iter().find_map(|one| {
            let other = with(difference ^ one.delta)?;
            Some((one.id, (other.id != one.id).then_some(other.id)))
        })
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
    fn a_difference_of_digests_names_one_or_two_changes() {
        let mut recent = Recent::default();
        for (n, delta) in [(1, 0b0001), (2, 0b0010), (3, 0b0100)] {
            recent.changed(at(u64::from(n)), id(n), delta);
        }
        recent.changed(at(4), id(4), 0);
        assert_eq!(recent.explain(at(5), 0b0010), Some((id(2), None)));
        assert_eq!(recent.explain(at(5), 0b0101), Some((id(1), Some(id(3)))));
        assert_eq!(recent.explain(at(5), 0b0111), None, "three are for a sketch");
        assert_eq!(recent.explain(at(5), 0b1000), None, "the other side is ahead");
        recent.changed(at(6), id(2), 0b1000);
        assert_eq!(recent.explain(at(7), 0b1010), Some((id(2), None)), "twice about one member");
        assert_eq!(recent.explain(at(10_002), 0b0001), None, "long ago");
        assert_eq!(recent.explain(at(10_002), 0b0010), Some((id(2), None)));
    }

    /// Rule G-6: what is remembered is bounded; the oldest goes.
    #[test]
    fn the_oldest_change_makes_room() {
        let mut recent = Recent::default();
        for n in 0..=MOST as u8 {
            recent.changed(at(0), id(n), 1 << n);
        }
        assert_eq!(recent.changes.len(), MOST);
        assert_eq!(recent.explain(at(0), 1), None);
        assert_eq!(recent.explain(at(0), 2), Some((id(1), None)));
    }
}
