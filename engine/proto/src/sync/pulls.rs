//! Records asked for and not yet received (rule R-5).
//!
//! The hint that a record exists comes a few times within moments and then no more, so a request
//! that is lost is repeated, to whoever hinted last.
//!
//! Invariants: at most one request a member and version is under way; the number is bounded, for
//! each source of hints as well, and so are the repetitions; a request has a place in its source's
//! share.

use alloc::vec::Vec;

use crate::member::MemberId;
use crate::membership::record::RecordHash;
use crate::membership::shares::{Room, Shares};
use crate::membership::table::IdMap;
use crate::time::{Duration, Instant};

/// After so long a request is repeated.
const PATIENCE: Duration = Duration::from_millis(500);
/// So many requests, and it is given up until somebody hints again.
const TIMES: u32 = 16;

#[derive(Clone, Copy, Debug)]
struct Pull {
    hash: RecordHash,
    asked: Instant,
    times: u32,
    hinted_by: MemberId,
    /// When it began, and by whose hint: that one's share holds it.
    began: Instant,
    source: MemberId,
}

/// Open requests by member.
#[derive(Clone, Debug, Default)]
pub struct Pulls {
    open: IdMap<Pull>,
    shares: Shares,
    refused: u64,
}

impl Pulls {
    /// `from` hints at `hash` of `id`: whether to ask for it at `now`; if so, remembers it. A hint
    /// without room is worth nothing; another will come.
    pub fn begin(
        &mut self,
        now: Instant,
        from: MemberId,
        id: MemberId,
        hash: RecordHash,
        limit: usize,
    ) -> bool {
        if let Some(pull) = self.open.get_mut(&id)
            && pull.hash == hash
            && now.since(pull.asked) < PATIENCE
        {
            pull.hinted_by = from;
            return false;
        }
        if self.open.len() >= limit && !self.open.contains_key(&id) {
            self.keep(|pull| now.since(pull.asked) < PATIENCE);
        }
        let replaced = self.open.get(&id).map(|pull| pull.source);
        if replaced != Some(from) {
            let others = self.open.len() - usize::from(replaced.is_some());
            match self.shares.room(from, others, limit) {
                Room::Free => {}
                Room::InsteadOf(source) => {
                    self.refused += 1;
                    self.drop_oldest_of(source);
                }
                Room::None => {
                    self.refused += 1;
                    return false;
                }
            }
        }
        self.done(id);
        let pull = Pull { hash, asked: now, times: 1, hinted_by: from, began: now, source: from };
        self.open.insert(id, pull);
        self.shares.take(from);
        true
    }

    fn keep(&mut self, stays: impl Fn(&Pull) -> bool) {
        let shares = &mut self.shares;
        self.open.retain(|_, pull| {
            let stays = stays(pull);
            if !stays {
                shares.release(pull.source);
            }
            stays
        });
    }

    fn drop_oldest_of(&mut self, source: MemberId) {
        let held = self.open.iter().filter(|(_, pull)| pull.source == source);
        if let Some(id) = held.min_by_key(|(id, pull)| (pull.began, **id)).map(|(id, _)| *id) {
            self.done(id);
        }
    }

    /// Requests to be repeated at `now`: whom to ask for which record. They count as repeated.
    pub fn overdue(&mut self, now: Instant) -> Vec<(MemberId, MemberId, RecordHash)> {
        self.keep(|pull| pull.times < TIMES || now.since(pull.asked) < PATIENCE);
        let open = self.open.iter_mut().filter(|(_, pull)| now.since(pull.asked) >= PATIENCE);
        let again = open.map(|(id, pull)| {
            pull.asked = now;
            pull.times += 1;
            (*id, pull.hinted_by, pull.hash)
        });
        let mut again: Vec<_> = again.collect();
        // A map has no order of its own.
        again.sort_unstable();
        again.into_iter().map(|(id, from, hash)| (from, id, hash)).collect()
    }

    /// When the next request is to be repeated.
    pub fn due(&self) -> Option<Instant> {
        self.open.values().map(|pull| pull.asked + PATIENCE).min()
    }

    /// Requests that found no room, or made it for another (rule B-1).
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// A record of `id` arrived.
    pub fn done(&mut self, id: MemberId) {
        if let Some(pull) = self.open.remove(&id) {
            self.shares.release(pull.source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule R-5.
    #[test]
    fn a_record_is_asked_for_once_until_patience_ends() {
        let (a, b, c) = (MemberId([1; 16]), MemberId([2; 16]), MemberId([3; 16]));
        let at = |ms| Instant::ORIGIN + Duration::from_millis(ms);
        let mut pulls = Pulls::default();
        assert!(pulls.begin(at(0), c, a, RecordHash(1), 1));
        assert!(!pulls.begin(at(10), c, a, RecordHash(1), 1));
        assert!(pulls.begin(at(10), c, a, RecordHash(2), 1), "a newer version is another record");
        assert_eq!(pulls.refused(), 0);
        assert!(!pulls.begin(at(10), c, b, RecordHash(1), 1), "bounded");
        assert_eq!(pulls.refused(), 1, "and counted");
        assert!(pulls.begin(at(600), c, b, RecordHash(1), 1), "the stale one makes room");
        pulls.done(b);
        assert!(pulls.begin(at(601), c, b, RecordHash(1), 1));
    }

    /// Rule B-1: one source fills its share, and no more; when all is taken it makes room.
    #[test]
    fn nobody_holds_all_places() {
        let at = |ms| Instant::ORIGIN + Duration::from_millis(ms);
        let id = |n: u32| MemberId(core::array::from_fn(|i| n.to_le_bytes()[i % 4]));
        let mut pulls = Pulls::default();
        let granted = |pulls: &mut Pulls, source, range: core::ops::Range<u32>, limit| {
            range
                .filter(|n| {
                    pulls.begin(at(u64::from(*n) / 20), id(source), id(*n), RecordHash(1), limit)
                })
                .count()
        };
        assert_eq!(granted(&mut pulls, 1, 1_000..3_000, 1_024), 256);
        assert_eq!(granted(&mut pulls, 2, 3_000..3_100, 300), 44 + 56, "down to the smallest");
        assert_eq!(pulls.open.len(), 300);
        assert!(!pulls.open.contains_key(&id(1_055)) && pulls.open.contains_key(&id(1_056)));
        assert_eq!(granted(&mut pulls, 1, 9_000..9_009, 300), 0, "it holds most");
    }

    /// Rule R-5: what is lost is asked for again, of whoever hinted last, and not for ever.
    #[test]
    fn a_lost_request_is_repeated_a_few_times() {
        let (a, b, c) = (MemberId([1; 16]), MemberId([2; 16]), MemberId([3; 16]));
        let at = |ms| Instant::ORIGIN + Duration::from_millis(ms);
        let mut pulls = Pulls::default();
        assert!(pulls.begin(at(0), b, a, RecordHash(1), 9));
        assert!(!pulls.begin(at(10), c, a, RecordHash(1), 9));
        assert_eq!(pulls.due(), Some(at(500)));
        assert_eq!(pulls.overdue(at(499)), []);
        for turn in 1..16 {
            assert_eq!(pulls.overdue(at(500 * turn)), [(c, a, RecordHash(1))], "turn {turn}");
        }
        assert_eq!(pulls.overdue(at(8_000)), []);
        assert_eq!(pulls.due(), None);
    }
}
