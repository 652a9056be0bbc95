//! Who has said what already: every broadcast is told to the host once (rule U-3).
//!
//! For each member that speaks a strip of its last numbers is kept, with a mark on each that came.
//! A strip is thrown away only when everything on it is too old to be believed anyway, so that what
//! was forgotten cannot be said again by whoever kept a copy.
//!
//! Invariants: a number of a life is accepted at most once; numbers [`WIDTH`] and more below the
//! highest are never accepted; the strips are bounded in number.

use crate::membership::broadcast::BroadcastId;
use crate::membership::table::IdMap;
use crate::time::{Duration, WallTime};

/// Numbers remembered of an origin: ten seconds of the most that it may say.
pub const WIDTH: u64 = 1_024;

/// Origins remembered; a further one is not listened to until an older one's strip ends.
pub const MOST_ORIGINS: usize = 16_384;

/// Clocks of members may be apart by so much (rule S-12),
pub const TOLERANCE: Duration = Duration::from_secs(600);
/// and a broadcast is on its way for so long at most.
pub const LIFETIME: Duration = Duration::from_secs(60);

const WORDS: usize = (WIDTH / 64) as usize;

/// What is to be done with a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has not been here.
    Fresh,
    /// It has.
    Duplicate,
    /// It is of an earlier life, or so far behind that nobody knows.
    Behind,
}

#[derive(Clone, Debug)]
struct Strip {
    generation: u64,
    /// One above the highest number accepted.
    next: u64,
    /// A mark for number n stands at n modulo the width.
    marks: [u64; WORDS],
    /// When the youngest of them was said.
    said: WallTime,
}

impl Strip {
    fn new(generation: u64) -> Self {
        Self { generation, next: 0, marks: [0; WORDS], said: WallTime(0) }
    }

    fn place(number: u64) -> (usize, u64) {
        let at = number % WIDTH;
        ((at / 64) as usize, 1 << (at % 64))
    }

    fn is_marked(&self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        self.marks[word] & bit != 0
    }

    fn mark(&mut self, number: u64) {
        if number >= self.next {
            if number - self.next >= WIDTH {
                self.marks = [0; WORDS];
            } else {
                // What leaves the strip makes room for numbers that have not come.
                for skipped in self.next..number {
                    let (word, bit) = Self::place(skipped);
                    self.marks[word] &= !bit;
                }
            }
            self.next = number.saturating_add(1);
        }
        let (word, bit) = Self::place(number);
        self.marks[word] |= bit;
    }
}

/// A strip for each member that speaks.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    strips: IdMap<Strip>,
}

/// Whether what was said then can be on its way at `wall`, by any clock within the tolerance.
pub fn is_timely(said: WallTime, wall: WallTime) -> bool {
    let ahead = TOLERANCE.as_millis() as u64;
    let behind = (TOLERANCE + LIFETIME).as_millis() as u64;
    said.0 <= wall.0.saturating_add(ahead) && wall.0 <= said.0.saturating_add(behind)
}

impl Origins {
    /// What is known of a broadcast.
    pub fn judge(&self, id: BroadcastId) -> Verdict {
        let Some(strip) = self.strips.get(&id.origin) else { return Verdict::Fresh };
        if id.generation != strip.generation {
            let later = id.generation > strip.generation;
            return if later { Verdict::Fresh } else { Verdict::Behind };
        }
        if id.sequence >= strip.next {
            Verdict::Fresh
        } else if strip.next - id.sequence > WIDTH {
            Verdict::Behind
        } else if strip.is_marked(id.sequence) {
            Verdict::Duplicate
        } else {
            Verdict::Fresh
        }
    }

    /// Accepts a fresh and authentic broadcast; says whether there was room to remember it.
    pub fn accept(&mut self, id: BroadcastId, said: WallTime, wall: WallTime) -> bool {
        assert_eq!(self.judge(id), Verdict::Fresh, "a broadcast is accepted once");
        if !self.strips.contains_key(&id.origin) && self.strips.len() >= MOST_ORIGINS {
            self.forget(wall);
            if self.strips.len() >= MOST_ORIGINS {
                return false;
            }
        }
        let strip = self.strips.entry(id.origin).or_insert_with(|| Strip::new(id.generation));
        if strip.generation < id.generation {
            // Of the life before nothing is believed any more.
            *strip = Strip { said: strip.said, ..Strip::new(id.generation) };
        }
        strip.mark(id.sequence);
        strip.said = strip.said.max(said);
        true
    }

