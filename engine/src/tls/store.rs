//! PKCS#12: chain and key in one store under a password, as .NET and Java hosts keep them.
//!
//! Invariant: a store without its password says nothing, and a wrong password looks like a damaged
//! store; the key's bytes are wiped where this module held them (rule S-21). The library that
//! decrypts keeps copies of its own for as long as the call.

use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

/// Largest store read, in bytes.
pub(crate) const MAX_STORE: usize = 1_048_576;

/// What a store holds.
pub(crate) struct Opened {
    /// Leaf first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// PKCS#8.
    pub(crate) key: Zeroizing<Vec<u8>>,
}

/// Opens a store; `None` when the password is another one, or there is no key with its chain.
pub(crate) fn open(store: &[u8], password: &str) -> Option<Opened> {
    if store.len() > MAX_STORE {
        return None;
    }
    let store = KeyStore::from_pkcs12(store, password, Pkcs12ImportPolicy::Strict).ok()?;
    let (_, chain) = store.private_key_chain()?;
    let certificates = chain.certs().iter();
    Some(Opened {
        chain: certificates.map(|one| CertificateDer::from(one.as_der().to_vec())).collect(),
        key: Zeroizing::new(chain.key().as_der().to_vec()),
    })
}
