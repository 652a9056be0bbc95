//! A few random acquaintances beside the ring (rule D-11).
//!
//! Ring neighbours alone would leave a corner of the mesh that nobody outside ever looks at. Once
//! a minute a random member is pinged: if it answers, it becomes an acquaintance to gossip with,
//! if not, its observers get a hint.
//!
//! While there are fewer acquaintances than there could be, looks come faster: one an interval, after
//! each silence half as often, because a stranger that never answers must not be pinged for ever.
//!
//! Invariant: at most eight acquaintances, each of which has answered us.

use alloc::collections::VecDeque;

use crate::member::MemberId;
use crate::time::Duration;

/// Acquaintances kept.
pub const ACQUAINTANCES: usize = 8;
/// Between looks.
pub const EVERY: Duration = Duration::from_secs(60);
/// A look that is not answered by then fails.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// Observers that get the hint.
pub const HINTED: usize = 2;

/// The acquaintances, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Acquaintances {
    known: VecDeque<MemberId>,
    /// Looks in a row that failed.
    failures: u32,
}

impl Acquaintances {
    /// `id` answered: it replaces the oldest.
    pub fn add(&mut self, id: MemberId) {
        self.failures = 0;
        if self.known.contains(&id) {
            return;
        }
        if self.known.len() == ACQUAINTANCES {
            self.known.pop_front();
        }
        self.known.push_back(id);
    }

    /// A look was not answered.
    pub fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Whether `id` is one.
    pub fn contains(&self, id: MemberId) -> bool {
        self.known.contains(&id)
    }

    /// Keeps those for which `stays` holds.
    pub fn retain(&mut self, mut stays: impl FnMut(MemberId) -> bool) {
        self.known.retain(|id| stays(*id));
    }

    /// Whether there is room for more, where so many strangers exist.
    pub fn has_room(&self, strangers: usize) -> bool {
        self.known.len() < ACQUAINTANCES.min(strangers)
    }

    /// Time until the next look, of at least `interval`.
    pub fn wait(&self, interval: Duration, strangers: usize) -> Duration {
        if !self.has_room(strangers) {
            return EVERY;
        }
        interval.saturating_mul(1 << self.failures.min(16)).min(EVERY.max(interval))
    }

    /// The acquaintances.
    pub fn iter(&self) -> impl Iterator<Item = MemberId> {
        self.known.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Rule D-11.
    #[test]
    fn a_new_acquaintance_replaces_the_oldest() {
        let mut known = Acquaintances::default();
        (0..9).for_each(|n| known.add(MemberId([n; 16])));
        known.add(MemberId([4; 16]));
        let ids: Vec<u8> = known.iter().map(|id| id.0[0]).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7, 8]);
        known.retain(|id| id.0[0] != 5);
        assert!(known.has_room(9) && known.has_room(8) && !known.has_room(7));
    }

    /// Rule D-11: fast while somebody is left to meet, and slower with each silence.
    #[test]
    fn looks_are_hasty_only_while_they_are_worth_it() {
        let second = Duration::from_secs(1);
        let mut known = Acquaintances::default();
        assert_eq!(known.wait(second, 0), EVERY, "nobody is left");
        assert_eq!(known.wait(second, 1), second);
        (0..3).for_each(|_| known.failed());
        assert_eq!(known.wait(second, 1), second * 8);
        (0..40).for_each(|_| known.failed());
        assert_eq!(known.wait(second, 1), EVERY);
        known.add(MemberId([1; 16]));
        assert_eq!((known.wait(second, 2), known.wait(second, 1)), (second, EVERY));
        assert!(known.contains(MemberId([1; 16])) && !known.contains(MemberId([2; 16])));
    }
}
