//! Signs our records and votes and verifies those of others, with the certificates that TLS uses.
//!
//! A record is a letter that anybody may carry: whoever delivers it, its author's certificate
//! travels with it and is judged as in a handshake. A chain is proven once; after that the same
//! author costs one signature.
//!
//! Invariant: what is remembered was proven first, so a full memory only costs time (rule S-11).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_gossip_proto::WallTime;
use mesh_gossip_proto::error::PeerError;
use mesh_gossip_proto::membership::record::{
    self, Authority, Claim, OperatorClaim, Signature, SignedRecord,
};
use rustls::sign::SigningKey;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::EndEntityCert;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::tls::bounded::Bounded;
use crate::tls::credentials::Credentials;
use crate::tls::notary::{CircleId, Leaf, Seat};
use crate::tls::provider::{algorithm_of, sha256, signature_schemes};
use crate::tls::standing::{Fall, Serial};
use crate::tls::verifier::{MAX_SENT_INTERMEDIATES, TrustError, Usage};

/// Intermediates of peers remembered; one mesh has as many as it has issuing CAs.
pub const MAX_INTERMEDIATES: usize = 256;

/// A TLS 1.3 handshake signature begins so; a record's never may, the key is the same.
const TLS_SIGNATURE_PADDING: [u8; 64] = [0x20; 64];

/// The record authority over one set of credentials; a reload makes another one.
pub struct MeshAuthority {
    credentials: Arc<Credentials>,
    own_intermediates: HashMap<[u8; 32], CertificateDer<'static>>,
    learned: Arc<Intermediates>,
    /// Held for as long as we ask the notary of our verifier.
    _seat: Seat,
}

impl MeshAuthority {
    /// An authority that shares what handshakes have learned.
    pub fn new(credentials: Arc<Credentials>, learned: Arc<Intermediates>) -> Self {
        let own = credentials.chain()[1..].iter();
        let own_intermediates = own.map(|der| (sha256(der), der.clone())).collect();
        let seat = credentials.verifier().notary().enter();
        Self { credentials, own_intermediates, learned, _seat: seat }
    }

    /// The credentials that sign.
    pub fn credentials(&self) -> &Arc<Credentials> {
        &self.credentials
    }

    /// Keeps the intermediates of a peer's chain, leaf first, that are needed to prove it. Cheap
    /// when they are known; a chain that does not hold teaches nothing.
    pub fn learn(&self, chain: &[CertificateDer<'_>]) {
        let Some((leaf, sent)) = chain.split_first() else { return };
        if sent.iter().all(|der| self.intermediate(&sha256(der)).is_some()) {
            return;
        }
        let Some(now) = self.credentials.now() else { return };
        let verifier = self.credentials.verifier();
        if let Ok(verified) = verifier.verify_certificate(leaf, sent, Usage::Client, now) {
            for intermediate in verified.intermediates {
                self.learned.insert(intermediate);
            }
        }
    }

    /// The certificate behind a hash, to complete a chain or to serve it to a peer.
    pub fn intermediate(&self, hash: &[u8; 32]) -> Option<CertificateDer<'static>> {
        let own = self.own_intermediates.get(hash).cloned();
        let bundled = || self.credentials.verifier().trust().load().intermediate(hash).cloned();
        own.or_else(bundled).or_else(|| self.learned.find(hash))
    }

    /// What handshakes have learned, to be shared with the next authority.
    pub(crate) fn learned(&self) -> &Arc<Intermediates> {
        &self.learned
    }

    /// The leaf's identity and lifetime: remembered, or proven and remembered. `hash` is its own.
    fn leaf_of(
        &self,
        claim: &Claim<'_>,
        hash: &[u8; 32],
        now: UnixTime,
    ) -> Result<Arc<Leaf>, PeerError> {
        let verifier = self.credentials.verifier();
        let trust = verifier.trust().load();
        let name = leaf_name(verifier.circle(&trust), hash);
        // Whoever believes a record can complete its chain for others: with whom it was proven by
        // another agent of this process, we may lack an intermediate.
        let complete = || claim.intermediates.iter().all(|hash| self.intermediate(hash).is_some());
        if let Some(leaf) = verifier.notary().leaf(&name).filter(|_| complete()) {
            match trust.upholds(&leaf.standing, now) {
                Ok(()) => return Ok(leaf),
                Err(fall @ Fall::Revoked(_)) => return Err(PeerError::Signature(fall.reason())),
                // Another path may lead to a root that is trusted still; our own need no pin.
                Err(Fall::Root | Fall::Pin | Fall::Expired) => {}
            }
        }
        if claim.intermediates.len() > MAX_SENT_INTERMEDIATES {
            return Err(PeerError::Signature("chain"));
        }
        let found: Vec<_> =
            claim.intermediates.iter().filter_map(|hash| self.intermediate(hash)).collect();
        let der = CertificateDer::from(claim.leaf);
        let verified = verifier.verify_certificate(&der, &found, Usage::Client, now);
        let verified = verified.map_err(|error| match error {
            TrustError::UnknownCa if found.len() < claim.intermediates.len() => {
                PeerError::UnknownSigner
            }
            other => PeerError::Signature(other.reason()),
        })?;
        // Thumbprints restrict peers; our own records come back to us by gossip.
        if verified.identity.node_id != self.credentials.identity().node_id {
            let pinned = verifier.check_thumbprints(&verified);
            pinned.map_err(|error| PeerError::Signature(error.reason()))?;
        }
        let leaf = Arc::new(Leaf {
            identity: verified.identity,
            not_after: verified.leaf_not_after,
            standing: verified.standing,
        });
        if verifier.is_in_force(&trust) {
            verifier.notary().keep_leaf(name, Arc::clone(&leaf));
        }
        Ok(leaf)
    }

