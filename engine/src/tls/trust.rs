//! What chains end in, what completes them, and what restricts them further.
//!
//! A bundle file is sorted once: certificates that vouch for themselves are anchors, the others
//! are steps on the way. Thumbprints narrow the result and never widen it (rule S-17).
//!
//! Invariant: a [`Trust`] has at least one anchor, and each of its certificates is a CA's.

use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::anchor_from_trusted_cert;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::tls::provider::{sha1_thumbprint, sha256};

/// Anchors, intermediates and thumbprints.
#[derive(Clone, Debug)]
pub struct Trust {
    anchors: Vec<TrustAnchor<'static>>,
    intermediates: Vec<CertificateDer<'static>>,
    pins: Vec<Pin>,
}

impl Trust {
    /// Sorts a bundle into anchors and intermediates; nothing is pinned yet.
    ///
    /// # Errors
    /// [`BundleError`] names the first certificate that does not belong, or the missing anchor.
    pub fn of_bundle(bundle: Vec<CertificateDer<'static>>) -> Result<Self, BundleError> {
        let (mut anchors, mut intermediates) = (Vec::new(), Vec::new());
        for (position, der) in bundle.into_iter().enumerate() {
            let undecodable = BundleError::Undecodable { position: position + 1 };
            let Ok((_, certificate)) = X509Certificate::from_der(&der) else {
                return Err(undecodable);
            };
            if !certificate.is_ca() {
                let subject = certificate.subject().to_string();
                return Err(BundleError::NotCa { position: position + 1, subject });
            }
            if vouches_for_itself(&certificate) {
                let anchor = anchor_from_trusted_cert(&der).map_err(|_| undecodable)?;
                anchors.push(anchor.to_owned());
            } else {
                intermediates.push(der);
            }
        }
        if anchors.is_empty() {
            return Err(BundleError::NoAnchor { intermediates: intermediates.len() });
        }
        Ok(Self { anchors, intermediates, pins: Vec::new() })
    }

    /// Restricts leaves to these thumbprints; an empty list restricts nothing.
    #[must_use]
    pub fn restricted_to(self, pins: Vec<Pin>) -> Self {
        Self { pins, ..self }
    }

    /// Certificates that vouch for themselves.
    pub fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// Certificates that complete chains which arrive short.
    pub fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.intermediates
    }

    /// Whether the thumbprints let this leaf pass.
    pub fn permits(&self, leaf: &CertificateDer<'_>, public_key_info: &[u8]) -> bool {
        if self.pins.is_empty() {
            return true;
        }
        let thumbprint = sha1_thumbprint(leaf);
        let (certificate, key) = (sha256(leaf), sha256(public_key_info));
        self.pins.iter().any(|pin| match pin {
            Pin::Sha1(pinned) => *pinned == thumbprint,
            Pin::Sha256(pinned) => *pinned == certificate || *pinned == key,
        })
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
