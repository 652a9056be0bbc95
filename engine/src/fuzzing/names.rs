//! An authority of names: certificates and signatures without cryptography, so that a fuzzer gets
//! behind them.

use mesh_gossip_proto::membership::record::{Claim, OperatorClaim};
use mesh_gossip_proto::{Authority, PeerError, Signature};

use crate::tls::provider::sha256;

/// The cluster of every target.
pub(super) const CLUSTER: &str = "c";

const OPERATOR: &[u8] = b"operator";

/// A certificate is the names on it; a signature is a hash of those and of what is signed.
pub(super) struct Names {
    leaf: Vec<u8>,
    lenient: bool,
}

impl Names {
    /// Of a worker of ours.
    pub(super) fn of(node: &str) -> Self {
        Self { leaf: format!("{node}/{CLUSTER}/worker").into_bytes(), lenient: false }
    }

    /// Of an operator.
    pub(super) fn operator() -> Self {
        Self { leaf: OPERATOR.to_vec(), lenient: false }
    }

    /// Accepts every signature.
    pub(super) fn anybody() -> Self {
        Self { leaf: Vec::new(), lenient: true }
    }

    /// Signs under any certificate.
    pub(super) fn signing_as(leaf: &[u8]) -> Self {
        Self { leaf: leaf.to_vec(), lenient: true }
    }
}

impl Authority for Names {
    fn sign(&self, message: &[u8]) -> Option<Signature> {
        Some(Signature { scheme: 1, bytes: signature(&self.leaf, message).to_vec() })
    }

    fn leaf(&self) -> &[u8] {
        &self.leaf
    }

    fn intermediates(&self) -> &[[u8; 32]] {
        &[]
    }

    fn verify(&self, claim: &Claim<'_>) -> Result<(), PeerError> {
        let named = format!("{}/{}/{}", claim.node_id, claim.cluster_id, claim.role);
        let signed = claim.signature == signature(claim.leaf, claim.message);
        if self.lenient || (claim.leaf == named.as_bytes() && signed) {
            return Ok(());
        }
        Err(PeerError::Signature("the certificate names another"))
    }

    fn verify_operator(&self, claim: &OperatorClaim<'_>) -> Result<(), PeerError> {
        let signed = claim.signature == signature(claim.leaf, claim.message);
        if self.lenient || (claim.leaf == OPERATOR && signed) {
            return Ok(());
        }
        Err(PeerError::Signature("the certificate names no operator"))
    }
}

fn signature(leaf: &[u8], message: &[u8]) -> [u8; 32] {
    sha256(&[&(leaf.len() as u64).to_le_bytes(), leaf, message].concat())
}
