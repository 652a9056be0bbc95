//! How often a member's record may change here (rule S-7).
//!
//! A member signs as many records as it likes, and every one that is applied is announced by
//! everybody who applies it: one sender's words cost the whole mesh. So a subject gets one a
//! second, five at once. What comes sooner waits, verified, and only the latest of it.
//!
//! Invariants: of one subject at most `BURST` + elapsed / `EVERY` records are let through; at
//! most one waits, and at most `WAITING` in all; only subjects in debt are remembered when the
//! book is tidied.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::member::MemberId;
use crate::membership::record::SignedRecord;
use crate::membership::table::IdMap;
use crate::time::{Duration, Instant};

/// Records of a subject at once, and the pause that earns one more.
const BURST: u32 = 5;
const EVERY: Duration = Duration::from_secs(1);
/// Subjects whose latest record waits.
const WAITING: usize = 1_024;
/// The book is tidied when it has grown to so many, or to twice what the last look left.
const TIDY: usize = 1_024;

/// What became of a record that came too soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It waits for its turn.
    Waits,
    /// It waits, and an earlier one went.
    Instead,
    /// A later one waits already, or there is no room.
    Dropped,
}

/// Turns of all subjects.
#[derive(Debug)]
pub struct Pace {
    /// When a subject's bucket will be full.
    full_at: IdMap<Instant>,
    waiting: IdMap<Arc<SignedRecord>>,
    tidy_at: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { full_at: IdMap::default(), waiting: IdMap::default(), tidy_at: TIDY }
    }
}

impl Pace {
    /// Takes a turn of `subject` if it has one.
    pub fn take(&mut self, now: Instant, subject: MemberId) -> bool {
        let from = self.full_at.get(&subject).map_or(now, |full| now.max(*full));
        if from.since(now) + EVERY > EVERY * BURST {
            return false;
        }
        self.full_at.insert(subject, from + EVERY);
        if self.full_at.len() >= self.tidy_at {
            self.full_at.retain(|_, full| *full > now);
            self.tidy_at = TIDY.max(2 * self.full_at.len());
        }
        true
    }

    /// Keeps a verified record until its subject has a turn.
    pub fn keep(&mut self, record: &Arc<SignedRecord>) -> Kept {
        let (subject, incarnation) = (record.record().id, record.record().incarnation);
        let room = self.waiting.len() < WAITING;
        match self.waiting.get_mut(&subject) {
            Some(waits) if waits.record().incarnation < incarnation => {
                *waits = record.clone();
                Kept::Instead
            }
            None if room => {
                self.waiting.insert(subject, record.clone());
                Kept::Waits
            }
            Some(_) | None => Kept::Dropped,
        }
    }

    /// The record of `subject` that waits.
    pub fn waiting(&self, subject: MemberId) -> Option<&Arc<SignedRecord>> {
        self.waiting.get(&subject)
    }

    /// Records whose subject has a turn by now; they wait no more.
    pub fn due(&mut self, now: Instant) -> Vec<Arc<SignedRecord>> {
        let ready = |id: &MemberId| self.ready(*id) <= now;
        let mut ids: Vec<MemberId> = self.waiting.keys().copied().filter(ready).collect();
        // A map has no order of its own.
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.waiting.remove(&id)).collect()
    }

    /// When [`Pace::due`] will have something.
    pub fn next(&self) -> Option<Instant> {
        self.waiting.keys().map(|id| self.ready(*id)).min()
    }

    fn ready(&self, subject: MemberId) -> Instant {
        let full = self.full_at.get(&subject).copied().unwrap_or(Instant::ORIGIN);
        full - EVERY * (BURST - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule S-7.
    #[test]
    fn five_at_once_and_then_one_a_second() {
        let at = |ms| Instant::ORIGIN + Duration::from_secs(60) + Duration::from_millis(ms);
        let (a, b) = (MemberId([1; 16]), MemberId([2; 16]));
        let mut pace = Pace::default();
        let turns = |pace: &mut Pace, ms, id| (0..9).filter(|_| pace.take(at(ms), id)).count();
        assert_eq!((turns(&mut pace, 0, a), turns(&mut pace, 0, b)), (5, 5));
        assert_eq!((turns(&mut pace, 999, a), turns(&mut pace, 1_000, a)), (0, 1));
        assert_eq!(pace.ready(a), at(2_000));
        assert_eq!(turns(&mut pace, 60_000, a), 5, "no more is saved up");
    }

    /// Rule S-7: the book of a mesh that changes as a whole stays as small as its debts.
    #[test]
    fn only_debts_are_remembered() {
        let at = |ms| Instant::ORIGIN + Duration::from_secs(60) + Duration::from_millis(ms);
        let id = |n: u32| MemberId(core::array::from_fn(|i| n.to_le_bytes()[i % 4]));
        let mut pace = Pace::default();
        assert!((0..5_000).all(|n| pace.take(at(0), id(n))), "nobody waits for others");
        for n in 0..5_000 {
            pace.take(at(2_000), id(10_000 + n));
        }
        assert!(pace.full_at.len() <= 2 * 5_000, "{}", pace.full_at.len());
        assert!(pace.full_at.keys().all(|key| *key != id(0)), "its debt is paid");
    }
}
