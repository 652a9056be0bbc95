//! Certificate signing requests: a proof that somebody holds a key.
//!
//! Invariant: of a request only the public key is used, and only after its signature has verified;
//! names, extensions and attributes are not even read.

use rcgen::SubjectPublicKeyInfo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{
    CertificateSigningRequestDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer,
};
use webpki::{RawPublicKeyEntity, ring as algorithms};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::bootstrap::names::KeyId;

/// Keys that nodes may have: what rustls signs with and peers verify.
static ACCEPTED: [&dyn SignatureVerificationAlgorithm; 3] =
    [algorithms::ECDSA_P256_SHA256, algorithms::ECDSA_P384_SHA384, algorithms::ED25519];

/// Largest request read, in bytes of PEM.
pub(super) const MAX_REQUEST: usize = 8_192;

/// A public key whose holder has proven to hold the private one.
pub(super) struct ProvenKey {
    pub(super) key: SubjectPublicKeyInfo,
    pub(super) id: KeyId,
}

/// A request that proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestError {
    /// It is not a request in PEM, or longer than any that is read.
    Undecodable,
    /// Its key is of a kind that the mesh does not use, or its signature is not by that key.
    Unproven,
}

impl std::fmt::Display for RequestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Undecodable => "the request is not a PEM certificate signing request",
            Self::Unproven => {
                "the request's signature does not verify under its key, or the key is neither \
                 ECDSA P-256, ECDSA P-384 nor Ed25519"
            }
        })
    }
}

impl std::error::Error for RequestError {}

/// Reads the public key of a request, and nothing else.
pub(super) fn proven_key(pem: &str) -> Result<ProvenKey, RequestError> {
    if pem.len() > MAX_REQUEST {
        return Err(RequestError::Undecodable);
    }
    let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| RequestError::Undecodable)?;
    let (rest, request) =
        X509CertificationRequest::from_der(&der).map_err(|_| RequestError::Undecodable)?;
    if !rest.is_empty() {
        return Err(RequestError::Undecodable);
    }
    let info = &request.certification_request_info;
    let public_key_info = info.subject_pki.raw;
    let spki = SubjectPublicKeyInfoDer::from(public_key_info);
    let entity = RawPublicKeyEntity::try_from(&spki).map_err(|_| RequestError::Undecodable)?;
    let signature = &request.signature_value.data;
    let is_proven = ACCEPTED
        .iter()
        .any(|algorithm| entity.verify_signature(*algorithm, info.raw, signature).is_ok());
    if !is_proven {
        return Err(RequestError::Unproven);
    }
    let key =
        SubjectPublicKeyInfo::from_der(public_key_info).map_err(|_| RequestError::Unproven)?;
    Ok(ProvenKey { key, id: KeyId::of(public_key_info) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::NodeKey;

    #[test]
    fn a_request_proves_its_own_key_and_no_other() {
        let (mine, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
        let request = mine.request().unwrap();
        assert_eq!(proven_key(&request).map(|key| key.id).ok(), Some(mine.id()));

        // The other's key under my signature.
        let mut der = CertificateSigningRequestDer::from_pem_slice(request.as_bytes())
            .unwrap()
            .as_ref()
            .to_vec();
        let theirs =
            CertificateSigningRequestDer::from_pem_slice(other.request().unwrap().as_bytes())
                .unwrap();
        let key_of = |der: &[u8]| {
            let (_, request) = X509CertificationRequest::from_der(der).unwrap();
            request.certification_request_info.subject_pki.raw.to_vec()
        };
        let (own, foreign) = (key_of(&der), key_of(&theirs));
        let at = der.windows(own.len()).position(|window| window == own).unwrap();
        der[at..at + own.len()].copy_from_slice(&foreign);
        let forged = pem_of(&der);
        assert_eq!(proven_key(&forged).err(), Some(RequestError::Unproven));
        for wrong in ["", "x", &request[..200], &"-".repeat(MAX_REQUEST + 1)] {
            assert_eq!(proven_key(wrong).err(), Some(RequestError::Undecodable), "{wrong}");
        }
    }

    #[test]
    fn a_request_with_one_wrong_bit_proves_nothing() {
        let key = NodeKey::generate().unwrap();
        let request = key.request().unwrap();
        let der = CertificateSigningRequestDer::from_pem_slice(request.as_bytes()).unwrap();
        for at in 0..der.len() {
            for bit in [0x01, 0x80] {
                let mut bent = der.as_ref().to_vec();
                bent[at] ^= bit;
                // What stays outside the signature (its algorithm's name) proves the same key.
                if let Ok(proven) = proven_key(&pem_of(&bent)) {
                    assert_eq!(proven.id, key.id(), "bit {bit:#x} of byte {at}");
                }
            }
            assert!(proven_key(&pem_of(&der[..at])).is_err(), "cut at {at}");
        }
    }

    fn pem_of(der: &[u8]) -> String {
        use base64::Engine;
        let body = base64::prelude::BASE64_STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
    }
}
