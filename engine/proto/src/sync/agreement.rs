//! When a difference between views has lasted long enough to be worth a bulk exchange (rule A-2).
//!
//! A difference that gossip is about to settle costs nothing; one that lasts a second without a
//! single agreeing peer in between is reconciled, at most once in a while.

use crate::time::{Duration, Instant};

/// A difference must last this long.
const LASTING: Duration = Duration::from_secs(1);
/// Least time between exchanges in a small cluster; it grows with the number of members, because
/// a full exchange does.
const PAUSE: Duration = Duration::from_secs(1);
/// So many members add one pause.
const MEMBERS_PER_PAUSE: usize = 64;

/// What the digests of others have told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Agreement {
    differs_since: Option<Instant>,
    last_exchange: Option<Instant>,
}

impl Agreement {
    /// A peer's digest equals ours.
    pub fn agreed(&mut self) {
        self.differs_since = None;
    }

    /// A peer's digest differs; says whether to reconcile with that peer.
    pub fn differed(&mut self, now: Instant, members: usize) -> bool {
        let since = *self.differs_since.get_or_insert(now);
        let pause = PAUSE * (1 + (members / MEMBERS_PER_PAUSE) as u32);
        let rested = self.last_exchange.is_none_or(|last| now.since(last) >= pause);
        if now.since(since) < LASTING || !rested {
            return false;
        }
        self.last_exchange = Some(now);
        true
    }

    /// Whether the last digest heard agreed.
    pub fn holds(&self) -> bool {
        self.differs_since.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule A-2.
    #[test]
    fn only_a_lasting_difference_is_reconciled_and_not_too_often() {
        let at = |ms| Instant::ORIGIN + Duration::from_millis(ms);
        let mut agreement = Agreement::default();
        assert!(!agreement.differed(at(0), 3));
        agreement.agreed();
        assert!(!agreement.differed(at(1_200), 3), "an agreement in between starts afresh");
        assert!(!agreement.differed(at(2_000), 3));
        assert!(agreement.differed(at(2_300), 3));
        assert!(!agreement.differed(at(2_900), 3), "once a second");
        assert!(agreement.differed(at(3_300), 3));
        assert!(!agreement.differed(at(5_000), 320), "rarer in a larger cluster");
        assert!(!agreement.holds());
    }
}
