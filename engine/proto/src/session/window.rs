//! Which packet numbers of one direction have been seen (rule S-4).
//!
//! Invariant: a number is accepted at most once; numbers more than 127 below the highest accepted
//! one are never accepted.

/// Numbers remembered.
pub const WIDTH: u64 = 128;

/// A sliding window over packet numbers.
#[derive(Debug, Default)]
pub struct ReplayWindow {
    /// One above the highest accepted number.
    next: u64,
    /// Bit i: number `next - 1 - i` was accepted; the low half first, which packs more densely
    /// than one number of 16 bytes.
    seen: [u64; 2],
}

impl ReplayWindow {
    /// Whether `number` could still be accepted.
    pub fn is_fresh(&self, number: u64) -> bool {
        if number >= self.next {
            // The last number has no successor to remember it by.
            return number < u64::MAX;
        }
        let age = self.next - 1 - number;
        age < WIDTH && self.seen() & (1 << age) == 0
    }

    /// Accepts `number`, which must be fresh: call it only for an authenticated packet.
    pub fn accept(&mut self, number: u64) {
        assert!(self.is_fresh(number), "a packet number is accepted once");
        if number >= self.next {
            let ahead = number - self.next;
            // Shifted by one more: both steps stay below the width.
            let seen = if ahead < WIDTH - 1 { self.seen() << ahead << 1 } else { 0 };
            self.next = number + 1;
            self.set_seen(seen | 1);
        } else {
            self.set_seen(self.seen() | 1 << (self.next - 1 - number));
        }
    }

    fn seen(&self) -> u128 {
        u128::from(self.seen[1]) << 64 | u128::from(self.seen[0])
    }

    fn set_seen(&mut self, seen: u128) {
        // Each half keeps its own bits.
        self.seen = [seen as u64, (seen >> 64) as u64];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Rule S-4: against a set of all accepted numbers.
        #[test]
        fn a_number_is_accepted_once_within_the_window(
            numbers in prop::collection::vec(0u64..600, 1..400)
        ) {
            let mut window = ReplayWindow::default();
            let mut accepted = BTreeSet::new();
            for number in numbers {
                let highest = accepted.last().copied();
                let too_old = highest.is_some_and(|h: u64| h >= number + WIDTH);
                let expected = !accepted.contains(&number) && !too_old;
                prop_assert_eq!(window.is_fresh(number), expected, "{}", number);
                if expected {
                    window.accept(number);
                    accepted.insert(number);
                }
            }
        }
    }

    #[test]
    fn a_leap_forgets_everything_before_it() {
        let mut window = ReplayWindow::default();
        window.accept(0);
        window.accept(u64::MAX - 1);
        assert!(!window.is_fresh(0));
        assert!(window.is_fresh(u64::MAX - 2));
        assert!(!window.is_fresh(u64::MAX - 1));
        assert!(!ReplayWindow::default().is_fresh(u64::MAX), "it would never be remembered");
    }
}
