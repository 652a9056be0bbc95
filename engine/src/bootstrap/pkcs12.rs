//! PKCS#12: chain and key in one file under a password, as .NET and Java hosts take them.
//!
//! Written with PBES2 (AES-256, HMAC-SHA-256), which every current reader knows. The library keeps
//! copies of the key that are not wiped; the process that writes such a file is short.
//!
//! Invariant: a store without its password says nothing, and the error for a wrong password is the
//! one for a damaged file.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKeyChain};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::bootstrap::key::pem_of_pkcs8;
use crate::bootstrap::{BootstrapError, KeyId};
use crate::tls::store;

/// Largest store read, in bytes.
pub const MAX_STORE: usize = store::MAX_STORE;

/// Rounds of key derivation.
const ITERATIONS: u32 = 100_000;

/// A chain, leaf first, and its key.
pub struct Pair {
    /// PEM.
    pub chain_pem: String,
    /// PKCS#8 as PEM.
    pub key_pem: Zeroizing<String>,
}

/// A store with this chain and key.
///
/// # Errors
/// [`BootstrapError::Pkcs12`] when they are not what they should be.
pub fn write(
    chain_pem: &str,
    key_pem: &str,
    password: &str,
) -> Result<Zeroizing<Vec<u8>>, BootstrapError> {
    write_after(ITERATIONS, chain_pem, key_pem, password)
}

/// The same after so many rounds of key derivation.
pub(crate) fn write_after(
    iterations: u32,
    chain_pem: &str,
    key_pem: &str,
    password: &str,
) -> Result<Zeroizing<Vec<u8>>, BootstrapError> {
    let fault = || BootstrapError::Pkcs12;
    let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .map(|der| der.ok().and_then(|der| Certificate::from_der(&der).ok()).ok_or_else(fault))
        .collect::<Result<Vec<_>, _>>()?;
    let leaf = chain.first().ok_or_else(fault)?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| fault())?;
    let key = p12_keystore::PrivateKey::from_der(key.secret_pkcs8_der()).map_err(|_| fault())?;
    let id = KeyId::of(leaf.as_der()).as_bytes()[..20].to_vec();
    let entry = KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new(id, key, chain));
    let mut store = KeyStore::new();
    store.add_entry("mesh", entry);
    let writer = store.writer(password);
    let writer = writer.encryption_iterations(iterations).mac_iterations(iterations);
    writer.write().map(Zeroizing::new).map_err(|_| fault())
}

/// Chain and key of a store.
///
/// # Errors
/// [`BootstrapError::Pkcs12`] when the password is another one, or there is no key with its chain.
pub fn read(store: &[u8], password: &str) -> Result<Pair, BootstrapError> {
    let opened = store::open(store, password).ok_or(BootstrapError::Pkcs12)?;
    let chain_pem = opened.chain.iter().map(|certificate| {
        let body = BASE64_STANDARD.encode(certificate);
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    });
    Ok(Pair { chain_pem: chain_pem.collect(), key_pem: pem_of_pkcs8(&opened.key) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::certificates_tests::{issue, mesh_ca};

    #[test]
    fn a_store_gives_back_what_was_put_in_and_nothing_without_its_password() {
        let issued = issue(&mesh_ca(), "n1");
        let store = write(&issued.chain_pem, &issued.key_pem, "correct horse").unwrap();
        let pair = read(&store, "correct horse").unwrap();
        assert_eq!(pair.key_pem, issued.key_pem);
        let ders = |pem: &str| -> Vec<CertificateDer<'static>> {
            CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap()
        };
        assert_eq!(ders(&pair.chain_pem), ders(&issued.chain_pem));
        assert_eq!(ders(&pair.chain_pem).len(), 2);
        for (bytes, password) in
            [(&store[..], "wrong"), (&store[..], ""), (&store[..50], "correct horse"), (b"", "")]
        {
            assert!(matches!(read(bytes, password), Err(BootstrapError::Pkcs12)));
        }
        assert!(write("", &issued.key_pem, "x").is_err());
        assert!(write(&issued.chain_pem, "", "x").is_err());
    }
}
