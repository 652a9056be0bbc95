//! Who exchanges states with us, and how often (rules A-3 and S-7).
//!
//! A place is for one exchange at a time and goes back when it ends; the pace of whole states is
//! kept for longer, because what they cost comes after the last byte.
//!
//! Invariant: both books are bounded by the exchanges served at a time and by [`REMEMBERED`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use mesh_gossip_proto::{Instant, MemberId};

use crate::clock::Clock;
use crate::link::pacing::Pace;

/// Whole states of one peer: so many at once, then one each so often. An honest one wishes for them
/// while it joins and where a difference lasts (rules A-2 and J-1); each costs us the merging.
const WHOLE_STATES: u32 = 8;
const WHOLE_STATES_REFILL: Duration = Duration::from_secs(5);
/// Peers remembered for that; beyond it those that owe nothing are forgotten.
const REMEMBERED: usize = 4_096;

/// How many exchanges each peer has with us at this moment, and how many whole states it gave us of
/// late.
#[derive(Clone)]
pub(super) struct Crowd {
    clock: Clock,
    present: Rc<RefCell<HashMap<MemberId, usize>>>,
    whole: Rc<RefCell<HashMap<MemberId, Pace>>>,
}

impl Crowd {
    /// Nobody is here.
    pub(super) fn new() -> Self {
        Self { clock: Clock::start(), present: Rc::default(), whole: Rc::default() }
    }

    /// A place for `peer`, given back when it is dropped; `None` when the peer has enough.
    pub(super) fn enter(&self, peer: MemberId, most: usize) -> Option<Place> {
        let mut present = self.present.borrow_mut();
        let held = present.entry(peer).or_default();
        if *held >= most {
            return None;
        }
        *held += 1;
        Some(Place { crowd: self.clone(), peer })
    }

    /// Whether `peer` may exchange whole states; if so, that counts.
    pub(super) fn may_have_all(&self, peer: MemberId) -> bool {
        self.may_have_all_at(self.clock.now(), peer)
    }

    fn may_have_all_at(&self, now: Instant, peer: MemberId) -> bool {
        let mut whole = self.whole.borrow_mut();
        if whole.len() >= REMEMBERED && !whole.contains_key(&peer) {
            whole.retain(|_, pace| !pace.is_full(now));
            if whole.len() >= REMEMBERED {
                return false;
            }
        }
        let fresh = || Pace::new(WHOLE_STATES, WHOLE_STATES_REFILL);
        whole.entry(peer).or_insert_with(fresh).take(now)
    }
}

/// One peer's place; see [`Crowd::enter`].
pub(super) struct Place {
    crowd: Crowd,
    peer: MemberId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut present = self.crowd.present.borrow_mut();
        if let Some(held) = present.get_mut(&self.peer) {
            *held -= 1;
            if *held == 0 {
                present.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule S-7: eight whole states at once, then one in five seconds, of each peer for itself.
    #[test]
    fn whole_states_of_a_peer_have_a_pace() {
        let at = |s: u64| Instant::ORIGIN + Duration::from_secs(100 + s);
        let peer = |n: u32| MemberId(std::array::from_fn(|i| n.to_le_bytes()[i % 4]));
        let crowd = Crowd::new();
        let granted = |s, n| (0..20).filter(|_| crowd.may_have_all_at(at(s), peer(n))).count();
        assert_eq!([granted(0, 0), granted(4, 0), granted(5, 0), granted(0, 1)], [8, 0, 1, 8]);
        assert!((2..4_096).all(|n| crowd.may_have_all_at(at(0), peer(n))));
        assert!(!crowd.may_have_all_at(at(4), peer(9_999)), "bounded");
        assert!(crowd.may_have_all_at(at(60), peer(9_999)), "who owes nothing is forgotten");
        assert_eq!(crowd.whole.borrow().len(), 1);
    }
}