    /// Whether a record in this envelope was signed under a certificate that is revoked, by the
    /// trust in force.
    pub(crate) fn is_revoked(&self, envelope: &[u8], steps: &mut RevokedSteps) -> bool {
        let Ok((leaf, hashes)) = record::signer(envelope) else { return false };
        let trust = self.credentials.verifier().trust().load();
        let lists = trust.revocations();
        let named = |der: &[u8]| Serial::of_certificate(der).is_some_and(|n| lists.may_revoke(&n));
        let mut step = |hash: &[u8; 32]| {
            let look = || self.intermediate(hash).is_some_and(|der| named(&der));
            *steps.of_peers.entry(*hash).or_insert_with(look)
        };
        // Most serial numbers are in no list: the chain need not be proven to know that.
        let bundled = || trust.intermediates().iter().any(|der| named(der));
        let worth_a_look = named(leaf)
            || hashes.iter().any(&mut step)
            || *steps.bundled.get_or_insert_with(bundled);
        let found: Vec<_> = hashes.iter().filter_map(|hash| self.intermediate(hash)).collect();
        let (leaf, verifier) = (CertificateDer::from(leaf), self.credentials.verifier());
        let revoked = |now| {
            let verified = verifier.verify_certificate(&leaf, &found, Usage::Client, now);
            matches!(verified, Err(TrustError::Revoked { .. }))
        };
        worth_a_look && self.credentials.now().is_some_and(revoked)
    }

    /// Whether the leaf's key made this signature: remembered, or checked and remembered.
    fn check_signature(
        &self,
        claim: &Claim<'_>,
        hash: &[u8; 32],
        algorithm: &dyn SignatureVerificationAlgorithm,
    ) -> Result<(), PeerError> {
        let notary = self.credentials.verifier().notary();
        let name = signature_name(claim, hash);
        if notary.fits(&name) {
            return Ok(());
        }
        check_signature(claim.leaf, algorithm, claim.message, claim.signature)?;
        notary.keep_signature(name);
        Ok(())
    }
}

/// Which intermediates bear a number that some list names, found out once a sweep.
#[derive(Default)]
pub(crate) struct RevokedSteps {
    of_peers: HashMap<[u8; 32], bool>,
    /// Whether one of the trust bundle does.
    bundled: Option<bool>,
}

impl Authority for MeshAuthority {
    fn sign(&self, message: &[u8]) -> Option<Signature> {
        sign_with(self.credentials.signing_key().as_ref(), message)
    }

    fn leaf(&self) -> &[u8] {
        self.credentials.leaf()
    }

    fn intermediates(&self) -> &[[u8; 32]] {
        self.credentials.intermediates()
    }

    /// Rules S-8, S-11, S-12 and S-17.
    fn verify(&self, claim: &Claim<'_>) -> Result<(), PeerError> {
        let algorithm = algorithm_of(claim.scheme).ok_or(PeerError::Signature("scheme"))?;
        let now = self.credentials.now().ok_or(PeerError::Signature("clock"))?;
        let hash = sha256(claim.leaf);
        let leaf = self.leaf_of(claim, &hash, now)?;
        let named = [&leaf.identity.cluster, &leaf.identity.node_id, &leaf.identity.role];
        if named != [claim.cluster_id, claim.node_id, claim.role] {
            return Err(PeerError::Signature("identity"));
        }
        let born_ms = claim.incarnation.generation;
        if born_ms / 1_000 > leaf.not_after.as_secs() {
            return Err(PeerError::Incarnation);
        }
        self.check_signature(claim, &hash, algorithm)
    }

