//! Records whose signer's chain is incomplete here (rule S-11).
//!
//! A record names its intermediates by hash. Where one of them is unknown, whoever brought the
//! record has it: it has verified the record. The record waits while that one is asked.
//!
//! Invariants: a member has one record waiting, its newest; the number is bounded, for each who
//! brings them as well, and so are the questions; a certificate is taken only if a record waits
//! for it, so nobody fills this memory with certificates.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::member::MemberId;
use crate::membership::shares::{Room, Shares};
use crate::time::{Duration, Instant};

/// Records that wait.
const MOST: usize = 256;
/// A certificate that has not come is asked for again,
const PATIENCE: Duration = Duration::from_millis(500);
/// so many times; then the record is given up until somebody brings it again.
const TIMES: u32 = 8;
/// Largest certificate accepted, DER.
pub const MOST_CERTIFICATE: usize = 8_192;

/// A record that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Who brought it.
    pub from: MemberId,
    /// The record, unverified.
    pub envelope: Arc<[u8]>,
    /// Certificates that came, DER.
    pub found: Vec<Vec<u8>>,
    missing: Vec<[u8; 32]>,
    asked: Instant,
    times: u32,
}

/// Records by member.
#[derive(Clone, Debug, Default)]
pub struct Chains {
    waiting: BTreeMap<MemberId, Waiting>,
    shares: Shares,
}

impl Chains {
    /// A record of `id` lacks these certificates: says whether it waits for them, which is what to
    /// ask `from` for.
    pub fn wait(
        &mut self,
        now: Instant,
        from: MemberId,
        id: MemberId,
        envelope: &[u8],
        missing: Vec<[u8; 32]>,
    ) -> bool {
        if missing.is_empty() || self.waiting.get(&id).is_some_and(|w| *w.envelope == *envelope) {
            return false;
        }
        self.take(id);
        match self.shares.room(from, self.waiting.len(), MOST) {
            Room::Free => {}
            Room::InsteadOf(source) => {
                let theirs = self.waiting.iter().filter(|(_, w)| w.from == source);
                if let Some(oldest) = theirs.min_by_key(|(_, w)| w.asked).map(|(id, _)| *id) {
                    self.take(oldest);
                }
            }
            Room::None => return false,
        }
        let waiting = Waiting {
            from,
            envelope: envelope.into(),
            found: Vec::new(),
            missing,
            asked: now,
            times: 1,
        };
        self.waiting.insert(id, waiting);
        self.shares.take(from);
        true
    }

    /// A certificate with this hash arrived: the records that were only waiting for it.
    pub fn certificate(&mut self, hash: &[u8; 32], der: &[u8]) -> Vec<Waiting> {
        let mut complete = Vec::new();
        for (id, waiting) in &mut self.waiting {
            let before = waiting.missing.len();
            waiting.missing.retain(|missing| missing != hash);
            if waiting.missing.len() < before {
                waiting.found.push(der.to_vec());
                if waiting.missing.is_empty() {
                    complete.push(*id);
                }
            }
        }
        complete.into_iter().filter_map(|id| self.take(id)).collect()
    }

    fn take(&mut self, id: MemberId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        self.shares.release(waiting.from);
        Some(waiting)
    }

    /// Questions to be repeated at `now`: whom to ask for which certificate. They count as
    /// repeated.
    pub fn overdue(&mut self, now: Instant) -> Vec<(MemberId, [u8; 32])> {
        let over = |w: &Waiting| w.times >= TIMES && now.since(w.asked) >= PATIENCE;
        let given_up = self.waiting.iter().filter(|(_, w)| over(w)).map(|(id, _)| *id);
        for id in given_up.collect::<Vec<_>>() {
            self.take(id);
        }
        let mut again = Vec::new();
        for waiting in self.waiting.values_mut().filter(|w| now.since(w.asked) >= PATIENCE) {
            waiting.asked = now;
            waiting.times += 1;
            again.extend(waiting.missing.iter().map(|hash| (waiting.from, *hash)));
        }
        again
    }

    /// When the next question is to be repeated.
    pub fn due(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.asked + PATIENCE).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> MemberId {
        MemberId(core::array::from_fn(|i| n.to_le_bytes()[i % 4]))
    }

    fn at(ms: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(ms)
    }

    /// Rule S-11.
    #[test]
    fn a_record_waits_for_all_of_its_chain() {
        let mut chains = Chains::default();
        let missing = Vec::from([[1; 32], [2; 32]]);
        assert!(chains.wait(at(0), id(7), id(1), b"first", missing.clone()));
        assert!(!chains.wait(at(0), id(8), id(1), b"first", missing.clone()), "it waits already");
        assert!(chains.wait(at(0), id(8), id(1), b"second", missing), "a newer one");
        assert_eq!(chains.certificate(&[9; 32], b"of nobody's"), []);
        assert_eq!(chains.certificate(&[1; 32], b"one"), []);
        let complete = chains.certificate(&[2; 32], b"two");
        assert_eq!(complete.len(), 1);
        assert_eq!((complete[0].from, &*complete[0].envelope), (id(8), &b"second"[..]));
        assert_eq!(complete[0].found, [b"one", b"two"]);
        assert!(chains.waiting.is_empty() && chains.due().is_none());
    }

    /// Rules S-11 and B-1.
    #[test]
    fn questions_and_records_are_bounded() {
        let mut chains = Chains::default();
        assert!(chains.wait(at(0), id(7), id(1), b"r", Vec::from([[1; 32]])));
        let asked: Vec<_> = (1..=8).map(|n| chains.overdue(at(500 * n)).len()).collect();
        assert_eq!(asked, [1, 1, 1, 1, 1, 1, 1, 0]);
        assert!(chains.waiting.is_empty());
        let flood = |chains: &mut Chains, from, range: core::ops::Range<u32>| {
            let wait = |n: &u32| {
                chains.wait(at(u64::from(*n)), id(from), id(*n), b"r", Vec::from([[1; 32]]))
            };
            range.filter(wait).count()
        };
        assert_eq!(flood(&mut chains, 7, 1_000..2_000), 256);
        assert_eq!(flood(&mut chains, 8, 2_000..2_010), 10, "whoever holds most makes room");
        assert_eq!(chains.waiting.len(), 256);
    }
}
