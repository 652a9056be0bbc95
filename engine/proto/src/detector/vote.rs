//! A vote of death that anybody can check (rule S-13).
//!
//! Whoever finds a member dead signs that finding for one round of one case. The signature travels
//! in the proof, so whoever relays a proof need not be trusted. Only a finding of death is ever
//! signed: a vote of life, or that one is still looking, has nothing in it that could be shown to
//! others as anything else.
//!
//! Invariant: what is signed begins with a prefix of its own and names the voter and its
//! certificate, so that no other signature of that key is a vote, and no vote is another's.

use alloc::vec::Vec;

use sha2::{Digest, Sha256};
use zerocopy::byteorder::little_endian::{U16, U64};
use zerocopy::{FromBytes, IntoBytes};

use crate::error::{DecodeError, PeerError};
use crate::member::{Incarnation, MemberId};
use crate::membership::record::{Authority, Signature, SignedRecord};
use crate::wire::message::SealHeader;

/// Domain separation: what a vote's signature covers begins with these bytes.
pub const SIGNATURE_PREFIX: &[u8] = b"mesh-gossip vote v1\0";

/// Longest signature of a vote: RSA with 4,096 bits, the largest key in use.
pub const MOST_SIGNATURE: usize = 512;

/// What a vote of death says: this life of this member is over, found in this round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The dead member.
    pub subject: MemberId,
    /// The incarnation that died.
    pub incarnation: Incarnation,
    /// Chosen by the leader of the case; all votes of a proof name it.
    pub round: u64,
}

impl Finding {
    /// The bytes that `voter` signs with the key of the certificate whose SHA-256 is `signer`.
    pub fn message(&self, cluster_id: &str, voter: MemberId, signer: &[u8; 32]) -> Vec<u8> {
        let mut message = Vec::with_capacity(128 + cluster_id.len());
        message.extend_from_slice(SIGNATURE_PREFIX);
        // Everything else has one length, so this one makes the parts unambiguous.
        message.extend_from_slice(&(cluster_id.len() as u64).to_le_bytes());
        message.extend_from_slice(cluster_id.as_bytes());
        message.extend_from_slice(&self.subject.0);
        message.extend_from_slice(&self.incarnation.generation.to_le_bytes());
        message.extend_from_slice(&self.incarnation.counter.to_le_bytes());
        message.extend_from_slice(&self.round.to_le_bytes());
        message.extend_from_slice(&voter.0);
        message.extend_from_slice(signer);
        message
    }
}

/// A signature and the certificate that it was made under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// First eight bytes of SHA-256 of the leaf: tells a signature that is false from one by a
    /// certificate that the reader has not met yet.
    pub signer: u64,
    /// Over [`Finding::message`].
    pub signature: Signature,
}

/// Why a vote does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another certificate made it than the one that the voter's record here shows: its newest
    /// record may tell.
    UnknownSigner,
    /// The signature is false, or the certificate behind it no longer holds.
    Fails(PeerError),
}

impl Seal {
    /// Signs a finding as `voter`; `None` when the authority cannot.
    pub fn sign(
        finding: &Finding,
        cluster_id: &str,
        voter: MemberId,
        authority: &dyn Authority,
    ) -> Option<Self> {
        let signer = <[u8; 32]>::from(Sha256::digest(authority.leaf()));
        let signature = authority.sign(&finding.message(cluster_id, voter, &signer))?;
        let fits = signature.bytes.len() <= MOST_SIGNATURE;
        fits.then(|| Self { signer: prefix(&signer), signature })
    }

    /// Whether the author of `record` signed this finding.
    ///
    /// # Errors
    /// [`Refusal`] says whether to look for another record of the voter.
    pub fn check(
        &self,
        finding: &Finding,
        record: &SignedRecord,
        authority: &dyn Authority,
    ) -> Result<(), Refusal> {
        let signer = record.signer();
        if self.signer != prefix(&signer) {
            return Err(Refusal::UnknownSigner);
        }
        let content = record.record();
        let message = finding.message(&content.metadata.cluster_id, content.id, &signer);
        record.attests(&message, &self.signature, authority).map_err(|error| match error {
            PeerError::UnknownSigner => Refusal::UnknownSigner,
            other => Refusal::Fails(other),
        })
    }

    /// Appends the seal as it travels.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let header = SealHeader {
            signer: U64::new(self.signer),
            scheme: U16::new(self.signature.scheme),
            // At most [`MOST_SIGNATURE`].
            length: U16::new(self.signature.bytes.len() as u16),
        };
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&self.signature.bytes);
    }

    /// Reads a seal and returns what follows it.
    ///
    /// # Errors
    /// [`DecodeError`] when the layout does not hold.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let (header, rest) =
            SealHeader::read_from_prefix(bytes).map_err(|_| DecodeError::Truncated)?;
        let length = usize::from(header.length.get());
        if length > MOST_SIGNATURE {
            return Err(DecodeError::Oversized("vote signature"));
        }
        let (signature, rest) = rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        let signature = Signature { scheme: header.scheme.get(), bytes: signature.to_vec() };
        Ok((Self { signer: header.signer.get(), signature }, rest))
    }
}

fn prefix(signer: &[u8; 32]) -> u64 {
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&signer[..8]);
    u64::from_le_bytes(prefix)
}

/// A vote of death as a proof holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedVote {
    /// Who voted.
    pub voter: MemberId,
    /// Its signature.
    pub seal: Seal,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn finding() -> Finding {
        let incarnation = Incarnation { generation: 3, counter: 1 };
        Finding { subject: MemberId([1; 16]), incarnation, round: 77 }
    }

    /// Rule S-13: every part is covered, and nothing else that this key signs begins so.
    #[test]
    fn each_part_of_a_finding_is_signed() {
        let (voter, signer) = (MemberId([2; 16]), [3; 32]);
        let message = finding().message("c", voter, &signer);
        assert!(message.starts_with(SIGNATURE_PREFIX));
        assert!(!message.starts_with(crate::membership::record::SIGNATURE_PREFIX));
        let next = finding().incarnation.next();
        let others = [
            Finding { subject: MemberId([9; 16]), ..finding() }.message("c", voter, &signer),
            Finding { incarnation: next, ..finding() }.message("c", voter, &signer),
            Finding { round: 78, ..finding() }.message("c", voter, &signer),
            finding().message("d", voter, &signer),
            finding().message("c", MemberId([9; 16]), &signer),
            finding().message("c", voter, &[9; 32]),
        ];
        for other in others {
            assert_ne!(other, message);
        }
    }

    #[test]
    fn a_seal_survives_its_bytes() {
        let seal =
            Seal { signer: 9, signature: Signature { scheme: 0x0403, bytes: [7; 71].into() } };
        let mut bytes = Vec::new();
        seal.encode(&mut bytes);
        assert_eq!(bytes.len(), 12 + 71);
        assert_eq!(Seal::decode(&bytes[..82]), Err(DecodeError::Truncated));
        bytes.extend_from_slice(b"tail");
        assert_eq!(Seal::decode(&bytes), Ok((seal, &b"tail"[..])));
        let long = [&[0; 8][..], &[1, 4], &513u16.to_le_bytes(), &[0; 513]].concat();
        assert_eq!(Seal::decode(&long), Err(DecodeError::Oversized("vote signature")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
            if let Ok((seal, rest)) = Seal::decode(&bytes) {
                prop_assert_eq!(12 + seal.signature.bytes.len() + rest.len(), bytes.len());
            }
        }
    }
}
