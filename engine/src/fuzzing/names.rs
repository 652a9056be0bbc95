//! An authority of names: certificates and signatures without cryptography, so that a fuzzer gets
//! behind them.

use mesh_gossip_proto::membership::record::Claim;
use mesh_gossip_proto::{Authority, PeerError, Signature};

/// The cluster of every target.
pub(super) const CLUSTER: &str = "c";

/// A certificate is the names on it; a signature repeats them.
pub(super) struct Names {
    leaf: Vec<u8>,
    lenient: bool,
}

impl Names {
    /// Of a worker of ours.
    pub(super) fn of(node: &str) -> Self {
        Self { leaf: format!("{node}/{CLUSTER}/worker").into_bytes(), lenient: false }
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
    fn sign(&self, _message: &[u8]) -> Option<Signature> {
        Some(Signature { scheme: 1, bytes: self.leaf.clone() })
    }

    fn leaf(&self) -> &[u8] {
        &self.leaf
    }

    fn intermediates(&self) -> &[[u8; 32]] {
        &[]
    }

    fn verify(&self, claim: &Claim<'_>) -> Result<(), PeerError> {
        let named = format!("{}/{}/{}", claim.node_id, claim.cluster_id, claim.role);
        let holds = claim.leaf == named.as_bytes() && claim.signature == claim.leaf;
        if self.lenient || holds {
            return Ok(());
        }
        Err(PeerError::Signature("the certificate names another"))
    }
}
