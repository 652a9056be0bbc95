//! With whom a difference is settled (rule A-2).
//!
//! A round takes one partner. If that were whoever differs at the moment when a round is due, one
//! member that always differs, and says so more often than others, would be asked every time, and
//! whoever holds what we lack never. So the one is asked that was asked longest ago.
//!
//! Invariants: a member has one place; of those that differed lately none is asked twice while
//! another one has not been asked in between.

use alloc::vec::Vec;

use crate::member::MemberId;
use crate::time::{Duration, Instant};

/// Members that are remembered: twice those that ping us.
const PLACES: usize = 16;
/// A digest counts for so many intervals: within them each neighbour shows one,
const INTERVALS: u32 = 3;
/// and at least so long.
const LEAST: Duration = Duration::from_secs(2);

/// A member whose digest differed.
#[derive(Clone, Copy, Debug)]
struct Place {
    id: MemberId,
    /// Its last digest,
    digest: u64,
    /// when it came,
    heard: Instant,
    /// and whether it differed from ours.
    differs: bool,
    /// The number of the last round with it; 0 before the first.
    asked: u64,
}

/// Those with whom there may be something to settle.
#[derive(Clone, Debug, Default)]
pub struct Partners {
    places: Vec<Place>,
    rounds: u64,
}

impl Partners {
    /// The digest of `peer` differs from ours.
    pub fn differed(&mut self, now: Instant, peer: MemberId, digest: u64) {
        if let Some(place) = self.places.iter_mut().find(|place| place.id == peer) {
            (place.digest, place.heard, place.differs) = (digest, now, true);
            return;
        }
        if self.places.len() == PLACES {
            let silent = self.places.iter().enumerate().min_by_key(|(_, place)| place.heard);
            if let Some((index, _)) = silent {
                self.places.swap_remove(index);
            }
        }
        self.places.push(Place { id: peer, digest, heard: now, differs: true, asked: 0 });
    }

    /// The digest of `peer` equals ours. When it was asked is not forgotten: whoever agrees for a
    /// moment gains nothing by it.
    pub fn agreed(&mut self, peer: MemberId) {
        if let Some(place) = self.places.iter_mut().find(|place| place.id == peer) {
            place.differs = false;
        }
    }

    /// The partner of a round that began now, and its digest: `peer`, which has just shown that it
    /// differs from `ours`, unless another did so lately and was asked longer ago.
    pub fn next(
        &self,
        now: Instant,
        interval: Duration,
        ours: u64,
        (peer, digest): (MemberId, u64),
    ) -> (MemberId, u64) {
        let lately = (interval * INTERVALS).max(LEAST);
        let differs = |place: &&Place| {
            place.differs && place.digest != ours && now.since(place.heard) <= lately
        };
        // Of those that were asked equally long ago: whoever is at hand.
        let longest = self
            .places
            .iter()
            .filter(differs)
            .min_by_key(|place| (place.asked, place.id != peer, place.id));
        longest.map_or((peer, digest), |place| (place.id, place.digest))
    }

    /// A round with `peer` begins.
    pub fn asked(&mut self, peer: MemberId) {
        self.rounds += 1;
        if let Some(place) = self.places.iter_mut().find(|place| place.id == peer) {
            assert!(place.asked < self.rounds, "rounds are numbered");
            place.asked = self.rounds;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(ms)
    }

    fn peer(n: u8) -> MemberId {
        MemberId([n; 16])
    }

    /// Rule A-2: who differs a hundred times between two rounds, and agrees in between, is asked as
    /// often as each of the others.
    #[test]
    fn rounds_are_shared_by_all_that_differ() {
        let mut partners = Partners::default();
        let mut asked = BTreeMap::<MemberId, u32>::new();
        for second in 0..90 {
            (2..=9).for_each(|n| partners.differed(at(second * 1_000), peer(n), 1));
            for hasty in 0..100 {
                partners.agreed(peer(1));
                partners.differed(at(second * 1_000 + 500 + hasty), peer(1), hasty + 5);
            }
            let (partner, _) = partners.next(at(second * 1_000 + 600), SECOND, 0, (peer(1), 104));
            partners.asked(partner);
            *asked.entry(partner).or_default() += 1;
        }
        assert_eq!(asked, (1..=9).map(|n| (peer(n), 10)).collect());
    }

    /// Rule A-2: who agrees, was not heard of for a while or has what we have by now is not asked.
    #[test]
    fn only_who_differs_is_asked() {
        let mut partners = Partners::default();
        let at_hand = (peer(1), 7);
        let next = |partners: &Partners, ms| partners.next(at(ms), SECOND, 0, at_hand).0;
        partners.differed(at(0), peer(1), 7);
        assert_eq!(next(&partners, 0), peer(1), "nobody else does");
        partners.asked(peer(1));
        assert_eq!(next(&partners, 1), peer(1));
        partners.differed(at(10), peer(2), 8);
        assert_eq!(partners.next(at(3_010), SECOND, 0, at_hand), (peer(2), 8));
        assert_eq!(partners.next(at(3_010), SECOND, 8, at_hand).0, peer(1), "ours has changed");
        assert_eq!(next(&partners, 3_011), peer(1), "that was long ago");
        partners.differed(at(4_000), peer(2), 8);
        partners.agreed(peer(2));
        assert_eq!(next(&partners, 4_000), peer(1));
        assert_eq!(Partners::default().next(at(0), SECOND, 0, at_hand), at_hand, "a stranger");
    }

    /// A place is lost to silence, never by what others do.
    #[test]
    fn whoever_was_silent_longest_makes_room() {
        let mut partners = Partners::default();
        for n in 0..100 {
            partners.differed(at(u64::from(n)), peer(200), 5);
            partners.differed(at(u64::from(n)), peer(n), 5);
            partners.asked(peer(200));
        }
        assert_eq!(partners.places.len(), PLACES);
        assert!(partners.places.iter().any(|place| (place.id, place.asked) == (peer(200), 100)));
    }
}
