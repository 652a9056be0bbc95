//! What chains end in, what completes them, and what restricts them further.
//!
//! A bundle file is sorted once: certificates that vouch for themselves are anchors, the others
//! are steps on the way. Thumbprints and revocation lists narrow the result and never widen it
//! (rules S-16 and S-17). All of it together is one immutable snapshot with a number; who changes
//! anything makes another snapshot with the next number ([`TrustCell`]).
//!
//! Invariant: a [`Trust`] has at least one anchor, and each of its certificates is a CA's.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use tokio::sync::watch;
use webpki::anchor_from_trusted_cert;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::tls::provider::sha256;
use crate::tls::revocation::{ListError, ListIssuer, RevocationList, Revocations, Taken};
use crate::tls::standing::{Fall, KeyId, Print, Standing, Thumbprints};

/// Anchors, intermediates, thumbprints and revocation lists: one snapshot.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Rises with every snapshot that takes the place of another.
    epoch: u64,
    anchors: Vec<TrustAnchor<'static>>,
    roots: Vec<KeyId>,
    intermediates: Vec<CertificateDer<'static>>,
    by_hash: HashMap<[u8; 32], usize>,
    list_issuers: Vec<ListIssuer>,
    pins: Vec<Pin>,
    revocations: Revocations,
}

impl Trust {
    /// Sorts a bundle into anchors and intermediates; nothing is pinned yet.
    ///
    /// # Errors
    /// [`BundleError`] names the first certificate that does not belong, or the missing anchor.
    pub fn of_bundle(bundle: Vec<CertificateDer<'static>>) -> Result<Self, BundleError> {
        let (mut anchors, mut intermediates) = (Vec::new(), Vec::new());
        let (mut roots, mut list_issuers) = (Vec::new(), Vec::new());
        for (position, der) in bundle.into_iter().enumerate() {
            let undecodable = BundleError::Undecodable { position: position + 1 };
            let Ok((_, certificate)) = X509Certificate::from_der(&der) else {
                return Err(undecodable);
            };
            if !certificate.is_ca() {
                let subject = certificate.subject().to_string();
                return Err(BundleError::NotCa { position: position + 1, subject });
            }
            list_issuers.push(ListIssuer::of(&certificate));
            if vouches_for_itself(&certificate) {
                roots.push(KeyId::of_certificate(&certificate));
                let anchor = anchor_from_trusted_cert(&der).map_err(|_| undecodable)?;
                anchors.push(anchor.to_owned());
            } else {
                intermediates.push(der);
            }
        }
        if anchors.is_empty() {
            return Err(BundleError::NoAnchor { intermediates: intermediates.len() });
        }
        let hashes = intermediates.iter().enumerate();
        let by_hash = hashes.map(|(place, der)| (sha256(der), place)).collect();
        Ok(Self {
            epoch: 0,
            anchors,
            roots,
            intermediates,
            by_hash,
            list_issuers,
            pins: Vec::new(),
            revocations: Revocations::default(),
        })
    }

    /// Restricts leaves to these thumbprints; an empty list restricts nothing.
    #[must_use]
    pub fn restricted_to(self, pins: Vec<Pin>) -> Self {
        Self { pins, ..self }
    }

    /// Believes the revocation lists of these CAs too: our own chain names CAs that the bundle
    /// need not hold.
    #[must_use]
    pub(crate) fn with_list_issuers(mut self, chain: &[CertificateDer<'_>]) -> Self {
        self.list_issuers.extend(chain.iter().filter_map(ListIssuer::of_der));
        self
    }

    /// Starts from these revocation lists.
    #[must_use]
    pub fn with_revocations(self, revocations: Revocations) -> Self {
        Self { revocations, ..self }
    }

    /// Whether both say the same, whatever their numbers.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.anchors == other.anchors
            && self.intermediates == other.intermediates
            && self.list_issuers == other.list_issuers
            && self.pins == other.pins
            && self.revocations == other.revocations
    }

    /// The number of this snapshot.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Takes a revocation list in DER, if it is verified and newer than the one in force.
    ///
    /// # Errors
    /// [`ListError`]; nothing has changed then.
    pub fn take_list(&mut self, der: &[u8], now: UnixTime) -> Result<Taken, ListError> {
        if !self.revocations.are_checked() {
            return Err(ListError::Unchecked);
        }
        let list = RevocationList::verify(der, &self.list_issuers, now)?;
        self.revocations.take(Arc::new(list))
    }

    /// The revocation lists in force.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Whether what was verified once holds still: a lookup a certificate, no signature.
    ///
    /// # Errors
    /// [`Fall`] by the first reason why it does not.
    pub fn upholds(&self, standing: &Standing, now: UnixTime) -> Result<(), Fall> {
        let revoked = standing.certificates().find(|id| self.revocations.revokes(id));
        if let Some(id) = revoked {
            return Err(Fall::Revoked(id));
        }
        if !self.roots.contains(&standing.steps.anchor) {
            return Err(Fall::Root);
        }
        if !self.permits(&standing.thumbprints) {
            return Err(Fall::Pin);
        }
        if now > standing.not_after { Err(Fall::Expired) } else { Ok(()) }
    }

