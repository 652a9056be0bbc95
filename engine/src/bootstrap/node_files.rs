//! A node's certificate, key and CA bundle on its own disk.
//!
//! A key and its certificate are two files and must change together. The new pair is laid out
//! beside the old one first; from then on whoever is interrupted can go on where he stopped.
//!
//! Invariants: a key is written before anybody is asked to certify it, so that a crash never loses
//! the key of a certificate; `.pem.next` exists only when it belongs to the newest key.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::bootstrap::files::{self, Readers, TRUST_BUNDLE};
use crate::bootstrap::{BootstrapError, NodeKey, pkcs12};

/// Where one node's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFiles {
    /// Chain, leaf first.
    pub certificate: PathBuf,
    /// Key, its owner's alone.
    pub key: PathBuf,
    /// What the node trusts by.
    pub ca: PathBuf,
    /// Chain and key once more, under a password, where somebody asked for it.
    pub pkcs12: PathBuf,
    next_certificate: PathBuf,
    next_key: PathBuf,
}

impl NodeFiles {
    /// The files of `node_id` below `directory`.
    pub fn below(directory: &Path, node_id: &str) -> Self {
        let named = |suffix: &str| directory.join(format!("{node_id}.{suffix}"));
        Self {
            ca: directory.join(TRUST_BUNDLE),
            pkcs12: named("p12"),
            ..Self::at(&named("pem"), &named("key"))
        }
    }

    /// These very files; bundle and store, which are not touched, beside the certificate.
    pub fn at(certificate: &Path, key: &Path) -> Self {
        let next = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(".next");
            PathBuf::from(name)
        };
        Self {
            ca: certificate.with_file_name(TRUST_BUNDLE),
            pkcs12: certificate.with_extension("p12"),
            next_certificate: next(certificate),
            next_key: next(key),
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        }
    }

    /// The key to ask a certificate for: one that was made for an attempt that never ended, or a
    /// new one, written before it is used.
    ///
    /// # Errors
    /// [`BootstrapError`].
    pub fn pending_key(&self) -> Result<NodeKey, BootstrapError> {
        self.finish()?;
        if let Some(text) = read_if_there(&self.next_key)?
            && let Some(key) = NodeKey::from_pem(&text)
        {
            return Ok(key);
        }
        let key = NodeKey::generate()?;
        if let Some(directory) = self.key.parent() {
            files::make_directory(directory)?;
        }
        files::replace(&self.next_key, &key.pem(), Readers::Owner)?;
        Ok(key)
    }

    /// Throws the pending key away: it has a certificate that is of no use.
    ///
    /// # Errors
    /// [`BootstrapError::Io`].
    pub fn drop_pending(&self) -> Result<(), BootstrapError> {
        match fs::remove_file(&self.next_key) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(files::io_error(&self.next_key, error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Puts the certificate of the pending key in place, and the bundle where one is given.
    ///
    /// # Errors
    /// [`BootstrapError::Io`]; the next call of [`NodeFiles::finish`] goes on.
    pub fn install(&self, chain_pem: &str, bundle_pem: Option<&str>) -> Result<(), BootstrapError> {
        if let Some(bundle_pem) = bundle_pem {
            files::replace(&self.ca, bundle_pem, Readers::All)?;
        }
        files::replace(&self.next_certificate, chain_pem, Readers::All)?;
        self.finish()
    }

    /// Goes on with an installation that was interrupted.
    ///
    /// # Errors
    /// [`BootstrapError::Io`].
    pub fn finish(&self) -> Result<(), BootstrapError> {
        if !self.next_certificate.exists() {
            return Ok(());
        }
        if self.next_key.exists() {
            put(&self.next_key, &self.key)?;
        }
        put(&self.next_certificate, &self.certificate)
    }

    /// Chain, key and bundle as they are.
    ///
    /// # Errors
    /// [`BootstrapError::Io`] names the file that is missing.
    pub fn read(&self) -> Result<[Zeroizing<String>; 3], BootstrapError> {
        self.finish()?;
        Ok([files::read(&self.certificate)?, files::read(&self.key)?, files::read(&self.ca)?])
    }

    /// Writes the PKCS#12 store of the pair that is in place.
    ///
    /// # Errors
    /// [`BootstrapError::Io`] or [`BootstrapError::Pkcs12`].
    pub fn write_pkcs12(&self, password: &str) -> Result<(), BootstrapError> {
        let (chain, key) = (files::read(&self.certificate)?, files::read(&self.key)?);
        let store = pkcs12::write(&chain, &key, password)?;
        files::replace(&self.pkcs12, &*store, Readers::Owner)
    }

    /// As [`NodeFiles::read`]; chain and key come from the PKCS#12 store where it is all there is.
    ///
    /// # Errors
    /// As [`NodeFiles::read`], or [`BootstrapError::Pkcs12`].
    pub fn read_with(
        &self,
        password: Option<&str>,
    ) -> Result<[Zeroizing<String>; 3], BootstrapError> {
        self.finish()?;
        let Some(password) = password.filter(|_| !self.certificate.exists()) else {
            return self.read();
        };
        let store = fs::read(&self.pkcs12).map_err(|error| files::io_error(&self.pkcs12, error))?;
        let pair = pkcs12::read(&store, password)?;
        Ok([pair.chain_pem.into(), pair.key_pem, files::read(&self.ca)?])
    }

    /// A warning when others than the owner may read the key.
    pub fn warning(&self) -> Option<String> {
        files::permission_warning(&self.key)
    }
}

fn read_if_there(path: &Path) -> Result<Option<Zeroizing<String>>, BootstrapError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(files::io_error(path, error)),
    }
}

