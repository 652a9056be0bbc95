//! Whether to look again before sleeping.
//!
//! A wake-up costs some 30 microseconds, so that an answer that is about to come is met sooner by a
//! loop that looks for it. A look that finds nothing is a core burnt for nobody: each one in a row
//! doubles the sleeps that follow without a look.
//!
//! Invariant: a loop that nobody talks to looks once in `SKIPS_MAX` sleeps.

use std::time::Duration;

use super::SPIN_MAX;

const SKIPS_MAX: u32 = 64;

/// The rule.
#[derive(Debug, Default)]
pub(crate) struct Spin {
    most: Duration,
    /// Sleeps that the next look that finds nothing is followed by.
    penalty: u32,
    /// Sleeps before the next look.
    skips_left: u32,
}

impl Spin {
    /// Looks for so long; zero never looks.
    pub(crate) fn set(&mut self, most: Duration) {
        *self = Self { most: most.min(SPIN_MAX), ..Self::default() };
    }

    /// Before a sleep of `wait`: how long to look first, if at all.
    pub(crate) fn before(&mut self, wait: Duration) -> Option<Duration> {
        let most = self.most.min(wait);
        if most.is_zero() {
            return None;
        }
        if self.skips_left > 0 {
            self.skips_left -= 1;
            return None;
        }
        Some(most)
    }

    /// A look found something, or not.
    pub(crate) fn looked(&mut self, found: bool) {
        self.penalty = if found { 0 } else { (2 * self.penalty).clamp(1, SKIPS_MAX) };
        self.skips_left = self.penalty;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(5);

    /// How many of so many sleeps a look comes before, none of which finds anything.
    fn looks(spin: &mut Spin, sleeps: u32) -> usize {
        let look = |_: &u32| {
            let looks = spin.before(WAIT).is_some();
            if looks {
                spin.looked(false);
            }
            looks
        };
        (0..sleeps).filter(look).count()
    }

    #[test]
    fn a_loop_does_not_look_unless_it_is_told_to() {
        let mut spin = Spin::default();
        assert_eq!(spin.before(WAIT), None);
        spin.set(Duration::from_micros(30));
        assert_eq!(spin.before(WAIT), Some(Duration::from_micros(30)));
        assert_eq!(spin.before(Duration::from_micros(10)), Some(Duration::from_micros(10)));
        assert_eq!(spin.before(Duration::ZERO), None);
        spin.set(Duration::from_secs(9));
        assert_eq!(spin.before(Duration::from_secs(9)), Some(SPIN_MAX));
    }

    #[test]
    fn looks_that_find_nothing_become_rare_and_one_that_does_brings_them_back() {
        let mut spin = Spin::default();
        spin.set(Duration::from_micros(30));
        assert!(looks(&mut spin, 10_000) < 10_000 / 50);
        while spin.before(WAIT).is_none() {}
        spin.looked(true);
        for _ in 0..10 {
            assert!(spin.before(WAIT).is_some());
            spin.looked(true);
        }
    }
}
