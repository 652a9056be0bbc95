//! Whether so much changes at once that gossip alone cannot be relied on (rule A-6).
//!
//! Gossip leaves out a member here and there. Of few changes whoever lacks one is found by the
//! difference of two digests (rule G-6); of very many none is, and every one of thousands of pairs
//! of a member and a change must still come about within seconds.
//!
//! Invariants: what is older than two windows counts for nothing; between two long calms it rages for
//! `LONGEST` at most.

use crate::time::{Duration, Instant};

/// Changes are counted in windows of this length.
const WINDOW: Duration = Duration::from_secs(5);
/// So many changes in two windows are a storm: twice as many as rule G-6 can tell apart.
const STORM: u32 = 64;
/// In a large cluster more are usual: one for so many members, in ten seconds.
const MEMBERS_PER_CHANGE: usize = 64;

/// What has raged for so long, pauses included, is how things are: a few members that change all the
/// time would else have everybody reconcile twice a second for ever.
const LONGEST: Duration = Duration::from_secs(60);
/// After so long a calm the next storm is a new one.
const CALM: Duration = Duration::from_secs(60);

/// Changes of the view in the present window and in the one before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Storm {
    since: Instant,
    now: u32,
    before: u32,
    /// Whether there were too many when we looked last,
    high: bool,
    /// and when that was.
    looked: Instant,
    /// Since when there are not.
    calm: Option<Instant>,
    /// How long it has raged since the last long calm.
    raged: Duration,
    storms: u64,
}

impl Storm {
    /// The view changed, among so many members.
    pub fn changed(&mut self, now: Instant, members: usize) {
        self.turn(now);
        self.now = self.now.saturating_add(1);
        self.look(now, members);
    }

    /// Whether it changes too fast, among so many members, and has not done so for too long.
    pub fn rages(&mut self, now: Instant, members: usize) -> bool {
        self.turn(now);
        self.look(now, members);
        self.high && self.raged < LONGEST
    }

    /// Storms, each of them after a long calm.
    pub fn storms(&self) -> u64 {
        self.storms
    }

    /// Keeps account of what was since the last look. Whoever changes all the time makes us look all
    /// the time; where nobody looks nothing changes, and no storm outlasts that by two windows.
    fn look(&mut self, now: Instant, members: usize) {
        let usual = u32::try_from(members / MEMBERS_PER_CHANGE).unwrap_or(u32::MAX);
        let high = self.now.saturating_add(self.before) > usual.max(STORM);
        let over = now.min(self.looked + WINDOW * 2);
        if self.high {
            self.raged = (self.raged + over.since(self.looked)).min(LONGEST);
        }
        if high {
            let rested = self.calm.is_some_and(|calm| now.since(calm) >= CALM);
            if rested || self.storms == 0 {
                (self.raged, self.storms) = (Duration::ZERO, self.storms + 1);
            }
            self.calm = None;
        } else if self.calm.is_none() {
            self.calm = Some(over);
        }
        (self.high, self.looked) = (high, now);
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
            storm.changed(at(change * 100), 1_000);
        }
        assert!(!storm.rages(at(6_400), 1_000), "as many as may be usual");
        storm.changed(at(6_400), 1_000);
        assert!(storm.rages(at(6_500), 1_000));
        assert!(!storm.rages(at(6_500), 6_400), "usual in a cluster of that size");
        assert!(!storm.rages(at(10_100), 1_000), "half of them are long ago");

        for change in 0..100 {
            storm.changed(at(30_000 + change), 1_000);
        }
        assert!(storm.rages(at(34_000), 1_000) && storm.rages(at(39_000), 1_000));
        assert!(!storm.rages(at(46_000), 1_000), "over");
    }

    /// Rule A-6: whoever keeps a storm up, without a pause or with pauses as long as it takes to be calm
    /// for a moment, has a minute of it; after a minute of calm the next storm is one again.
    #[test]
    fn no_storm_rages_for_ever() {
        let raging = |pause: u64| {
            let mut storm = Storm::default();
            let mut raged = 0;
            for second in 0..1_800 {
                if second % (20 + pause) < 20 {
                    (0..50).for_each(|n| storm.changed(at(second * 1_000 + n), 1_000));
                }
                raged += u32::from(storm.rages(at(second * 1_000 + 500), 1_000));
            }
            (raged, storm.storms())
        };
        for pause in [0, 5, 15, 40, 60] {
            let (raged, storms) = raging(pause);
            assert!((55..=65).contains(&raged) && storms == 1, "{pause}: {raged} of {storms}");
        }
        let (raged, storms) = raging(80);
        assert_eq!(storms, 18, "each after a calm of its own");
        assert!(raged >= 18 * 20, "{raged}");
    }
}