/// Renames. An agent and whoever renews beside it go on with the same installation: what the other
/// has put in place already is there.
fn put(from: &Path, to: &Path) -> Result<(), BootstrapError> {
    match files::rename(from, to) {
        Err(_) if !from.exists() && to.exists() => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_survives_an_attempt_that_never_ended_and_is_its_owners_alone() {
        let home = tempfile::tempdir().unwrap();
        let files = NodeFiles::below(&home.path().join("deep"), "n1");
        let first = files.pending_key().unwrap().id();
        assert_eq!(files.pending_key().unwrap().id(), first);
        let mode = fs::metadata(&files.next_key).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        files.drop_pending().unwrap();
        assert_ne!(files.pending_key().unwrap().id(), first);
    }

    #[test]
    fn an_installation_goes_on_where_it_was_interrupted() {
        for stop_after in 0..3 {
            let home = tempfile::tempdir().unwrap();
            let files = NodeFiles::below(home.path(), "n1");
            files.pending_key().unwrap();
            files.install("old chain", Some("bundle")).unwrap();
            let id = files.pending_key().unwrap().id();
            // What an interrupted installation leaves behind, step by step.
            if stop_after >= 1 {
                fs::write(&files.next_certificate, "new chain").unwrap();
            }
            if stop_after >= 2 {
                fs::rename(&files.next_key, &files.key).unwrap();
            }
            let [chain, key, _] = files.read().unwrap();
            let is_new = NodeKey::from_pem(&key).unwrap().id() == id;
            assert_eq!(chain.as_str(), if is_new { "new chain" } else { "old chain" });
            assert_eq!(is_new, stop_after >= 1);
            assert!(!files.next_certificate.exists());
        }
    }

    /// An agent looks at its files while the verb beside it renews: both finish what is there to be
    /// finished, and neither fails because the other was first.
    #[test]
    fn two_finish_one_installation() {
        let home = tempfile::tempdir().unwrap();
        let files = NodeFiles::below(home.path(), "n1");
        files.pending_key().unwrap();
        files.install("chain 0", Some("bundle")).unwrap();
        let ended = std::sync::atomic::AtomicBool::new(false);
        let is_over = || ended.load(std::sync::atomic::Ordering::Relaxed);
        std::thread::scope(|scope| {
            let agent = scope.spawn(|| {
                while !is_over() {
                    files.finish()?;
                }
                Ok::<(), BootstrapError>(())
            });
            for number in 1..100 {
                fs::write(&files.next_key, "key").unwrap();
                files.install(&format!("chain {number}"), None).unwrap();
            }
            ended.store(true, std::sync::atomic::Ordering::Relaxed);
            agent.join().unwrap().unwrap();
        });
        assert_eq!(fs::read_to_string(&files.certificate).unwrap(), "chain 99");
    }
}
