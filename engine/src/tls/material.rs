//! Files and bytes become certificates and keys, or an error that says what to do about it.
//!
//! Invariant: key bytes are zeroized wherever this module held them, and no error repeats what a
//! file contains (rule S-21).

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

#[cfg(feature = "pkcs12")]
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::options::Material;
use crate::tls::credentials::{CredentialsError, Fault};
use crate::tls::revocation::{ListError, MAX_LIST};
#[cfg(feature = "pkcs12")]
use crate::tls::store;

/// Largest file read, in bytes: room for several hundred CA certificates.
pub(super) const MAX_FILE: u64 = 1_048_576;

/// Largest file of revocation lists: the largest list in PEM, twice.
const MAX_LISTS: u64 = 3 * MAX_LIST as u64;

/// Most files of a directory of revocation lists.
const MAX_FILES: usize = 256;

/// Some bytes and the setting that they came by.
pub(super) struct Source<'a> {
    /// Key below which people set it.
    pub(super) key: &'static str,
    /// Where the bytes are.
    pub(super) material: &'a Material,
    /// What opens it, if it is a store.
    pub(super) password: Option<&'a str>,
}

/// What one source holds.
pub(super) struct Contents {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) keys: Vec<PrivateKeyDer<'static>>,
    pub(super) has_encrypted_key: bool,
}

/// A revocation list in DER, not looked at yet.
pub(super) struct List {
    /// Its file, where it comes from one.
    pub(super) path: Option<PathBuf>,
    pub(super) der: Vec<u8>,
}

impl Source<'_> {
    /// An error about this source.
    pub(super) fn error(&self, fault: Fault) -> CredentialsError {
        CredentialsError { key: self.key, path: self.path().map(Path::to_owned), fault }
    }

    /// An error about one file of this source.
    fn error_at(&self, path: Option<&Path>, fault: Fault) -> CredentialsError {
        CredentialsError { key: self.key, path: path.map(Path::to_owned), fault }
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
            if bytes.first() == Some(&0x30) {
                return self.opened(&bytes).ok_or_else(|| self.error(Fault::Pkcs12));
            }
            return Err(self.error(Fault::NotPem));
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

    #[cfg(feature = "pkcs12")]
    fn opened(&self, store: &[u8]) -> Option<Contents> {
        let opened = store::open(store, self.password.unwrap_or_default())?;
        let key = PrivatePkcs8KeyDer::from(opened.key.to_vec());
        Some(Contents {
            certificates: opened.chain,
            keys: vec![key.into()],
            has_encrypted_key: false,
        })
    }

    #[cfg(not(feature = "pkcs12"))]
    fn opened(&self, _store: &[u8]) -> Option<Contents> {
        // Without the feature no password opens anything.
        self.password.and(None)
    }

    fn read(&self) -> Result<Zeroizing<Vec<u8>>, CredentialsError> {
        match self.material {
            Material::Path(path) => self.read_file(path, MAX_FILE),
            Material::Bytes(bytes) => Ok(bytes.clone()),
        }
    }

    fn read_file(&self, path: &Path, most: u64) -> Result<Zeroizing<Vec<u8>>, CredentialsError> {
        let unreadable = |error| self.error_at(Some(path), Fault::Unreadable(error));
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        // Reserved up front: a buffer that grows would leave copies of a key behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(length.min(most) as usize + 64));
        file.take(most + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > most {
            return Err(self.error_at(Some(path), Fault::TooLarge));
        }
        Ok(bytes)
    }

    /// Revocation lists with the file that each came from. A directory holds a list or
    /// several a file; hidden entries are links that some orchestrators swap.
    pub(super) fn lists(&self) -> Result<Vec<List>, CredentialsError> {
        let none = || Fault::List(ListError::Undecodable);
        let Material::Path(path) = self.material else {
            let lists = split_lists(&self.read()?).ok_or_else(|| self.error(none()))?;
            return Ok(lists.into_iter().map(|der| List { path: None, der }).collect());
        };
        let files = files_at(path).map_err(|error| self.error(Fault::Unreadable(error)))?;
        let mut found = Vec::new();
        for file in files {
            let bytes = self.read_file(&file, MAX_LISTS)?;
            let lists = split_lists(&bytes).ok_or_else(|| self.error_at(Some(&file), none()))?;
            found.extend(lists.into_iter().map(|der| List { path: Some(file.clone()), der }));
        }
        Ok(found)
    }

    /// A warning when others than the owner may read the file.
    #[cfg(unix)]
    pub(super) fn permission_warning(&self) -> Option<String> {
        use std::os::unix::fs::PermissionsExt;

        let path = self.path()?;
        let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
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

/// Lists in PEM, one after the other, or one in DER; `None` when there is none.
pub(crate) fn split_lists(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    if bytes.first() == Some(&0x30) {
        return Some(vec![bytes.to_vec()]);
    }
    let lists = CertificateRevocationListDer::pem_slice_iter(bytes);
    let lists: Option<Vec<_>> = lists.map(|list| list.map(|list| list.to_vec()).ok()).collect();
    lists.filter(|lists| !lists.is_empty())
}

/// The file itself, or the visible files of a directory in the order of their names.
fn files_at(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for (number, entry) in fs::read_dir(path)?.enumerate() {
        let entry = entry?;
        if number >= MAX_FILES {
            return Err(io::Error::other(format!("more than {MAX_FILES} files")));
        }
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && fs::metadata(entry.path())?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// What tells that a file was changed or exchanged, links followed; `None`: it cannot be read.
pub(crate) type Stamp = Option<(PathBuf, u64, u64, i64, i64, u64)>;

/// The stamps of every file behind `material`.
#[cfg(unix)]
pub(crate) fn stamps(material: &Material) -> Vec<Stamp> {
    use std::os::unix::fs::MetadataExt;

    let Material::Path(path) = material else { return Vec::new() };
    let stamp = |file: &PathBuf| {
        let of = fs::metadata(file).ok()?;
        let (dev, inode) = (of.dev(), of.ino());
        Some((file.clone(), dev, inode, of.mtime(), of.mtime_nsec(), of.len()))
    };
    files_at(path).map_or_else(|_| vec![None], |files| files.iter().map(stamp).collect())
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}
