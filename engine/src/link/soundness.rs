//! What must hold of the links between any two calls, looked at whole: for the fuzz targets.

use std::net::SocketAddr;

use super::admission::MOST_HALF_OPEN;
use super::lifecycle::most_a_member;
use super::recency::List;
use super::session::Phase;
use super::{Entry, Links, MOST_ENTRIES};

impl Links {
    /// Panics where an index, a count or a deadline is not what it should be.
    pub(crate) fn assert_sound(&self) {
        let (mut half_open, mut unproven, mut live) = (0, 0, 0);
        for (index, entry) in self.slots.iter() {
            // One that is not a neighbour's is taken from its list when nobody uses it (rule S-22).
            let listed = matches!(self.warmth.list_of(index), Some(List::Hot | List::Cold));
            let ends = listed || self.timers.deadline(index).is_some();
            assert!(ends, "place {index:#x} would stay for ever");
            match entry {
                Entry::Dialing(_) => {}
                Entry::Answering(answer) => {
                    half_open += 1;
                    unproven += 1;
                    let known = self.attempts.get(&(answer.path, answer.attempt));
                    assert_eq!(known, Some(&index), "an attempt has one place");
                }
                Entry::Open(session) => match session.phase {
                    Phase::Finishing(_) => {}
                    Phase::Awaited => half_open += 1,
                    Phase::Live { .. } => {
                        live += 1;
                        let ranked = self.members.get(&session.peer);
                        assert!(ranked.is_some_and(|order| order.contains(&index)), "a lost one");
                    }
                },
            }
        }
        assert_eq!(self.half_open, half_open, "half-open handshakes are counted");
        assert_eq!(self.admission.places(), unproven, "the books hold the unproven and no others");
        assert!(half_open <= MOST_HALF_OPEN && self.slots.len() <= MOST_ENTRIES);
        let ranked: usize = self.members.values().map(|order| order.len()).sum();
        assert_eq!(ranked, live, "only confirmed sessions are sent on");
        let most = most_a_member(self.linger);
        assert!(self.members.values().all(|order| (1..=most).contains(&order.len())));
        for index in self.attempts.values().chain(self.paths.values()) {
            assert!(self.slots.get(*index).is_some(), "{index:#x} names nobody");
        }
    }

    /// Whether a confirmed session leads there: the path was verified.
    pub(crate) fn leads_to(&self, path: SocketAddr) -> bool {
        self.paths.contains_key(&path)
    }
}
