//! Token buckets: so many at once, then so many a second (rule D-10).
//!
//! Invariants: 0 ≤ tokens ≤ burst; the buckets of many members are bounded in number.

use crate::member::MemberId;
use crate::membership::table::IdMap;
use crate::time::{Duration, Instant};

/// One bucket.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    burst: u32,
    /// Time that one token takes to come back.
    every: Duration,
    /// When the bucket is, or was, full.
    full_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, full_at: Instant::ORIGIN }
    }

    /// Takes a token if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.take_some(now, 1)
    }

    /// Takes so many tokens, or none.
    pub fn take_some(&mut self, now: Instant, tokens: u32) -> bool {
        let from = self.full_at.max(now);
        let owed = from.since(now) + self.every * tokens;
        if owed > self.every * self.burst {
            return false;
        }
        self.full_at = from + self.every * tokens;
        true
    }

    /// Returns tokens that were taken and not used.
    pub fn give_back(&mut self, tokens: usize) {
        self.full_at = self.full_at - self.every * tokens as u32;
    }

    /// When there will be a token.
    pub fn ready(&self, now: Instant) -> Instant {
        // A full bucket holds `burst`; the last of them is out while all but one are owed.
        now.max(self.full_at - self.every * self.burst.saturating_sub(1))
    }

    /// Whether nothing is owed: a bucket that need not be kept.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

/// Members in debt that are remembered: as many as may join at one instant (rule J-3).
pub const REMEMBERED: usize = 16_384;
/// With fewer buckets full ones are not looked for.
const FEW: usize = 1_024;

/// A bucket a member: nobody uses up what is there for all.
#[derive(Clone, Debug)]
pub struct Budgets {
    fresh: Bucket,
    buckets: IdMap<Bucket>,
    /// With so many buckets those that are full are dropped.
    sweep_at: usize,
}

impl Budgets {
    /// Full buckets for everybody.
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { fresh: Bucket::new(burst, every), buckets: IdMap::default(), sweep_at: FEW }
    }

    /// Takes a token of `id` if there is one. Where too many are in debt there is none for others.
    pub fn take(&mut self, now: Instant, id: MemberId) -> bool {
        self.take_some(now, id, 1)
    }

    /// Takes so many tokens of `id`, or none.
    pub fn take_some(&mut self, now: Instant, id: MemberId, tokens: u32) -> bool {
        if self.buckets.len() >= self.sweep_at && !self.buckets.contains_key(&id) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            self.sweep_at = (2 * self.buckets.len()).clamp(FEW, REMEMBERED);
            if self.buckets.len() >= REMEMBERED {
                return false;
            }
        }
        self.buckets.entry(id).or_insert(self.fresh).take_some(now, tokens)
    }

    /// Returns tokens that were taken of `id` for what turned out to be worth it.
    pub fn give_back(&mut self, id: MemberId, tokens: usize) {
        if let Some(bucket) = self.buckets.get_mut(&id) {
            bucket.give_back(tokens);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule D-10.
    #[test]
    fn a_burst_and_then_a_rate() {
        let at = |ms| Instant::ORIGIN + Duration::from_millis(ms);
        let mut bucket = Bucket::new(3, Duration::from_millis(100));
        let granted = |bucket: &mut Bucket, ms| (0..9).filter(|_| bucket.take(at(ms))).count();
        assert_eq!(granted(&mut bucket, 0), 3);
        assert_eq!(bucket.ready(at(0)), at(100));
        assert_eq!(granted(&mut bucket, 99), 0);
        assert_eq!(bucket.ready(at(150)), at(150));
        assert_eq!(granted(&mut bucket, 250), 2);
        assert!(!bucket.is_full(at(300)));
        assert!(bucket.is_full(at(1_000)));
        assert_eq!(granted(&mut bucket, 5_000), 3, "no more than the burst is saved up");
    }

    /// Rule S-13: what is given back can be taken again, and no more than was there.
    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (at, id) = (Instant::ORIGIN + Duration::from_secs(9), MemberId([1; 16]));
        let mut budgets = Budgets::new(3, Duration::from_secs(1));
        budgets.give_back(id, 5);
        assert!(budgets.take_some(at, id, 3) && !budgets.take(at, id));
        budgets.give_back(id, 2);
        assert!(budgets.take_some(at, id, 2) && !budgets.take(at, id));
        budgets.give_back(id, 9);
        assert!(budgets.take_some(at, id, 3) && !budgets.take(at, id));
    }

    /// Rule D-10: the debts of some are not the debts of others, and they are bounded.
    #[test]
    fn a_bucket_a_member() {
        let at = |ms| Instant::ORIGIN + Duration::from_millis(ms);
        let id = |n: u32| MemberId(core::array::from_fn(|i| n.to_le_bytes()[i % 4]));
        let mut budgets = Budgets::new(1, Duration::from_millis(100));
        assert!(budgets.take(at(0), id(0)) && !budgets.take(at(0), id(0)));
        assert!((1..REMEMBERED as u32).all(|n| budgets.take(at(0), id(n))));
        assert!(!budgets.take(at(99), id(50_000)), "bounded");
        assert!(budgets.take(at(100), id(50_000)), "whoever owes nothing is forgotten");
        assert_eq!(budgets.buckets.len(), 1);
    }
}
