//! Certificates that members had before (rule S-18).
//!
//! A certificate is replaced once and for good. Where the records of one member are signed under
//! one, another, and the first again, and again, two processes hold its name.
//!
//! Invariant: only members whose certificate changed stand here, a bounded number, the oldest go.

use alloc::collections::VecDeque;

use crate::member::MemberId;
use crate::membership::table::IdMap;

/// Members remembered.
const MOST: usize = 4_096;
/// Once a member may go back to the certificate before, as an operator does when the new one is not
/// what it should be.
const ENOUGH: u8 = 2;

#[derive(Clone, Copy, Debug)]
struct Former {
    signer: [u8; 8],
    returns: u8,
}

/// Certificates given up, by member.
#[derive(Clone, Debug, Default)]
pub struct Signers {
    former: IdMap<Former>,
    order: VecDeque<MemberId>,
}

impl Signers {
    /// The records of `id` were signed under `old` (SHA-256 of the leaf) and are under `new`: says
    /// whether the two take turns.
    pub fn changed(&mut self, id: MemberId, old: &[u8; 32], new: &[u8; 32]) -> bool {
        let [old, new] = [old, new].map(|signer| {
            let mut prefix = [0; 8];
            prefix.copy_from_slice(&signer[..8]);
            prefix
        });
        if old == new {
            return false;
        }
        let before = self.former.get(&id).copied();
        let back = before.filter(|former| former.signer == new).map(|former| former.returns);
        let returns = back.map_or(0, |returns| returns.saturating_add(1));
        if before.is_none() {
            self.order.push_back(id);
            if self.order.len() > MOST
                && let Some(oldest) = self.order.pop_front()
            {
                self.former.remove(&oldest);
            }
        }
        self.former.insert(id, Former { signer: old, returns });
        returns >= ENOUGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule S-18.
    #[test]
    fn certificates_that_take_turns_are_told() {
        let (a, b, c) = (&[1; 32], &[2; 32], &[3; 32]);
        let id = MemberId([1; 16]);
        let mut signers = Signers::default();
        assert!(!signers.changed(id, a, a));
        assert!(!signers.changed(id, a, b), "renewed");
        assert!(!signers.changed(id, b, a), "and taken back");
        assert!(signers.changed(id, a, b) && signers.changed(id, b, a), "they take turns");
        assert!(!signers.changed(id, a, c), "a third one");
        for n in 0..5_000u32 {
            let id = MemberId(core::array::from_fn(|i| n.to_le_bytes()[i % 4]));
            signers.changed(id, a, b);
        }
        assert_eq!((signers.former.len(), signers.order.len()), (MOST, MOST));
    }
}
