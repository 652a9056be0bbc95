//! How often something may begin: a bucket of tokens that refills with time (rules S-7, S-18).
//!
//! Invariant: between any two moments at most `burst` + elapsed/`refill` tokens are given.

use mesh_gossip_proto::{Duration, Instant};

/// Tokens left as of a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    refill: Duration,
    burst: u32,
    /// When the bucket will be full again; tokens owed lie between now and then.
    full_at: Instant,
}

impl Pace {
    /// A full bucket of `burst` tokens, one more each `refill`.
    pub(crate) fn new(burst: u32, refill: Duration) -> Self {
        Self { refill, burst, full_at: Instant::ORIGIN }
    }

    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let base = self.full_at.max(now);
        let owed = base.since(now) + self.refill;
        if owed > self.refill * self.burst {
            return false;
        }
        self.full_at = base + self.refill;
        true
    }

    /// Fills the bucket.
    pub(crate) fn fill(&mut self) {
        self.full_at = Instant::ORIGIN;
    }

    /// Whether the bucket is full: it remembers nothing worth keeping.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule S-18: a burst of three, then one in ten seconds.
    #[test]
    fn a_burst_then_one_each_refill() {
        let at = |s: u64| Instant::ORIGIN + Duration::from_secs(100 + s);
        let mut pace = Pace::new(3, Duration::from_secs(10));
        assert!(pace.is_full(at(0)));
        assert_eq!([0, 0, 0, 0, 9].map(|s| pace.take(at(s))), [true, true, true, false, false]);
        assert!(pace.take(at(10)));
        assert!(!pace.take(at(11)));
        assert!(!pace.is_full(at(39)));
        assert!(pace.is_full(at(60)));
        assert_eq!([60, 60, 60, 60].map(|s| pace.take(at(s))), [true, true, true, false]);
    }
}
