//! Datagrams for the sake of updates beyond the few that each has for certain (rule G-6): what comes
//! once in a while is told at once, what comes all the time with what leaves anyway.
//!
//! Invariant: no more is spent than a full purse and what came in since.

use crate::time::{Duration, Instant};

/// The purse.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purse {
    left: u32,
    /// Of the last one that was put in.
    filled: Instant,
}

impl Purse {
    const MOST: u32 = 96;
    const EVERY: Duration = Duration::from_secs(8);

    /// Takes as many of `wished` as are there.
    pub(super) fn spend(&mut self, now: Instant, wished: u32) -> u32 {
        let due = now.since(self.filled).as_nanos() / Self::EVERY.as_nanos();
        let due = u32::try_from(due).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(due).min(Self::MOST);
        self.filled = if self.left == Self::MOST { now } else { self.filled + Self::EVERY * due };
        let spent = self.left.min(wished);
        self.left -= spent;
        spent
    }
}

impl Default for Purse {
    fn default() -> Self {
        Self { left: Self::MOST, filled: Instant::ORIGIN }
    }
}
