//! Keys that prove possession of a live session (rule S-7).
//!
//! Each direction of a session has one. Who holds it can show a responder, by a single datagram
//! and before any TLS, that a handshake comes from the peer of that session.

use ring::digest::{SHA256, digest};
use ring::hmac;
use zeroize::Zeroizing;

/// Bytes of a proof and of its key.
pub(crate) const PROOF: usize = 32;
/// So much of a handshake header is covered: all of it but the proof itself.
pub(crate) const COVERED: usize = 32;

/// One direction's key. It counts nothing, so that a handshake may hold a copy.
#[derive(Clone)]
pub(crate) struct ProofKey(Zeroizing<[u8; PROOF]>);

impl std::fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProofKey(redacted)")
    }
}

/// Both directions of a session, as one of its ends sees them.
#[derive(Debug)]
pub(crate) struct ProofKeys {
    /// Under which we prove.
    pub(crate) ours: ProofKey,
    /// Under which the peer proves.
    pub(crate) theirs: ProofKey,
}

impl ProofKey {
    pub(crate) fn new(key: Zeroizing<[u8; PROOF]>) -> Self {
        Self(key)
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.as_ref())
    }

    fn covered(header: &[u8; COVERED], fragment: &[u8]) -> [u8; COVERED + 32] {
        let mut bytes = [0; COVERED + 32];
        bytes[..COVERED].copy_from_slice(header);
        bytes[COVERED..].copy_from_slice(digest(&SHA256, fragment).as_ref());
        bytes
    }

    /// The proof for a handshake datagram.
    pub(crate) fn prove(&self, header: &[u8; COVERED], fragment: &[u8]) -> [u8; PROOF] {
        let tag = hmac::sign(&self.key(), &Self::covered(header, fragment));
        let mut proof = [0; PROOF];
        proof.copy_from_slice(tag.as_ref());
        proof
    }

    /// Whether `proof` was made under this key for exactly these bytes; in constant time.
    pub(crate) fn holds(&self, header: &[u8; COVERED], fragment: &[u8], proof: &[u8]) -> bool {
        hmac::verify(&self.key(), &Self::covered(header, fragment), proof).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule S-7: a proof covers header and fragment, and is worth nothing under another key.
    #[test]
    fn a_proof_holds_for_its_key_and_its_bytes() {
        let key = ProofKey::new(Zeroizing::new([1; PROOF]));
        let proof = key.prove(&[2; COVERED], b"fragment");
        assert!(key.holds(&[2; COVERED], b"fragment", &proof));
        assert!(!key.holds(&[2; COVERED], b"Fragment", &proof));
        assert!(!key.holds(&[3; COVERED], b"fragment", &proof));
        assert!(!key.holds(&[2; COVERED], b"fragment", &[0; PROOF]));
        assert!(!key.holds(&[2; COVERED], b"fragment", &proof[..24]));
        let other = ProofKey::new(Zeroizing::new([4; PROOF]));
        assert!(!other.holds(&[2; COVERED], b"fragment", &proof));
        assert_eq!(format!("{key:?}"), "ProofKey(redacted)");
    }

    /// Rule S-7: an independent implementation of SHA-256 and HMAC gave this proof.
    #[test]
    fn a_golden_proof_holds() {
        let header: [u8; COVERED] = std::array::from_fn(|n| n as u8);
        let proof = ProofKey::new(Zeroizing::new([7; PROOF])).prove(&header, b"client hello");
        let hex: String = proof.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "787b57ed700c21e911cb4742d6e20fce6b0169d1be9774fc3d2a196df623bd46");
    }
}
