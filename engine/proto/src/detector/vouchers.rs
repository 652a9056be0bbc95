//! Who goes on looking after us although others say that we are dead? (rule D-13)
//!
//! Whoever holds a member dead pings it no more, or says so with the ping. A death that all believe
//! has silenced every observer within seconds; where some still ping, and say nothing of the kind,
//! the mesh is of two minds, and only the accused can end that. It need not prove to anybody that it
//! is well: whoever pings it will see.
//!
//! Invariants: a member vouches once; at most [`MOST`] are remembered; nobody vouches before a death
//! that is news has spread.

use alloc::vec::Vec;

use crate::member::MemberId;
use crate::time::{Duration, Instant};

/// A death has silenced everybody within this time: a voter that hears of none for so long leads
/// itself (rule D-8).
const SPREADS: Duration = Duration::from_secs(3);
/// An accusation that nobody repeats for so long is over.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// Members remembered, the newest: many more than any quorum.
const MOST: usize = 64;

/// What is said of us, and who pings us all the same.
#[derive(Clone, Debug, Default)]
pub struct Vouchers {
    accused: Option<Accused>,
    by: Vec<(MemberId, Instant)>,
}

#[derive(Clone, Copy, Debug)]
struct Accused {
    since: Instant,
    last: Instant,
}

impl Vouchers {
    /// Somebody says that we are dead at our present incarnation; `holds` is who, if it holds us dead
    /// itself.
    pub fn accused(&mut self, now: Instant, holds: Option<MemberId>) {
        let goes_on = self.accused.filter(|accused| now.since(accused.last) < FORGOTTEN);
        let since = goes_on.map_or(now, |accused| accused.since);
        if goes_on.is_none() {
            self.by.clear();
        }
        self.accused = Some(Accused { since, last: now });
        self.by.retain(|(by, _)| Some(*by) != holds);
    }

    /// Whether a ping tells anything.
    pub fn listens(&self, now: Instant) -> bool {
        self.accused.is_some_and(|accused| {
            now.since(accused.since) >= SPREADS && now.since(accused.last) < FORGOTTEN
        })
    }

    /// `by` pinged us as one pings the living. Says whether so many have done so within `window`.
    pub fn vouched(&mut self, now: Instant, by: MemberId, enough: usize, window: Duration) -> bool {
        if !self.listens(now) {
            return false;
        }
        self.by.retain(|(other, at)| *other != by && now.since(*at) < window);
        if self.by.len() == MOST {
            self.by.remove(0);
        }
        self.by.push((by, now));
        self.by.len() >= enough
    }

    /// We live under a new incarnation, of which nobody has said anything.
    pub fn renewed(&mut self) {
        self.accused = None;
        self.by.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(16);

    fn id(n: u8) -> MemberId {
        MemberId([n; 16])
    }

    fn at(ms: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(ms)
    }

    fn accused() -> Vouchers {
        let mut vouchers = Vouchers::default();
        vouchers.accused(at(0), Some(id(9)));
        vouchers
    }

    /// Rule D-13: distinct members, after the death has spread, none of whom holds us dead.
    #[test]
    fn so_many_distinct_members_vouch() {
        let mut vouchers = accused();
        for (ms, n) in [(1_000, 1), (2_999, 2)] {
            assert!(!vouchers.vouched(at(ms), id(n), 1, WINDOW), "it may not have heard yet");
        }
        for (ms, n) in [(3_000, 1), (3_500, 2), (4_000, 2), (4_500, 1)] {
            assert!(!vouchers.vouched(at(ms), id(n), 3, WINDOW), "{n} again");
        }
        vouchers.accused(at(5_000), Some(id(2)));
        assert!(!vouchers.vouched(at(5_100), id(3), 3, WINDOW), "2 holds us dead");
        vouchers.accused(at(5_200), None);
        assert!(vouchers.vouched(at(5_300), id(4), 3, WINDOW));
        assert!(!Vouchers::default().vouched(at(9_000), id(1), 0, WINDOW), "nobody accuses us");
    }

    /// Rule D-13: what is long ago does not count.
    #[test]
    fn it_counts_for_a_while() {
        let mut vouchers = accused();
        assert!(!vouchers.vouched(at(3_000), id(1), 2, WINDOW));
        vouchers.accused(at(19_000), None);
        assert!(!vouchers.vouched(at(19_000), id(2), 2, WINDOW), "sixteen seconds ago");
        assert!(vouchers.vouched(at(19_001), id(1), 2, WINDOW));
        vouchers.renewed();
        assert!(!vouchers.listens(at(60_000)));
        vouchers.accused(at(60_000), None);
        assert!(vouchers.listens(at(89_999)) && !vouchers.listens(at(90_000)), "nobody repeats it");
        vouchers.accused(at(91_000), None);
        assert!(!vouchers.listens(at(93_999)) && vouchers.listens(at(94_000)), "begun anew");
    }

    #[test]
    fn memory_is_bounded() {
        let mut vouchers = accused();
        for n in 0..=u8::MAX {
            vouchers.vouched(at(3_000 + u64::from(n)), id(n), usize::MAX, WINDOW);
        }
        assert_eq!(vouchers.by.len(), MOST);
        assert_eq!(vouchers.by.last().map(|(by, _)| *by), Some(id(u8::MAX)));
    }
}