    /// Certificates that vouch for themselves.
    pub fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// Certificates that complete chains which arrive short.
    pub fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.intermediates
    }

    /// The intermediate of this SHA-256.
    pub(crate) fn intermediate(&self, hash: &[u8; 32]) -> Option<&CertificateDer<'static>> {
        self.by_hash.get(hash).map(|place| &self.intermediates[*place])
    }

    /// Whether the pins let this leaf pass.
    pub fn permits(&self, leaf: &Thumbprints) -> bool {
        self.pins.is_empty()
            || self.pins.iter().any(|pin| match pin {
                Pin::Sha1(pinned) => Print::of(pinned) == leaf.certificate_sha1,
                Pin::Sha256(pinned) => {
                    let pinned = Print::of(pinned);
                    pinned == leaf.certificate_sha256 || pinned == leaf.key_sha256
                }
            })
    }
}

/// The snapshot in force. Every thread reads it without a lock; writers take turns outside.
///
/// Invariant: a reader that has seen an epoch finds that snapshot or a later one.
pub struct TrustCell {
    snapshot: ArcSwap<Trust>,
    /// The snapshot's number, stored after it: what every datagram compares.
    epoch: AtomicU64,
    epochs: watch::Sender<u64>,
}

impl TrustCell {
    /// With this snapshot in force.
    pub fn new(trust: Trust) -> Self {
        let (epochs, _) = watch::channel(trust.epoch);
        let epoch = AtomicU64::new(trust.epoch);
        Self { snapshot: ArcSwap::from_pointee(trust), epoch, epochs }
    }

    /// The snapshot in force.
    pub fn load(&self) -> Guard<Arc<Trust>> {
        self.snapshot.load()
    }

    /// The snapshot in force, to be held for longer.
    pub(crate) fn load_full(&self) -> Arc<Trust> {
        self.snapshot.load_full()
    }

    /// The number of the snapshot in force.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Puts `trust` in force under the next number; the writer sees to it that nobody else
    /// writes meanwhile.
    pub(crate) fn replace(&self, trust: Trust) -> u64 {
        let epoch = self.epoch() + 1;
        self.snapshot.store(Arc::new(Trust { epoch, ..trust }));
        self.epoch.store(epoch, Ordering::Release);
        self.epochs.send_replace(epoch);
        epoch
    }

    /// Tells of every replacement.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.epochs.subscribe()
    }
}

impl std::fmt::Debug for TrustCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TrustCell(epoch {})", self.epoch())
    }
}

/// Signed with its own key, as far as names and key identifiers tell. The file is the operator's
/// word; this only tells roots from the certificates that roots (or older roots) have issued.
pub(crate) fn vouches_for_itself(certificate: &X509Certificate<'_>) -> bool {
    if certificate.subject().as_raw() != certificate.issuer().as_raw() {
        return false;
    }
    let (mut own, mut issuers) = (None, None);
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => own = Some(id.0),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                issuers = id.key_identifier.as_ref().map(|id| id.0);
            }
            _ => {}
        }
    }
    issuers.is_none() || own == issuers
}

/// A thumbprint: SHA-1 of a certificate, or SHA-256 of a certificate or its public key (SPKI).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Of the certificate, as Windows and OmniRelay print it.
    Sha1([u8; 20]),
    /// Of the certificate or of its SubjectPublicKeyInfo.
    Sha256([u8; 32]),
}

impl Pin {
    /// Reads hex of either length, any case, with or without colons and spaces.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Option<Vec<u8>> = text
            .chars()
            .filter(|character| !matches!(character, ':' | ' '))
            .map(|character| character.to_digit(16).map(|digit| digit as u8))
            .collect();
        let digits = digits?;
        if digits.len() % 2 != 0 {
            return None;
        }
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        match bytes.len() {
            20 => bytes.try_into().ok().map(Self::Sha1),
            32 => bytes.try_into().ok().map(Self::Sha256),
            _ => None,
        }
    }
}

/// A bundle that cannot be trusted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleError {
    /// Not an X.509 certificate.
    Undecodable {
        /// Position in the bundle, from 1.
        position: usize,
    },
    /// A leaf among the CAs.
    NotCa {
        /// Position in the bundle, from 1.
        position: usize,
        /// Whom it names.
        subject: String,
    },
    /// Nothing in the bundle vouches for itself.
    NoAnchor {
        /// How many certificates it has.
        intermediates: usize,
    },
}

impl std::fmt::Display for BundleError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Undecodable { position } => {
                write!(f, "certificate {position} cannot be decoded; replace it")
            }
            Self::NotCa { position, subject } => write!(
                f,
                "certificate {position} ({subject}) is not a CA's; list only CA certificates"
            ),
            Self::NoAnchor { intermediates: 0 } => {
                f.write_str("it holds no certificate; add the root CA's as PEM")
            }
            Self::NoAnchor { intermediates } => write!(
                f,
                "none of its {intermediates} certificates is self-signed; add the root CA's"
            ),
        }
    }
}

impl std::error::Error for BundleError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule S-17.
    #[test]
    fn thumbprints_are_read_as_tools_print_them() {
        let sha1 = Pin::Sha1([0xab; 20]);
        assert_eq!(Pin::parse(&"AB".repeat(20)), Some(sha1));
        assert_eq!(Pin::parse(&["ab"; 20].join(":")), Some(sha1));
        assert_eq!(Pin::parse(&"0f".repeat(32)), Some(Pin::Sha256([0x0f; 32])));
        for wrong in ["", "ab", "abc", &"ab".repeat(21), &"xy".repeat(20)] {
            assert_eq!(Pin::parse(wrong), None, "{wrong:?}");
        }
    }
}
