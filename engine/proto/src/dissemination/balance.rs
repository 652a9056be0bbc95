//! Two queues, one datagram: system updates and user broadcasts share its bytes (rule U-4).
//!
//! Like two parties at one table: each has half of what is served. Whoever eats less leaves the
//! rest to the other and is owed nothing; whoever could not eat its half because the next bite is
//! larger than that has it kept for the next time. This is deficit round robin of two.
//!
//! Invariant: what is owed to the broadcasts never exceeds one datagram.

/// What the broadcasts are owed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Balance {
    owed: usize,
}

impl Balance {
    /// Of `free` bytes, those that are the broadcasts' own while updates wait as well.
    pub fn grant(self, free: usize) -> usize {
        (free / 2 + self.owed).min(free)
    }

    /// A datagram of `most` bytes with `free` of them had room for `used` bytes of broadcasts;
    /// `contended` tells that both sides would have used more.
    pub fn settle(&mut self, free: usize, used: usize, contended: bool, most: usize) {
        self.owed =
            if contended { (self.owed + free / 2).saturating_sub(used).min(most) } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule U-4: over some datagrams each side has half, whatever the sizes of its pieces.
    #[test]
    fn both_have_half_of_what_is_free() {
        for piece in [40, 200, 500, 700, 1_163] {
            let (mut balance, mut updates, mut broadcasts) = (Balance::default(), 0, 0);
            for _ in 0..100 {
                let grant = balance.grant(1_163);
                let used = grant / piece * piece;
                balance.settle(1_163, used, true, 1_168);
                updates += 1_163 - used;
                broadcasts += used;
            }
            let half = 100 * 1_163 / 2;
            assert!(updates >= half, "{piece}: {updates}");
            assert!(broadcasts + 1_168 >= half, "{piece}: {broadcasts}");
        }
    }

    /// Rule U-4: nobody saves up what it had no use for.
    #[test]
    fn whoever_wants_nothing_is_owed_nothing() {
        let mut balance = Balance::default();
        balance.settle(1_000, 0, true, 1_168);
        assert_eq!((balance.grant(1_000), balance.grant(2_000)), (1_000, 1_500));
        balance.settle(1_000, 100, false, 1_168);
        assert_eq!(balance.grant(1_000), 500);
        for _ in 0..9 {
            balance.settle(1_000, 0, true, 1_168);
        }
        assert_eq!(balance.grant(4_000), 2_000 + 1_168, "a datagram at most");
    }
}
