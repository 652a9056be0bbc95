//! Private keys of nodes and CAs: made here, written here, and asked for a certificate with.
//!
//! Invariant: a key is wiped when it is dropped, and only its PEM is ever written (rule S-21).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use zeroize::Zeroizing;

use crate::bootstrap::BootstrapError;
use crate::bootstrap::names::KeyId;

/// A node's own key, which never leaves the node.
pub struct NodeKey(Zeroizing<KeyPair>);

impl NodeKey {
    /// A new P-256 key.
    ///
    /// # Errors
    /// [`BootstrapError::Mint`] when the random source fails.
    pub fn generate() -> Result<Self, BootstrapError> {
        new_key().map(Self)
    }

    /// Reads what [`NodeKey::pem`] wrote; `None` for anything else.
    pub fn from_pem(pem: &str) -> Option<Self> {
        KeyPair::from_pem(pem).ok().map(|key| Self(Zeroizing::new(key)))
    }

    /// PKCS#8 as PEM.
    pub fn pem(&self) -> Zeroizing<String> {
        key_pem(&self.0)
    }

    /// SHA-256 of the public key.
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.0.subject_public_key_info())
    }

    /// A request that proves possession of the key and asks for nothing: whoever signs it decides
    /// what the certificate says.
    ///
    /// # Errors
    /// [`BootstrapError::Mint`] when signing fails.
    pub fn request(&self) -> Result<String, BootstrapError> {
        Ok(CertificateParams::default().serialize_request(&*self.0)?.pem()?)
    }
}

impl std::fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeKey(redacted)")
    }
}

pub(super) fn new_key() -> Result<Zeroizing<KeyPair>, BootstrapError> {
    Ok(Zeroizing::new(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?))
}

/// PKCS#8 as PEM, in buffers that are wiped: the library's own writer leaves copies behind.
pub(super) fn key_pem(key: &KeyPair) -> Zeroizing<String> {
    pem_of_pkcs8(key.serialized_der())
}

pub(super) fn pem_of_pkcs8(der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(BASE64_STANDARD.encode(der));
    let mut pem = Zeroizing::new(String::with_capacity(body.len() + body.len() / 32 + 64));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}
