//! When a difference between views has lasted long enough to be worth settling (rules ).
//!
//! A difference that gossip is about to settle costs nothing; one that lasts a second without a
//! single agreeing peer in between is reconciled. Where members come and go all the time some
//! difference is always under way: rounds that found none but young ones, or the very one that the
//! round before left, make the next one wait longer.
//!
//! Invariants: 1 s ≤ pause ≤ 16 s; streams are rarer than rounds by the size of the cluster.

use crate::member::MemberId;
use crate::time::{Duration, Instant};

/// A difference must last this long.
const LASTING: Duration = Duration::from_secs(1);
/// Least time between rounds,
const PAUSE: Duration = Duration::from_secs(1);
/// in a storm, where a difference need not last either,
const PAUSE_IN_STORM: Duration = Duration::from_millis(500);
/// and the most that void ones make of it.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);
/// Void rounds so long ago say nothing about this one.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// A round of which something was lost is repeated at once, so many times in a row.
const REPEATS: u32 = 3;
/// A stream may follow after one pause, and one more for so many members: its bytes grow with them.
const MEMBERS_PER_PAUSE: usize = 64;

/// What the digests of others have told.
#[derive(Clone, Copy, Debug)]
pub struct Agreement {
    differs_since: Option<Instant>,
    /// As long as nobody but one and the same member has agreed in between.
    disputed_since: Option<Instant>,
    /// Who agreed last, after which nobody differed.
    agreed_by: Option<MemberId>,
    last_round: Option<Instant>,
    last_stream: Option<Instant>,
    pause: Duration,
    /// The two digests of the last round.
    settling: Option<(u64, u64)>,
    /// They were those of the round before.
    again: bool,
    /// Something of the last round was lost.
    lost: bool,
    /// Rounds in a row of which something was lost, since our own view moved.
    losses: u32,
    /// The last round began in a storm.
    stormy: bool,
}

impl Default for Agreement {
    fn default() -> Self {
        Self {
            differs_since: None,
            disputed_since: None,
            agreed_by: None,
            last_round: None,
            last_stream: None,
            pause: PAUSE,
            settling: None,
            again: false,
            lost: false,
            losses: 0,
            stormy: false,
        }
    }
}

impl Agreement {
    /// The digest of `peer` equals ours.
    pub fn agreed(&mut self, peer: MemberId) {
        self.differs_since = None;
        // Whoever has our ack can repeat our own digest: one member's word is not everybody's.
        if self.agreed_by.replace(peer).is_some_and(|other| other != peer) {
            self.disputed_since = None;
        }
    }

    /// A peer's digest differs from ours, in a storm of changes or not; says whether to begin a round.
    pub fn differed(&mut self, now: Instant, (ours, theirs): (u64, u64), stormy: bool) -> bool {
        let since = *self.differs_since.get_or_insert(now);
        let disputed = *self.disputed_since.get_or_insert(now);
        self.agreed_by = None;
        let rest = self.last_round.map(|last| now.since(last));
        let repeats = self.lost && self.losses < REPEATS;
        let (lasting, pause) = match (stormy, repeats) {
            (true, _) => (Duration::ZERO, PAUSE_IN_STORM),
            (false, true) => (LASTING, PAUSE),
            (false, false) => (LASTING, self.pause),
        };
        let long = now.since(disputed) >= LONGEST_PAUSE;
        if (now.since(since) < lasting && !long) || rest.is_some_and(|rest| rest < pause) {
            return false;
        }
        if rest.is_some_and(|rest| rest >= FORGOTTEN) {
            self.pause = PAUSE;
        }
        self.again = self.settling == Some((ours, theirs)) && !repeats;
        // Of much that a storm makes us ask for something is always lost; that is no silence.
        let moved = self.settling.is_some_and(|(before, _)| before != ours);
        self.losses = match (self.lost, moved) {
            (true, false) => self.losses + 1,
            (true, true) => 1,
            (false, _) => 0,
        };
        (self.lost, self.stormy) = (false, stormy);
        if self.again {
            self.lengthen();
        }
        self.settling = Some((ours, theirs));
        self.disputed_since = None;
        self.last_round = Some(now);
        true
    }

    /// Whether a stream may follow a difference in a cluster of so many members; if so, it does.
    pub fn streams(&mut self, now: Instant, members: usize) -> bool {
        let pause = PAUSE * (1 + (members / MEMBERS_PER_PAUSE) as u32);
        let rested = self.last_stream.is_none_or(|last| now.since(last) >= pause);
        if rested {
            self.last_stream = Some(now);
        }
        rested
    }

    /// The round found only what gossip is about to tell.
    pub fn was_young(&mut self) {
        if !self.again {
            self.lengthen();
        }
    }

    /// Something of the round was lost on its way: the next one need not wait, and the same two
    /// digests again say nothing.
    pub fn was_lost(&mut self) {
        self.lost = true;
    }

    /// The round found what nobody else would have told.
    pub fn was_due(&mut self) {
        if !self.again {
            self.pause = PAUSE;
        }
    }

