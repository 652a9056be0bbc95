//! Whom we heard, the last first.
//!
//! Somebody who was heard a moment ago lives, and the way to it works: it is the best control of a
//! test. A few are remembered, because the last one may be the doubted subject itself.
//!
//! Invariant: nobody stands here twice.

use arrayvec::ArrayVec;

use crate::member::MemberId;
use crate::time::{Duration, Instant};

/// Members remembered: as many as one observes, so that a crash of some leaves others.
const REMEMBERED: usize = 8;

/// The members heard last.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    last: Option<Instant>,
    /// The last one stands last.
    members: ArrayVec<MemberId, REMEMBERED>,
}

impl Heard {
    /// Something arrived from `id`.
    pub fn hear(&mut self, now: Instant, id: MemberId) {
        self.last = Some(now);
        if self.members.last() == Some(&id) {
            return;
        }
        self.members.retain(|known| *known != id);
        if self.members.is_full() {
            self.members.remove(0);
        }
        self.members.push(id);
    }

    /// Whether nothing has arrived for so long, or ever.
    pub fn is_silent(&self, now: Instant, span: Duration) -> bool {
        self.last.is_none_or(|last| now.since(last) >= span)
    }

    /// The members, the one heard last first.
    pub fn newest(&self) -> impl Iterator<Item = MemberId> + Clone {
        self.members.iter().rev().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn the_last_stands_first_and_nobody_twice() {
        let at = |ms| Instant::ORIGIN + Duration::from_millis(ms);
        let second = Duration::from_secs(1);
        let mut heard = Heard::default();
        assert!(heard.is_silent(at(0), second));
        for (ms, n) in [1, 2, 3, 4, 5, 6, 7, 8, 9, 4, 4].into_iter().enumerate() {
            heard.hear(at(ms as u64), MemberId([n; 16]));
        }
        let ids: Vec<u8> = heard.newest().map(|id| id.0[0]).collect();
        assert_eq!(ids, [4, 9, 8, 7, 6, 5, 3, 2]);
        assert!(!heard.is_silent(at(1_009), second) && heard.is_silent(at(1_010), second));
    }
}
