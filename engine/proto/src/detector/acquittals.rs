//! Whom a case of ours found alive a moment ago (rule D-8).
//!
//! The others reach a member that we do not reach, and said so: asking them again at once brings
//! the same answer, several times a second, for as long as the path stays broken.
//!
//! Invariant: a member stands here once, and no longer than the pause once there are many.

use alloc::collections::BTreeMap;

use crate::member::{Incarnation, MemberId};
use crate::time::{Duration, Instant};

/// After an acquittal no case about the same life of a member is opened for so long. Under heavy loss
/// a member that has just died may be acquitted by what was seen of it before: ten seconds made
/// its death known after nineteen.
const PAUSE: Duration = Duration::from_secs(3);

/// Recent acquittals.
#[derive(Clone, Debug, Default)]
pub struct Acquittals {
    ends: BTreeMap<MemberId, (Incarnation, Instant)>,
}

impl Acquittals {
    /// A case of `id` ended with an acquittal. There are at most as many of them as there were
    /// cases within one pause: beyond `limit` the one that ends first makes room.
    pub fn add(&mut self, now: Instant, id: MemberId, incarnation: Incarnation, limit: usize) {
        self.ends.insert(id, (incarnation, now + PAUSE));
        if self.ends.len() > limit {
            self.ends.retain(|_, (_, end)| *end > now);
            while self.ends.len() > limit {
                let first = self.ends.iter().min_by_key(|(_, (_, end))| *end).map(|(id, _)| *id);
                first.and_then(|id| self.ends.remove(&id));
            }
        }
    }

    /// Whether `id` was acquitted a moment ago, in this life.
    pub fn holds(&self, now: Instant, id: MemberId, incarnation: Incarnation) -> bool {
        self.ends.get(&id).is_some_and(|(life, end)| *life == incarnation && now < *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule D-8.
    #[test]
    fn an_acquittal_holds_for_a_while_and_for_one_life() {
        let at = |ms| Instant::ORIGIN + Duration::from_millis(ms);
        let life = |counter| Incarnation { generation: 1, counter };
        let id = |n| MemberId([n; 16]);
        let mut acquitted = Acquittals::default();
        acquitted.add(at(0), id(1), life(0), 2);
        assert!(acquitted.holds(at(2_999), id(1), life(0)));
        assert!(!acquitted.holds(at(2_999), id(1), life(1)), "a new life is a new case");
        assert!(!acquitted.holds(at(3_000), id(1), life(0)));
        acquitted.add(at(1), id(2), life(0), 2);
        acquitted.add(at(2), id(3), life(0), 2);
        assert!(!acquitted.holds(at(3), id(1), life(0)), "bounded: the one that ends first goes");
        assert!(acquitted.holds(at(3), id(2), life(0)) && acquitted.holds(at(3), id(3), life(0)));
    }
}