    /// Rules S-8, S-14 and S-17. Orders are rare: their signers are proven each time.
    fn verify_operator(&self, claim: &OperatorClaim<'_>) -> Result<(), PeerError> {
        let algorithm = algorithm_of(claim.scheme).ok_or(PeerError::Signature("scheme"))?;
        let now = self.credentials.now().ok_or(PeerError::Signature("clock"))?;
        if claim.intermediates.len() > MAX_SENT_INTERMEDIATES {
            return Err(PeerError::Signature("chain"));
        }
        let found: Vec<_> =
            claim.intermediates.iter().filter_map(|hash| self.intermediate(hash)).collect();
        let (der, verifier) = (CertificateDer::from(claim.leaf), self.credentials.verifier());
        let refused = |error: TrustError| PeerError::Signature(error.reason());
        let verified = verifier.verify_operator(&der, &found, now).map_err(refused)?;
        verifier.check_thumbprints(&verified).map_err(refused)?;
        if verified.identity.cluster != claim.cluster_id {
            return Err(PeerError::Signature("identity"));
        }
        check_signature(claim.leaf, algorithm, claim.message, claim.signature)
    }

    fn certificate(&self, hash: &[u8; 32]) -> Option<Vec<u8>> {
        self.intermediate(hash).map(|der| der.to_vec())
    }

    fn complete(&self, leaf: &[u8], intermediates: &[Vec<u8>]) {
        let leaf = CertificateDer::from(leaf);
        let sent = intermediates.iter().map(|der| CertificateDer::from(der.as_slice()));
        let chain: Vec<_> = std::iter::once(leaf).chain(sent).collect();
        self.learn(&chain);
    }

    fn intern(&self, record: Arc<SignedRecord>) -> Arc<SignedRecord> {
        self.credentials.verifier().notary().one_record(record)
    }

    fn shared(&self, bytes: Arc<[u8]>) -> Arc<[u8]> {
        self.credentials.verifier().notary().one_copy(bytes)
    }

    fn not_after(&self, leaf: &[u8]) -> Option<WallTime> {
        let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
        let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
        Some(WallTime(seconds.saturating_mul(1_000)))
    }
}

fn leaf_name(circle: CircleId, hash: &[u8; 32]) -> [u8; 32] {
    sha256(&[&circle.to_bytes()[..], hash].concat())
}

/// A signature by what it is checked with and against. All but the last part have one length.
fn signature_name(claim: &Claim<'_>, hash: &[u8; 32]) -> [u8; 32] {
    let (scheme, message) = (claim.scheme.to_le_bytes(), sha256(claim.message));
    sha256(&[&hash[..], &scheme, &message, claim.signature].concat())
}

#[cfg(test)]
thread_local! {
    /// How often a signature was checked in this thread.
    pub(super) static SIGNATURES_CHECKED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

fn check_signature(
    leaf: &[u8],
    algorithm: &dyn SignatureVerificationAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<(), PeerError> {
    #[cfg(test)]
    SIGNATURES_CHECKED.set(SIGNATURES_CHECKED.get() + 1);
    let der = CertificateDer::from(leaf);
    let certificate = EndEntityCert::try_from(&der).map_err(|_| PeerError::Signature("chain"))?;
    certificate
        .verify_signature(algorithm, message, signature)
        .map_err(|_| PeerError::Signature("mismatch"))
}

/// Signs what is no handshake.
pub(super) fn sign_with(key: &dyn SigningKey, message: &[u8]) -> Option<Signature> {
    if message.starts_with(&TLS_SIGNATURE_PADDING) {
        return None;
    }
    let signer = key.choose_scheme(&signature_schemes())?;
    let bytes = signer.sign(message).ok()?;
    Some(Signature { scheme: signer.scheme().into(), bytes })
}

impl fmt::Debug for MeshAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshAuthority")
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

/// Intermediates of other members' proven chains, by SHA-256; shared by all who meet peers.
pub struct Intermediates(Mutex<Bounded<CertificateDer<'static>>>);

impl Intermediates {
    fn find(&self, hash: &[u8; 32]) -> Option<CertificateDer<'static>> {
        self.lock().find(hash).cloned()
    }

    fn insert(&self, intermediate: CertificateDer<'static>) {
        let hash = sha256(&intermediate);
        self.lock().insert(hash, intermediate);
    }

    fn lock(&self) -> MutexGuard<'_, Bounded<CertificateDer<'static>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Intermediates {
    fn default() -> Self {
        Self(Mutex::new(Bounded::new(MAX_INTERMEDIATES)))
    }
}

impl fmt::Debug for Intermediates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Intermediates({} of {MAX_INTERMEDIATES})", self.lock().len())
    }
}
