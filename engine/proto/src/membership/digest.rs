//! Eight bytes that tell whether two views agree (rule A-1).
//!
//! The digest is the XOR of one well-mixed number per present member, so that a change costs O(1)
//! and the order of arrival does not matter. Suspicion is left out: a passing doubt is no
//! disagreement about who is a member.

use crate::member::MemberId;
use crate::membership::record::RecordHash;

/// A member's share in the digest.
pub fn share(id: MemberId, hash: RecordHash) -> u64 {
    // The record hash covers id and incarnation; the id keeps shares apart should hashes meet.
    mix(id.prefix() ^ mix(hash.0))
}

/// Finalizer of SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_different_records_and_members_differ() {
        let (a, b) = (MemberId([1; 16]), MemberId([2; 16]));
        assert_ne!(share(a, RecordHash(1)), share(a, RecordHash(2)));
        assert_ne!(share(a, RecordHash(1)), share(b, RecordHash(1)));
        assert_ne!(share(a, RecordHash(1)) ^ share(b, RecordHash(2)), 0);
    }
}
