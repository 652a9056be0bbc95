//! How often somebody may be wrong.
//!
//! Everybody has a small purse of attempts that refills slowly; the house has a large one. A wrong
//! attempt costs one coin of each, a right one nothing; with an empty purse nobody is heard.
//!
//! Invariant: the number of purses is bounded; a full one is forgotten without a difference.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Most purses kept.
const MAX_PURSES: usize = 4_096;

/// Attempts in a row, and how long one takes to come back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    pub(super) burst: u32,
    pub(super) refill: Duration,
}

/// Counts attempts by `K`.
#[derive(Debug)]
pub(super) struct Limiter<K> {
    each: Allowance,
    purses: HashMap<K, Purse>,
    all: (Allowance, Purse),
}

/// What is missing from a full purse, as the time until it is full again.
#[derive(Clone, Copy, Debug)]
struct Purse {
    full_at: Instant,
}

impl Purse {
    fn has_one(self, allowance: Allowance, now: Instant) -> bool {
        let missing = self.full_at.saturating_duration_since(now);
        missing + allowance.refill <= allowance.refill * allowance.burst
    }

    fn pay(&mut self, allowance: Allowance, now: Instant) {
        self.full_at = self.full_at.max(now) + allowance.refill;
    }
}

impl<K: Eq + Hash> Limiter<K> {
    pub(super) fn new(each: Allowance, all: Allowance, now: Instant) -> Self {
        Self { each, purses: HashMap::new(), all: (all, Purse { full_at: now }) }
    }

    /// Whether `key` may try.
    pub(super) fn may_try(&self, key: &K, now: Instant) -> bool {
        let (allowance, purse) = &self.all;
        purse.has_one(*allowance, now)
            && self.purses.get(key).is_none_or(|purse| purse.has_one(self.each, now))
    }

    /// Notes an attempt that costs.
    pub(super) fn pay(&mut self, key: K, now: Instant) {
        let (allowance, purse) = &mut self.all;
        purse.pay(*allowance, now);
        if self.purses.len() >= MAX_PURSES {
            self.purses.retain(|_, purse| purse.full_at > now);
        }
        // With all purses in use the large one alone decides.
        if self.purses.len() < MAX_PURSES || self.purses.contains_key(&key) {
            self.purses.entry(key).or_insert(Purse { full_at: now }).pay(self.each, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limiter(now: Instant, all: u32) -> Limiter<u32> {
        let allowance = |burst| Allowance { burst, refill: SECOND };
        Limiter::new(allowance(3), allowance(all), now)
    }

    #[test]
    fn a_purse_empties_and_refills_by_itself() {
        let now = Instant::now();
        let mut limiter = limiter(now, 1_000);
        for _ in 0..3 {
            assert!(limiter.may_try(&1, now));
            limiter.pay(1, now);
        }
        assert!(!limiter.may_try(&1, now));
        assert!(limiter.may_try(&2, now), "others are not concerned");
        assert!(!limiter.may_try(&1, now + SECOND / 2));
        assert!(limiter.may_try(&1, now + SECOND));
        limiter.pay(1, now + SECOND);
        assert!(!limiter.may_try(&1, now + SECOND), "one coin came back, not three");
    }

    #[test]
    fn all_together_are_bounded_in_attempts_and_in_memory() {
        let now = Instant::now();
        let mut small = limiter(now, 5);
        for key in 0..5 {
            assert!(small.may_try(&key, now));
            small.pay(key, now);
        }
        assert!(!small.may_try(&99, now));
        let mut wide = limiter(now, u32::MAX);
        for key in 0..3 * MAX_PURSES as u32 {
            wide.pay(key, now);
        }
        assert_eq!(wide.purses.len(), MAX_PURSES);
        wide.pay(1_000_000, now + 10 * SECOND);
        assert_eq!(wide.purses.len(), 1, "full purses are forgotten");
    }
}
