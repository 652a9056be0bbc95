//! Certificates from a new cluster's first minute to a node's last.
//!
//! A root that can lie in a drawer signs an issuing CA that works; the issuing CA signs nodes.
//! A [`Registrar`] is the issuing CA with its ledger: it makes tokens, answers joining and renewing
//! nodes, revokes. A [`Server`] answers over TLS, [`client`] asks, a [`Renewer`] knows when.
//! Minting also works in memory, for demos and tests.
//!
//! Invariant: what is minted here passes the mesh's own verifier, and a private key is never
//! formatted, logged or written to a file that others may read (rule S-21).

mod audit;
mod authority;
pub mod client;
mod crl;
mod error;
mod files;
mod http;
pub mod inspect;
mod issued;
mod journal;
mod key;
mod leaf;
pub mod ledger;
mod limiter;
mod names;
mod node_files;
mod peer;
pub mod pkcs12;
mod refusal;
mod registrar;
pub mod renewal;
mod request;
mod server;
mod token;
pub(crate) mod wallet;

#[cfg(test)]
mod registrar_tests;
#[cfg(test)]
mod server_tests;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

pub use authority::{CaValidity, CertificateAuthority};
pub use crl::CRL_LIFE;
pub use error::BootstrapError;
pub use files::{
    AUDIT, Existing, ISSUED, ISSUING_CERTIFICATE, ISSUING_KEY, LEDGER, REVOCATION_LIST,
    ROOT_CERTIFICATE, ROOT_KEY, TRUST_BUNDLE,
};
pub use issued::{Issued, IssuedFiles};
pub use key::NodeKey;
pub use leaf::Subject;
pub use ledger::Reason;
pub use names::{Fingerprint, KeyId, NameError, Serial};
pub use node_files::NodeFiles;
pub use refusal::Refusal;
pub use registrar::{Certified, Registrar, Revoked, SERVER_ROLE, Target};
pub use renewal::Renewer;
pub use server::{MAX_CONNECTIONS, PATIENCE, ServeOptions, Server};
pub use token::Token;

/// Wall time, which certificates are judged by.
pub fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(crate::clock::wall().0)
}

/// Writes a file for its owner alone; one that exists is an error.
///
/// # Errors
/// [`BootstrapError::Exists`] or [`BootstrapError::Io`].
pub fn write_secret(path: &std::path::Path, text: &str) -> Result<(), BootstrapError> {
    files::write_new(path, text, files::Readers::Owner)
}

/// Sees to it that a secret can be written there: its directory is made, for its owner alone, and no
/// file of that name is there.
///
/// # Errors
/// [`BootstrapError::Exists`] or [`BootstrapError::Io`].
pub fn room_for_secret(path: &std::path::Path) -> Result<(), BootstrapError> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        files::make_directory(directory)?;
    }
    if std::fs::symlink_metadata(path).is_ok() {
        return Err(BootstrapError::Exists(path.to_owned()));
    }
    Ok(())
}

/// Replaces a file that all may read; readers see the old or the new text.
///
/// # Errors
/// [`BootstrapError::Io`].
pub fn replace_public(path: &std::path::Path, text: &str) -> Result<(), BootstrapError> {
    files::replace(path, text, files::Readers::All)
}

/// Eight random bytes, to spread renewals with.
///
/// # Errors
/// [`BootstrapError::Random`].
pub fn random_word() -> Result<u64, BootstrapError> {
    crate::entropy::word().map_err(|_| BootstrapError::Random)
}