    fn lengthen(&mut self) {
        if !self.stormy {
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether the last digest heard agreed.
    pub fn holds(&self) -> bool {
        self.differs_since.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn at(ms: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(ms)
    }

    fn peer(n: u8) -> MemberId {
        MemberId([n; 16])
    }

    /// Rule A-2: whoever agrees with everything we say keeps nobody from settling what others say.
    #[test]
    fn one_members_consent_does_not_end_a_dispute() {
        let first_round = |consents: [u8; 2]| {
            let mut agreement = Agreement::default();
            (0..60u64).find(|half| {
                agreement.agreed(peer(consents[0]));
                agreement.agreed(peer(consents[1]));
                agreement.differed(at(half * 500), (0, *half), false)
            })
        };
        assert_eq!(first_round([1, 1]), Some(32), "after sixteen seconds");
        assert_eq!(first_round([1, 2]), None, "two in a row agree: it was settled");
    }

    /// Rule A-2.
    #[test]
    fn only_a_lasting_difference_is_reconciled_and_not_too_often() {
        let mut agreement = Agreement::default();
        let mut theirs = 0;
        let mut differed = |agreement: &mut Agreement, ms| {
            theirs += 1;
            agreement.differed(at(ms), (0, theirs), false)
        };
        assert!(!differed(&mut agreement, 0));
        agreement.agreed(peer(1));
        assert!(!differed(&mut agreement, 1_200), "an agreement in between starts afresh");
        assert!(!differed(&mut agreement, 2_000));
        assert!(differed(&mut agreement, 2_300));
        assert!(!differed(&mut agreement, 2_900), "once a second");
        assert!(differed(&mut agreement, 3_300));
        assert!(!agreement.holds());
        assert!(agreement.streams(at(3_300), 320));
        assert!(!agreement.streams(at(9_200), 320), "rarer in a larger cluster");
        assert!(agreement.streams(at(9_300), 320));
    }

    /// Rule A-6: in a storm nothing that a round finds makes the next one wait.
    #[test]
    fn in_a_storm_rounds_stay_frequent() {
        let mut agreement = Agreement::default();
        assert_eq!(rounds(&mut agreement, 0, |second| second + 1).len(), 7);
        agreement.agreed(peer(1));
        let begun = (0..20).filter(|tick| {
            let begun = agreement.differed(at(64_200 + tick * 250), (0, 99 + tick), true);
            if begun {
                agreement.was_young();
            }
            begun
        });
        assert_eq!(begun.count(), 10, "at once, and twice a second");
        agreement.agreed(peer(1));
        assert!(!agreement.differed(at(84_000), (0, 1), false));
        assert!(!agreement.differed(at(84_900), (0, 1), false), "over: as long as it was before");
        assert!(agreement.differed(at(86_000), (0, 1), false));
    }

    fn rounds(agreement: &mut Agreement, from: u64, digest: impl Fn(u64) -> u64) -> Vec<u64> {
        let seconds = (from..from + 64).filter(|second| {
            let begun = agreement.differed(at(second * 1_000), (0, digest(*second)), false);
            if begun {
                agreement.was_young();
            }
            begun
        });
        seconds.map(|second| second - from).collect()
    }

    /// Rule A-6: what gossip is about to tell makes rounds rare, and what it does not tell frequent.
    #[test]
    fn rounds_that_come_to_nothing_are_rare() {
        let mut agreement = Agreement::default();
        assert_eq!(rounds(&mut agreement, 0, |second| second + 1), [1, 3, 7, 15, 31, 47, 63]);
        agreement.was_due();
        assert!(agreement.differed(at(64_000), (0, 9_999), false), "a second is enough again");

        // The same two digests: nothing came of the exchange, whatever it found.
        let mut agreement = Agreement::default();
        assert_eq!(rounds(&mut agreement, 0, |_| 5).len(), 7);
        agreement.was_due();
        assert!(!agreement.differed(at(64_000), (0, 5), false));
        assert!(agreement.differed(at(200_000), (0, 6), false) && !agreement.again);
        assert_eq!(agreement.pause, PAUSE, "long ago");

        // Loss is no reason to wait, a few times, nor to forget how long the pause was.
        let mut agreement = Agreement::default();
        rounds(&mut agreement, 0, |second| second + 1);
        let begun = (64..96).filter(|second| {
            agreement.was_lost();
            agreement.differed(at(second * 1_000), (0, 5), false)
        });
        assert_eq!(begun.collect::<Vec<_>>(), [64, 65, 66, 82]);
        assert!(
            agreement.differed(at(98_000), (0, 6), false)
                && !agreement.differed(at(99_000), (0, 6), false)
        );
    }

    /// Rule A-6: who asked for much and got a part of it in each round, as after a storm, may repeat the
    /// round that is for the rest.
    #[test]
    fn losses_of_earlier_rounds_do_not_count_once_our_view_has_moved() {
        let mut agreement = Agreement::default();
        let mut begun = |seconds: core::ops::Range<u64>, ours: u64| {
            let begun = seconds.filter(|second| {
                agreement.was_lost();
                agreement.differed(at(second * 1_000), (ours, 5), false)
            });
            begun.collect::<Vec<_>>()
        };
        assert_eq!(begun(0..16, 0), [1, 2, 3, 4, 6, 10]);
        assert_eq!(begun(16..40, 1), [18, 19, 20, 28]);
    }
}