    /// Throws away strips on which everything is too old to be believed.
    pub fn forget(&mut self, wall: WallTime) {
        self.strips.retain(|_, strip| is_timely(strip.said, wall));
    }

    /// Origins remembered.
    pub fn len(&self) -> usize {
        self.strips.len()
    }

    /// Whether nobody has spoken.
    pub fn is_empty(&self) -> bool {
        self.strips.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::MemberId;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    const WALL: WallTime = WallTime(10_000_000);

    fn said_by(origin: MemberId, generation: u64, sequence: u64) -> BroadcastId {
        BroadcastId { origin, generation, sequence }
    }

    fn said(sequence: u64) -> BroadcastId {
        said_by(MemberId([1; 16]), 5, sequence)
    }

    proptest! {
        /// Rule U-3: against a set of all that was accepted.
        #[test]
        fn a_number_is_accepted_once(numbers in prop::collection::vec(0u64..4_000, 1..600)) {
            let (mut origins, mut accepted) = (Origins::default(), BTreeSet::new());
            for number in numbers {
                let highest = accepted.last().copied();
                let behind = highest.is_some_and(|h: u64| h >= number + WIDTH);
                let expected = match (behind, accepted.contains(&number)) {
                    (true, _) => Verdict::Behind,
                    (false, true) => Verdict::Duplicate,
                    (false, false) => Verdict::Fresh,
                };
                prop_assert_eq!(origins.judge(said(number)), expected, "{}", number);
                if expected == Verdict::Fresh {
                    prop_assert!(origins.accept(said(number), WALL, WALL));
                    accepted.insert(number);
                }
            }
        }
    }

    /// Rule U-3: a later life begins anew, and ends the one before.
    #[test]
    fn a_later_life_counts_from_the_start() {
        let mut origins = Origins::default();
        let of = |generation, sequence| said_by(MemberId([1; 16]), generation, sequence);
        assert!(origins.accept(of(5, 900), WALL, WALL));
        assert_eq!(origins.judge(of(6, 0)), Verdict::Fresh);
        assert!(origins.accept(of(6, 0), WALL, WALL));
        assert_eq!(origins.judge(of(6, 0)), Verdict::Duplicate);
        assert_eq!(origins.judge(of(5, 901)), Verdict::Behind);
        assert!(origins.accept(of(6, u64::MAX - 1), WALL, WALL), "a leap");
        assert_eq!(origins.judge(of(6, 1)), Verdict::Behind);
    }

    /// Rule U-3: whoever kept a copy cannot say it again once it is forgotten here.
    #[test]
    fn what_is_forgotten_is_too_old_to_be_believed() {
        let mut origins = Origins::default();
        let ten_ahead = WallTime(WALL.0 + 600_000);
        assert!(is_timely(ten_ahead, WALL) && !is_timely(WallTime(ten_ahead.0 + 1), WALL));
        assert!(origins.accept(said(1), ten_ahead, WALL));
        assert!(origins.accept(said(2), WALL, WALL));
        for later in (0..2_000).map(|minute| WallTime(WALL.0 + minute * 1_000)) {
            origins.forget(later);
            let known = origins.judge(said(1)) == Verdict::Duplicate;
            assert!(known || !is_timely(ten_ahead, later), "{later:?}");
            if !known {
                assert!(origins.is_empty() && !is_timely(WALL, later));
                return;
            }
        }
        panic!("it is kept for ever");
    }

    /// Rules U-3 and B-1.
    #[test]
    fn origins_are_bounded() {
        let mut origins = Origins::default();
        let id = |n: u32| MemberId(core::array::from_fn(|i| n.to_le_bytes()[i % 4]));
        let accepted: Vec<bool> = (0..MOST_ORIGINS as u32 + 9)
            .map(|n| origins.accept(said_by(id(n), 1, 0), WALL, WALL))
            .collect();
        assert_eq!(accepted.iter().filter(|accepted| **accepted).count(), MOST_ORIGINS);
        let later = WallTime(WALL.0 + 3_600_000);
        assert!(origins.accept(said_by(id(99_999), 1, 0), later, later), "they had their time");
        assert_eq!(origins.len(), 1);
    }
}
