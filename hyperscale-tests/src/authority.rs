//! A model of keys and certificates: a signature is a hash that only its owner computes.
//!
//! Real cryptography is left out of the simulation; what remains is who can sign for whom. All
//! nodes of a world share what was signed and which records have been verified, so that a record
//! is decoded once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_gossip_proto::error::PeerError;
use mesh_gossip_proto::membership::record::{
    Authority, Claim, RecordHash, SIGNATURE_PREFIX, Signature, SignedRecord,
};
use sha2::{Digest, Sha256};
use twox_hash::XxHash3_64;

const SCHEME: u16 = 0xfe00;
/// About the size of a P-256 leaf certificate.
const LEAF_BYTES: usize = 480;
/// Below so many records nothing is swept.
const FEW: usize = 4_096;

/// What the nodes of one world share.
#[derive(Clone, Default)]
pub(crate) struct Notary(Arc<Mutex<Books>>);

/// Whatever it holds once is held by others too, or swept.
#[derive(Default)]
struct Books {
    /// Records by a hash of their envelope.
    interned: HashMap<u64, Arc<SignedRecord>>,
    sweep_at: usize,
    /// Proofs that nodes hold, by a hash of their bytes.
    proofs: HashMap<u64, Arc<[u8]>>,
    sweep_proofs_at: usize,
    /// Who signed what, by the record's hash.
    signed: HashMap<RecordHash, Box<str>>,
}

impl Notary {
    fn books(&self) -> MutexGuard<'_, Books> {
        // Every change is a single insertion: a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `node_id` signed the record with this hash.
    pub(crate) fn was_signed(&self, hash: RecordHash, node_id: &str) -> bool {
        self.books().signed.get(&hash).is_some_and(|signer| **signer == *node_id)
    }

    /// Shares a record that its author has just made.
    pub(crate) fn share(&self, record: &Arc<SignedRecord>) {
        let mut books = self.books();
        if books.interned.len() >= books.sweep_at.max(FEW) {
            books.interned.retain(|_, record| Arc::strong_count(record) > 1);
            books.sweep_at = books.interned.len() * 2;
        }
        books.interned.insert(key(record.envelope()), record.clone());
    }
}

impl Books {
    fn shared(&mut self, bytes: Arc<[u8]>) -> Arc<[u8]> {
        if let Some(known) = self.proofs.get(&key(&bytes)).filter(|known| **known == bytes) {
            return known.clone();
        }
        if self.proofs.len() >= self.sweep_proofs_at.max(FEW) {
            self.proofs.retain(|_, proof| Arc::strong_count(proof) > 1);
            self.sweep_proofs_at = self.proofs.len() * 2;
        }
        self.proofs.insert(key(&bytes), bytes.clone());
        bytes
    }
}

fn key(envelope: &[u8]) -> u64 {
    XxHash3_64::oneshot(envelope)
}

/// Signs as one node and verifies all.
pub(crate) struct ModelAuthority {
    node_id: Box<str>,
    leaf: Box<[u8]>,
    notary: Notary,
}

impl ModelAuthority {
    /// `edition` tells one certificate of a node from the next.
    pub(crate) fn new(node_id: &str, edition: u32, notary: Notary) -> Self {
        let mut leaf = leaf_name(node_id);
        leaf.extend_from_slice(&edition.to_le_bytes());
        leaf.resize(LEAF_BYTES, 0);
        Self { node_id: node_id.into(), leaf: leaf.into(), notary }
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

/// The name of the record that `message` signs.
fn record_hash(message: &[u8]) -> RecordHash {
    let digest = Sha256::digest(message);
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&digest[..8]);
    RecordHash(u64::from_le_bytes(prefix))
}

impl Authority for ModelAuthority {
    fn sign(&self, message: &[u8]) -> Option<Signature> {
        // Votes are not entered: they are checked by their signatures alone, and there are many.
        if message.starts_with(SIGNATURE_PREFIX) {
            self.notary.books().signed.insert(record_hash(message), self.node_id.clone());
        }
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

    fn interned(&self, envelope: &[u8]) -> Option<Arc<SignedRecord>> {
        let books = self.notary.books();
        let record = books.interned.get(&key(envelope))?;
        (**record.envelope() == *envelope).then(|| record.clone())
    }

    fn shared(&self, bytes: Arc<[u8]>) -> Arc<[u8]> {
        self.notary.books().shared(bytes)
    }

    fn intern(&self, record: Arc<SignedRecord>) -> Arc<SignedRecord> {
        self.notary.share(&record);
        record
    }
}
