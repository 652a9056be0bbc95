//! Whether a member's session may be why it is silent (decision 94).
//!
//! A doubt has two kinds of causes: the member is late or gone, which the detector weighs, or what it
//! says cannot be heard. The second is our affair and never a matter of time, so it is counted apart:
//! there is no session, the peer does not know it, or what came on it did not open.
//!
//! Invariant: no more refusals are remembered than [`MOST`].

use std::collections::VecDeque;

use mesh_gossip_proto::{Duration, Instant, MemberId};

use super::{Entry, Links};

/// A refusal may be the cause of a doubt for so long.
const LATELY: Duration = Duration::from_secs(5);
/// Members whose refusals are remembered.
const MOST: usize = 256;

/// Whose datagrams did not open of late, the latest last.
#[derive(Debug, Default)]
pub(super) struct Refusals(VecDeque<(Instant, MemberId)>);

impl Refusals {
    /// A datagram on a session with `peer` did not open.
    pub(super) fn note(&mut self, now: Instant, peer: MemberId) {
        self.0.retain(|(_, other)| *other != peer);
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back((now, peer));
    }

    fn lately(&self, now: Instant, peer: MemberId) -> bool {
        self.0.iter().any(|(at, other)| *other == peer && now.since(*at) <= LATELY)
    }
}

impl Links {
    /// `peer` is doubted here: counts by what its session tells of the cause.
    pub(crate) fn count_doubt(&mut self, now: Instant, peer: MemberId) {
        let best = self.members.get(&peer).and_then(|sessions| sessions.first()).copied();
        let upheld = best.filter(|index| self.upheld(now, *index));
        let cause = match upheld.and_then(|index| self.slots.get(index)) {
            Some(Entry::Open(session)) if session.doubted => "unknown-session",
            Some(Entry::Open(_)) if self.refusals.lately(now, peer) => "refused",
            Some(Entry::Open(_)) => "silence",
            Some(Entry::Dialing(_) | Entry::Answering(_)) | None => "no-session",
        };
        *self.stats.doubts.entry(cause).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_remembered_for_a_while_and_not_of_everybody() {
        let at = |ms| Instant::ORIGIN + Duration::from_millis(ms);
        let peer = |n: u8| MemberId([n; 16]);
        let mut refusals = Refusals::default();
        (0..1_000).for_each(|_| refusals.note(at(0), peer(1)));
        assert_eq!(refusals.0.len(), 1);
        assert!(refusals.lately(at(5_000), peer(1)) && !refusals.lately(at(5_001), peer(1)));
        (0..=255).for_each(|n| refusals.note(at(1), peer(n)));
        refusals.note(at(1), MemberId([7, 8, 7, 8, 7, 8, 7, 8, 7, 8, 7, 8, 7, 8, 7, 8]));
        assert_eq!(refusals.0.len(), MOST);
        assert!(refusals.lately(at(1), peer(1)) && !refusals.lately(at(1), peer(0)), "the oldest");
    }
}
