//! The one place that names the cryptography: everything else asks for "the provider".
//!
//! Invariant: two TLS 1.3 suites over SHA-256 and two key exchanges, nothing more (rule S-2), so
//! that exported secrets and packet keys have one hash; every scheme that verifies a signature
//! belongs to TLS 1.3.

use std::sync::{Arc, LazyLock};

use ring::digest;
use rustls::SignatureScheme;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring as backend};
use rustls::sign::SigningKey;
use rustls_pki_types::{PrivateKeyDer, SignatureVerificationAlgorithm};
use webpki::ring as algorithms;
use zeroize::Zeroize;

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            backend::cipher_suite::TLS13_AES_128_GCM_SHA256,
            backend::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![backend::kx_group::X25519, backend::kx_group::SECP256R1],
        signature_verification_algorithms: ALGORITHMS,
        ..backend::default_provider()
    })
});

/// `all` verifies certificates, where private CAs still sign with PKCS#1; `mapping` verifies
/// handshakes and records and holds what TLS 1.3 allows, one algorithm a scheme.
static ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        algorithms::ECDSA_P256_SHA256,
        algorithms::ECDSA_P256_SHA384,
        algorithms::ECDSA_P384_SHA256,
        algorithms::ECDSA_P384_SHA384,
        algorithms::ED25519,
        algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        algorithms::RSA_PKCS1_2048_8192_SHA256,
        algorithms::RSA_PKCS1_2048_8192_SHA384,
        algorithms::RSA_PKCS1_2048_8192_SHA512,
    ],
    mapping: &[
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[algorithms::ECDSA_P256_SHA256]),
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[algorithms::ECDSA_P384_SHA384]),
        (SignatureScheme::ED25519, &[algorithms::ED25519]),
        (SignatureScheme::RSA_PSS_SHA256, &[algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA384, &[algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA512, &[algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY]),
    ],
};

/// The provider that every configuration is built on.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// A key ready to sign. The bytes are wiped, whatever comes of it (rule S-21).
pub(crate) fn signing_key(
    mut key: PrivateKeyDer<'static>,
) -> Result<Arc<dyn SigningKey>, rustls::Error> {
    let loaded = backend::sign::any_supported_type(&key);
    key.zeroize();
    loaded
}

/// How certificates and signatures are verified.
pub(crate) fn verification_algorithms() -> &'static WebPkiSupportedAlgorithms {
    &ALGORITHMS
}

/// Schemes that sign and verify records, in order of preference.
pub(crate) fn signature_schemes() -> Vec<SignatureScheme> {
    ALGORITHMS.supported_schemes()
}

/// The algorithm behind a TLS 1.3 scheme code point.
pub(crate) fn algorithm_of(scheme: u16) -> Option<&'static dyn SignatureVerificationAlgorithm> {
    let scheme = SignatureScheme::from(scheme);
    let (_, algorithms) = ALGORITHMS.mapping.iter().find(|(known, _)| *known == scheme)?;
    algorithms.first().copied()
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// SHA-1, for thumbprints that restrict an already verified chain (rule S-17); never a proof.
pub(crate) fn sha1_thumbprint(bytes: &[u8]) -> [u8; 20] {
    let mut hash = [0; 20];
    hash.copy_from_slice(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule S-2.
    #[test]
    fn exactly_two_suites_and_two_groups_are_offered() {
        let provider = provider();
        let suites: Vec<_> =
            provider.cipher_suites.iter().map(|s| format!("{:?}", s.suite())).collect();
        assert_eq!(suites, ["TLS13_AES_128_GCM_SHA256", "TLS13_CHACHA20_POLY1305_SHA256"]);
        let groups: Vec<_> = provider.kx_groups.iter().map(|g| format!("{:?}", g.name())).collect();
        assert_eq!(groups, ["X25519", "secp256r1"]);
    }

    #[test]
    fn a_scheme_of_tls_1_2_verifies_nothing() {
        assert!(algorithm_of(0x0403).is_some(), "ECDSA P-256 with SHA-256");
        assert!(algorithm_of(0x0401).is_none(), "RSA PKCS#1 with SHA-256");
        assert!(algorithm_of(0x0203).is_none(), "ECDSA with SHA-1");
    }
}
