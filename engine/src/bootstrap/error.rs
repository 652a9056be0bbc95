//! What can go wrong while minting.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::bootstrap::Refusal;
use crate::tls::identity::IdentityError;

/// Minting failed.
#[derive(Debug)]
pub enum BootstrapError {
    /// A name cannot stand in a certificate.
    Name(IdentityError),
    /// A DNS name cannot stand in a certificate.
    DnsName(String),
    /// The certificate would outlive the CA that signs it; seconds that the CA has left.
    OutlivesIssuer {
        /// Validity asked for, in seconds.
        wanted_s: u64,
        /// What the issuing CA has left, in seconds.
        left_s: u64,
    },
    /// The time or the validity lies outside what certificates can say.
    Time,
    /// The file exists and overwriting was not asked for.
    Exists(PathBuf),
    /// A file cannot be read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file of the CA directory does not hold what it should.
    Load {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// The ledger holds a line that cannot be.
    Ledger {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The authority gives no certificate.
    Refused(Refusal),
    /// The role is kept for certificates that never gossip.
    ReservedRole(String),
    /// The ledger does not hold the certificate, or it is revoked already.
    NothingToRevoke(String),
    /// The server's address cannot be bound.
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The server's own certificate cannot be used.
    OwnCertificate,
    /// A PKCS#12 store cannot be opened or made.
    Pkcs12,
    /// The random source failed.
    Random,
    /// The certificate library refused.
    Mint(rcgen::Error),
}

impl fmt::Display for BootstrapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(error) => error.fmt(f),
            Self::DnsName(name) => write!(f, "{name:?} is not a DNS name"),
            Self::OutlivesIssuer { wanted_s, left_s } => write!(
                f,
                "the certificate would last {wanted_s} s, its issuing CA only {left_s} s; ask for less, or make a new issuing CA"
            ),
            Self::Time => f.write_str("the time or the validity is out of range; set the clock"),
            Self::Exists(path) => write!(
                f,
                "{} exists; choose another directory, or overwrite it explicitly",
                path.display()
            ),
            Self::Io { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Load { path, expected } => {
                write!(f, "{}: expected {expected}", path.display())
            }
            Self::Ledger { path, line, why } => write!(
                f,
                "{}, line {line}: {why}; restore the file from a backup, it is never repaired by \
                 guessing",
                path.display()
            ),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::ReservedRole(role) => write!(
                f,
                "the role {role:?} is reserved for certificates that never gossip; name the role \
                 that the node has in the mesh, such as worker"
            ),
            Self::NothingToRevoke(what) => write!(
                f,
                "{what}: no certificate of the ledger that is not revoked; `mesh bootstrap inspect \
                 DIR` lists them"
            ),
            Self::Listen { address, error } => {
                write!(f, "cannot listen on {address}: {error}")
            }
            Self::OwnCertificate => f.write_str(
                "the server's own certificate cannot be used; the CA's files must hold one root \
                 and the issuing CA that it signed",
            ),
            Self::Pkcs12 => f.write_str(
                "the PKCS#12 store cannot be used: its password is another one, or it does not \
                 hold one key with its certificates",
            ),
            Self::Random => f.write_str("the system's random source failed"),
            Self::Mint(error) => write!(f, "the certificate could not be made: {error}"),
        }
    }
}

impl std::error::Error for BootstrapError {}

impl From<IdentityError> for BootstrapError {
    fn from(error: IdentityError) -> Self {
        Self::Name(error)
    }
}

impl From<rcgen::Error> for BootstrapError {
    fn from(error: rcgen::Error) -> Self {
        Self::Mint(error)
    }
}

impl From<Refusal> for BootstrapError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
