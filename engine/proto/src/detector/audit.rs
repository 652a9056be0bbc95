//! A few random acquaintances beside the ring (rule D-11).
//!
//! Ring neighbours alone would leave a corner of the mesh that nobody outside ever looks at. Once
//! a minute a random member is pinged: if it answers, it becomes an acquaintance to gossip with,
//! if not, its observers get a hint.
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
}

impl Acquaintances {
    /// `id` answered: it replaces the oldest.
    pub fn add(&mut self, id: MemberId) {
        if self.known.contains(&id) {
            return;
        }
        if self.known.len() == ACQUAINTANCES {
            self.known.pop_front();
        }
        self.known.push_back(id);
    }

    /// Keeps those for which `stays` holds.
    pub fn retain(&mut self, mut stays: impl FnMut(MemberId) -> bool) {
        self.known.retain(|id| stays(*id));
    }

    /// Whether there is room for more.
    pub fn has_room(&self) -> bool {
        self.known.len() < ACQUAINTANCES
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
        assert!(known.has_room());
    }
}
