//! Files and bytes become certificates and keys, or an error that says what to do about it.
//!
//! Invariant: key bytes are zeroized wherever this module held them, and no error repeats what a
//! file contains (rule S-21).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::options::Material;
use crate::tls::credentials::{CredentialsError, Fault};

/// Largest file read, in bytes: room for several hundred CA certificates.
pub(super) const MAX_FILE: u64 = 1_048_576;

/// Some bytes and the setting that they came by.
pub(super) struct Source<'a> {
    /// Key below which people set it.
    pub(super) key: &'static str,
    /// Where the bytes are.
    pub(super) material: &'a Material,
}

/// What one source holds.
pub(super) struct Contents {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) keys: Vec<PrivateKeyDer<'static>>,
    pub(super) has_encrypted_key: bool,
}

impl Source<'_> {
    /// An error about this source.
    pub(super) fn error(&self, fault: Fault) -> CredentialsError {
        CredentialsError { key: self.key, path: self.path().map(Path::to_owned), fault }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        match self.material {
            Material::Path(path) => Some(path),
            Material::Bytes(_) => None,
        }
    }

    /// Reads and splits the PEM sections.
    pub(super) fn contents(&self) -> Result<Contents, CredentialsError> {
        let bytes = self.read()?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(self.error(Fault::Empty));
        }
        if !contains(&bytes, b"-----BEGIN ") {
            // A PKCS#12 store is a DER SEQUENCE, and so is a certificate in DER.
            let fault = if bytes.first() == Some(&0x30) { Fault::Pkcs12 } else { Fault::NotPem };
            return Err(self.error(fault));
        }
        let certificates = CertificateDer::pem_slice_iter(&bytes)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| self.error(Fault::NotPem))?;
        let keys = PrivateKeyDer::pem_slice_iter(&bytes)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| self.error(Fault::NotPem))?;
        let has_encrypted_key = contains(&bytes, b"-----BEGIN ENCRYPTED PRIVATE KEY")
            || contains(&bytes, b"Proc-Type: 4,ENCRYPTED");
        Ok(Contents { certificates, keys, has_encrypted_key })
    }

    fn read(&self) -> Result<Zeroizing<Vec<u8>>, CredentialsError> {
        let path = match self.material {
            Material::Path(path) => path,
            Material::Bytes(bytes) => return Ok(bytes.clone()),
        };
        let unreadable = |error| self.error(Fault::Unreadable(error));
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        // Reserved up front: a buffer that grows would leave copies of a key behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(length.min(MAX_FILE) as usize + 64));
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(self.error(Fault::TooLarge));
        }
        Ok(bytes)
    }

    /// A warning when others than the owner may read the file.
    #[cfg(unix)]
    pub(super) fn permission_warning(&self) -> Option<String> {
        use std::os::unix::fs::PermissionsExt;

        let path = self.path()?;
        let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
        (mode & 0o077 != 0).then(|| {
            let path = path.display();
            format!(
                "{}: {path} holds a private key and has mode {mode:04o}; run: chmod 600 {path}",
                self.key
            )
        })
    }

    #[cfg(not(unix))]
    pub(super) fn permission_warning(&self) -> Option<String> {
        None
    }
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}
