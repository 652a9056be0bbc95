//! A model of keys and certificates: a signature is a hash that only its owner computes.
//!
//! Real cryptography is left out of the simulation; what remains is who can sign for whom.

use mesh_gossip_proto::error::PeerError;
use mesh_gossip_proto::membership::record::{Authority, Claim, Signature};
use sha2::{Digest, Sha256};

const SCHEME: u16 = 0xfe00;
/// About the size of a P-256 leaf certificate.
const LEAF_BYTES: usize = 480;

/// Signs as one node and verifies all.
pub(crate) struct ModelAuthority {
    node_id: String,
    leaf: Vec<u8>,
}

impl ModelAuthority {
    pub(crate) fn new(node_id: &str) -> Self {
        let mut leaf = leaf_name(node_id);
        leaf.resize(LEAF_BYTES, 0);
        Self { node_id: node_id.into(), leaf }
    }
}

fn leaf_name(node_id: &str) -> Vec<u8> {
    format!("leaf:{node_id}\0").into_bytes()
}

fn signature(node_id: &str, message: &[u8]) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(b"model key of ");
    hash.update(node_id.as_bytes());
    hash.update([0]);
    hash.update(message);
    let digest = hash.finalize();
    // An ECDSA signature takes about 71 bytes.
    [digest.as_slice(), digest.as_slice()].concat()
}

impl Authority for ModelAuthority {
    fn sign(&self, message: &[u8]) -> Option<Signature> {
        Some(Signature { scheme: SCHEME, bytes: signature(&self.node_id, message) })
    }

    fn leaf(&self) -> &[u8] {
        &self.leaf
    }

    fn intermediates(&self) -> &[[u8; 32]] {
        &[]
    }

    fn verify(&self, claim: &Claim<'_>) -> Result<(), PeerError> {
        let named = claim.leaf.starts_with(&leaf_name(claim.node_id));
        if !named || claim.scheme != SCHEME {
            return Err(PeerError::Signature("the certificate names another node"));
        }
        if claim.signature != signature(claim.node_id, claim.message) {
            return Err(PeerError::Signature("the signature does not match"));
        }
        Ok(())
    }
}
