//! One minted certificate with its key.
//!
//! Invariant: the key leaves only by name: as its field, its own file, or TLS options.

use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::bootstrap::files::{Existing, Readers, write_all};
use crate::bootstrap::{BootstrapError, CertificateAuthority};
use crate::options::{Material, RevocationOptions, TlsOptions};
use crate::tls::identity::{Identity, NameRule};

/// A node's certificate and key.
pub struct Issued {
    /// Leaf and issuing certificate.
    pub chain_pem: String,
    /// PKCS#8 private key.
    pub key_pem: Zeroizing<String>,
    /// Serial number, 32 hexadecimal digits.
    pub serial: String,
    /// Whom it names.
    pub identity: Identity,
}

/// Where an [`Issued`] was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedFiles {
    /// The chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Issued {
    /// Options for an agent that uses this certificate from memory and trusts `ca`.
    pub fn tls_options(&self, ca: &CertificateAuthority) -> TlsOptions {
        let bytes = |text: &str| Material::Bytes(Zeroizing::new(text.as_bytes().to_vec()));
        TlsOptions {
            certificate: bytes(&self.chain_pem),
            key: Some(bytes(&self.key_pem)),
            password: None,
            ca: bytes(&ca.bundle_pem()),
            trust_domain: ca.trust_domain().to_owned(),
            identity: NameRule::Spiffe,
            allowed_thumbprints: Vec::new(),
            revocation: RevocationOptions::default(),
            reload_interval: TlsOptions::RELOAD_INTERVAL,
        }
    }

    /// Writes `<node id>.pem` and `<node id>.key` below `directory`.
    ///
    /// # Errors
    /// [`BootstrapError::Exists`] or [`BootstrapError::Io`].
    pub fn write(
        &self,
        directory: &Path,
        existing: Existing,
    ) -> Result<IssuedFiles, BootstrapError> {
        let node_id = &self.identity.node_id;
        let (certificate, key) = (format!("{node_id}.pem"), format!("{node_id}.key"));
        let files = [
            (key.as_str(), self.key_pem.as_str(), Readers::Owner),
            (certificate.as_str(), self.chain_pem.as_str(), Readers::All),
        ];
        write_all(directory, &files, existing)?;
        Ok(IssuedFiles { certificate: directory.join(certificate), key: directory.join(key) })
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("identity", &self.identity.name())
            .field("serial", &self.serial)
            .field("key", &"redacted")
            .finish_non_exhaustive()
    }
}
