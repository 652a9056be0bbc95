//! Whether so much changes at once that gossip alone cannot be relied on (rule A-6).
//!
//! Gossip leaves out a member here and there. Of few changes whoever lacks one is found by the
//! difference of two digests (rule G-6); of very many none is, and every one of thousands of pairs
//! of a member and a change must still come about within seconds.
//!
//! Invariant: what is older than two windows counts for nothing.

use crate::time::{Duration, Instant};

/// Changes are counted in windows of this length.
const WINDOW: Duration = Duration::from_secs(5);
/// So many changes in two windows are a storm: twice as many as rule G-6 can tell apart.
const STORM: u32 = 64;
/// In a large cluster more are usual: one for so many members, in ten seconds.
const MEMBERS_PER_CHANGE: usize = 64;

/// Changes of the view in the present window and in the one before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Storm {
    since: Instant,
    now: u32,
    before: u32,
}

impl Storm {
    /// The view changed.
    pub fn changed(&mut self, now: Instant) {
        self.turn(now);
        self.now = self.now.saturating_add(1);
    }

    /// Whether it changes too fast, among so many members.
    pub fn rages(&mut self, now: Instant, members: usize) -> bool {
        self.turn(now);
        let usual = u32::try_from(members / MEMBERS_PER_CHANGE).unwrap_or(u32::MAX);
        self.now.saturating_add(self.before) > usual.max(STORM)
    }

    fn turn(&mut self, now: Instant) {
        let past = now.since(self.since);
        if past >= WINDOW {
            self.before = if past < WINDOW * 2 { self.now } else { 0 };
            (self.since, self.now) = (now, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(ms)
    }

    /// Rule A-6.
    #[test]
    fn a_storm_is_many_changes_within_ten_seconds() {
        let mut storm = Storm::default();
        for change in 0..64 {
            storm.changed(at(change * 100));
        }
        assert!(!storm.rages(at(6_400), 1_000), "as many as may be usual");
        storm.changed(at(6_400));
        assert!(storm.rages(at(6_500), 1_000));
        assert!(!storm.rages(at(6_500), 6_400), "usual in a cluster of that size");
        assert!(!storm.rages(at(10_100), 1_000), "half of them are long ago");

        for change in 0..100 {
            storm.changed(at(30_000 + change));
        }
        assert!(storm.rages(at(34_000), 1_000) && storm.rages(at(39_000), 1_000));
        assert!(!storm.rages(at(46_000), 1_000), "over");
    }
}
