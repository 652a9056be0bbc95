//! Who holds how many places of a bounded queue.
//!
//! What a queue holds was brought by somebody. Nobody holds more than a share; when all places are
//! taken, whoever holds most makes room for whoever holds less.
//!
//! Invariant: only who holds a place stands here.

use crate::member::MemberId;
use crate::membership::table::IdMap;

/// Most places of one source: ten full datagrams of news, the largest burst of a neighbour (rule
/// G-3), name so many members.
pub const SHARE: usize = 256;

/// Places by source.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    held: IdMap<usize>,
}

/// Whether a source may have another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is one.
    Free,
    /// When this source has given one up.
    InsteadOf(MemberId),
    /// None, for this source.
    None,
}

impl Shares {
    fn of(&self, source: MemberId) -> usize {
        self.held.get(&source).copied().unwrap_or(0)
    }

    /// Whether there is room for `source` in a queue of `limit` places, `taken` of which are taken.
    pub fn room(&self, source: MemberId, taken: usize, limit: usize) -> Room {
        let own = self.of(source);
        if own >= SHARE {
            return Room::None;
        }
        if taken < limit {
            return Room::Free;
        }
        // A map has no order of its own: of equals the greatest id.
        let most = self.held.iter().max_by_key(|(id, held)| (**held, **id));
        match most {
            Some((id, held)) if *held > own => Room::InsteadOf(*id),
            Some(_) | None => Room::None,
        }
    }

    /// `source` takes a place.
    pub fn take(&mut self, source: MemberId) {
        *self.held.entry(source).or_default() += 1;
    }

    /// `source` gives a place up.
    pub fn release(&mut self, source: MemberId) {
        if let Some(held) = self.held.get_mut(&source) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule B-1.
    #[test]
    fn whoever_holds_most_makes_room_for_whoever_holds_less() {
        let id = |n| MemberId([n; 16]);
        let mut shares = Shares::default();
        assert_eq!(shares.room(id(1), 0, 3), Room::Free);
        for source in [1, 1, 2] {
            shares.take(id(source));
        }
        assert_eq!(shares.room(id(1), 3, 3), Room::None, "it holds most itself");
        assert_eq!(shares.room(id(2), 3, 3), Room::InsteadOf(id(1)));
        assert_eq!(shares.room(id(3), 3, 3), Room::InsteadOf(id(1)));
        shares.release(id(1));
        shares.take(id(3));
        assert_eq!(shares.room(id(3), 3, 3), Room::None, "all hold the same");
        assert_eq!(shares.room(id(4), 3, 3), Room::InsteadOf(id(3)));
        (0..SHARE).for_each(|_| shares.take(id(9)));
        assert_eq!(shares.room(id(9), 300, 4_096), Room::None, "no more than a share");
        [1, 2, 3].into_iter().for_each(|n| shares.release(id(n)));
        (0..SHARE).for_each(|_| shares.release(id(9)));
        assert!(shares.held.is_empty());
    }
}
