//! What a session rests on, small enough to ask again at every datagram.
//!
//! A verified chain is boiled down to names: who signed what under which number, which root the
//! chain ends in, what pins may have let it pass, and until when. As long as nobody changed what
//! is trusted one comparison of numbers says that it all holds; after a change the names are
//! looked up once (rule S-16).
//!
//! Invariant: asking costs a lookup a certificate and no signature.

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::{TrustAnchor, UnixTime};
use x509_parser::prelude::X509Certificate;

use crate::tls::provider::{sha1_thumbprint, sha256};

/// Longest serial number that RFC 5280 allows, in bytes.
const MAX_SERIAL: usize = 20;

/// A public key, by SHA-256 of what its SubjectPublicKeyInfo holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// Of a whole SubjectPublicKeyInfo in DER.
    pub fn of_public_key_info(der: &[u8]) -> Self {
        Self(sha256(contents(der)))
    }

    /// Of a certificate's key.
    pub(crate) fn of_certificate(certificate: &X509Certificate<'_>) -> Self {
        Self::of_public_key_info(certificate.public_key().raw)
    }

    /// The hash itself.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Of a root's key; anchors hold the contents alone.
    pub(crate) fn of_anchor(anchor: &TrustAnchor<'_>) -> Self {
        Self(sha256(&anchor.subject_public_key_info))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What follows tag and length of a DER value; the value itself where that cannot be read.
fn contents(der: &[u8]) -> &[u8] {
    element(der).map_or(der, |(inner, _)| inner)
}

/// The contents of the DER value at the start, and what follows it.
pub(super) fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, header) = match *der.get(1)? {
        short @ ..0x80 => (usize::from(short), 2),
        long => {
            let count = usize::from(long & 0x7f);
            let bytes = der.get(2..2 + count).filter(|_| (1..=4).contains(&count))?;
            (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), 2 + count)
        }
    };
    let end = header.checked_add(length)?;
    Some((der.get(header..end)?, der.get(end..)?))
}

/// A certificate's serial number without leading zeros. One that is longer than RFC 5280 allows
/// is stood for by a part of its hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Serial {
    length: u8,
    bytes: [u8; MAX_SERIAL],
}

impl Serial {
    /// From its big-endian bytes.
    pub fn new(raw: &[u8]) -> Self {
        let start = raw.iter().position(|byte| *byte != 0).unwrap_or(raw.len());
        let significant = &raw[start..];
        let hash = sha256(significant);
        let kept = if significant.len() <= MAX_SERIAL { significant } else { &hash[..MAX_SERIAL] };
        let mut bytes = [0; MAX_SERIAL];
        bytes[..kept.len()].copy_from_slice(kept);
        Self { length: kept.len() as u8, bytes }
    }
}

impl Serial {
    /// Of a certificate in DER, without looking at the rest of it.
    pub(crate) fn of_certificate(der: &[u8]) -> Option<Self> {
        let (certificate, _) = element(der)?;
        let (signed, _) = element(certificate)?;
        // A version stands first, in a tag of its own, unless it is 1.
        let number = if signed.first() == Some(&0xa0) { element(signed)?.1 } else { signed };
        let (serial, _) = element(number).filter(|_| number.first() == Some(&0x02))?;
        Some(Self::new(serial))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length == 0 {
            return f.write_str("00");
        }
        let kept = &self.bytes[..usize::from(self.length)];
        kept.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A certificate, by who signed it under which number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CertificateId {
    /// The signing key.
    pub issuer: KeyId,
    /// The number.
    pub serial: Serial,
}

/// The beginning of a hash: as long as an AES key, so that nobody finds a second leaf of it, and
/// short enough to be kept with every session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Print([u8; PRINT]);

const PRINT: usize = 16;

impl Print {
    /// Of a hash, which is longer.
    pub(crate) fn of<const N: usize>(hash: &[u8; N]) -> Self {
        const { assert!(N >= PRINT) };
        let mut print = [0; PRINT];
        print.copy_from_slice(&hash[..PRINT]);
        Self(print)
    }
}

/// The hashes of a leaf that pins may name (rule S-17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thumbprints {
    pub(crate) certificate_sha1: Print,
    pub(crate) certificate_sha256: Print,
    pub(crate) key_sha256: Print,
}

impl Thumbprints {
    /// Of a leaf in DER and its SubjectPublicKeyInfo.
    pub(crate) fn of(leaf: &[u8], public_key_info: &[u8]) -> Self {
        Self {
            certificate_sha1: Print::of(&sha1_thumbprint(leaf)),
            certificate_sha256: Print::of(&sha256(leaf)),
            key_sha256: Print::of(&sha256(public_key_info)),
        }
    }
}

/// The way from a leaf's issuer up to a root: most members of a mesh share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Who signed the leaf.
    pub issuer: KeyId,
    /// The intermediates, the leaf's issuer first.
    pub intermediates: Box<[CertificateId]>,
    /// The root's key.
    pub anchor: KeyId,
}

/// What a verified chain rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The snapshot of trust that it was asked against last.
    pub epoch: u64,
    /// Serial number of the leaf.
    pub serial: Serial,
    /// What is above the leaf.
    pub steps: Arc<Steps>,
    /// What pins look at.
    pub thumbprints: Thumbprints,
    /// Earliest end among leaf and intermediates.
    pub not_after: UnixTime,
}

impl Standing {
    /// The leaf and its intermediates, the leaf first.
    pub fn certificates(&self) -> impl Iterator<Item = CertificateId> {
        let leaf = CertificateId { issuer: self.steps.issuer, serial: self.serial };
        std::iter::once(leaf).chain(self.steps.intermediates.iter().copied())
    }
}

/// Why a chain that was verified holds no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fall {
    /// A certificate of it was revoked.
    Revoked(CertificateId),
    /// Its root is trusted no longer.
    Root,
    /// The allowed thumbprints list it no longer.
    Pin,
    /// It has expired.
    Expired,
}

impl Fall {
    /// A short stable word for counters.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Revoked(_) => "revoked",
            Self::Root => "unknown-ca",
            Self::Pin => "pin",
            Self::Expired => "expired",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_equal_whatever_zeros_lead_them() {
        assert_eq!(Serial::new(&[0, 0x8f, 1]), Serial::new(&[0x8f, 1]));
        assert_ne!(Serial::new(&[0x8f, 1, 0]), Serial::new(&[0x8f, 1]));
        assert_eq!(Serial::new(&[0, 0]).to_string(), "00");
        assert_eq!(Serial::new(&[0, 0x8f, 1]).to_string(), "8f01");
        let (long, longer) = ([7; 21], [7; 22]);
        assert_ne!(Serial::new(&long), Serial::new(&longer));
    }

    #[test]
    fn a_key_has_one_name_whether_its_info_is_wrapped_or_not() {
        for (der, inner) in [(&[0x30, 2, 8, 9][..], &[8, 9][..]), (&[0x30, 0x81, 1, 7], &[7])] {
            assert_eq!(contents(der), inner);
        }
        assert_eq!(contents(&[]), [0u8; 0]);
    }
}
