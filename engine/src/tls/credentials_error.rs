//! Credentials that cannot be used: which setting, which file, what is wrong, what to do.
//!
//! Invariant: no variant holds bytes of a key or of a file (rule S-21).

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::tls::identity::IdentityError;
use crate::tls::revocation::ListError;
use crate::tls::trust::BundleError;
use crate::tls::verifier::TrustError;

/// Credentials that cannot be used.
#[derive(Debug)]
pub struct CredentialsError {
    /// The setting, as people write it.
    pub key: &'static str,
    /// The file, where the bytes come from one.
    pub path: Option<PathBuf>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with credentials.
#[derive(Debug)]
pub enum Fault {
    /// The file cannot be read.
    Unreadable(io::Error),
    /// The file exceeds what is ever needed.
    TooLarge,
    /// Nothing is in it.
    Empty,
    /// Neither PEM nor anything else that is known.
    NotPem,
    /// A binary store that the password does not open.
    Pkcs12,
    /// No certificate in it.
    NoCertificate,
    /// A certificate cannot be decoded; its position from 1.
    BadCertificate {
        /// Position in the file, from 1.
        position: usize,
    },
    /// No private key in it.
    NoKey,
    /// More than one private key; how many.
    SeveralKeys(usize),
    /// The private key is encrypted.
    EncryptedKey,
    /// The private key is of a kind that cannot sign here.
    UnusableKey,
    /// The private key belongs to another certificate.
    KeyMismatch,
    /// A revocation list does not count.
    List(ListError),
    /// The CA bundle cannot be trusted by.
    Bundle(BundleError),
    /// Peers would refuse our certificate.
    Refused(TrustError),
    /// The certificate names somebody else than the settings.
    OtherName {
        /// The setting that differs.
        setting: &'static str,
        /// The certificate's.
        found: String,
        /// The setting's.
        expected: String,
    },
    /// The setting cannot stand in a certificate.
    Setting(IdentityError),
    /// Not a thumbprint.
    Thumbprint(String),
    /// The setting cannot change while the agent runs.
    Fixed,
    /// The clock gives no time.
    NoClock,
    /// rustls refused the configuration.
    Tls(rustls::Error),
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.key)?;
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display())?;
        }
        self.fault.fmt(f)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(
                f,
                "cannot be read ({error}); check that the path is right and that this process may read it"
            ),
            Self::TooLarge => f.write_str("is larger than what is ever needed (1 MiB, revocation lists 24 MiB)"),
            Self::Empty => f.write_str("is empty; write PEM sections to it"),
            Self::NotPem => f.write_str(
                "is not PEM; expected sections such as -----BEGIN CERTIFICATE----- in base64",
            ),
            Self::Pkcs12 => f.write_str(
                "is no PKCS#12 store with a key that mesh:gossip:tls:certificatePassword opens; set the store's password (variable MESH_GOSSIP_CERT_PASSWORD), or convert to PEM: openssl pkcs12 -in STORE -out node.pem -nodes",
            ),
            Self::NoCertificate => {
                f.write_str("holds no certificate; put the leaf first, then its intermediates")
            }
            Self::BadCertificate { position } => {
                write!(f, "certificate {position} cannot be decoded; issue it again")
            }
            Self::NoKey => f.write_str(
                "holds no private key; append it as PEM, or name its file in mesh:gossip:tls:keyPath",
            ),
            Self::SeveralKeys(count) => {
                write!(f, "holds {count} private keys; keep the one of the certificate")
            }
            Self::EncryptedKey => f.write_str(
                "the private key is encrypted, which is not supported; decrypt it: openssl pkey -in KEY -out key.pem, and chmod 600 key.pem",
            ),
            Self::UnusableKey => f.write_str(
                "the private key cannot be used; expected ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits or more, as PKCS#8, SEC1 or PKCS#1",
            ),
            Self::KeyMismatch => f.write_str(
                "the private key does not belong to the certificate; give the pair that was issued together",
            ),
            Self::List(error) => write!(f, "a revocation list does not count: {error}"),
            Self::Bundle(error) => error.fmt(f),
            Self::Refused(error) => write!(f, "peers would refuse it: {error}; {}", fix(error)),
            Self::OtherName { setting, found, expected } => write!(
                f,
                "the certificate says {found:?}, {setting} is {expected:?}; issue a certificate for {expected:?}, or set {setting} to {found:?}"
            ),
            Self::Setting(error) => write!(f, "{error}; choose another name"),
            Self::Thumbprint(text) => write!(
                f,
                "{text:?} is not a thumbprint; expected 40 (SHA-1) or 64 (SHA-256) hexadecimal digits"
            ),
            Self::Fixed => f.write_str("cannot change while the agent runs; restart it"),
            Self::NoClock => f.write_str("the clock gives no time; set it"),
            Self::Tls(error) => write!(f, "TLS refuses it ({error}); issue it again"),
        }
    }
}

impl std::error::Error for CredentialsError {}

/// What helps when peers would refuse our own certificate.
fn fix(error: &TrustError) -> &'static str {
    match error {
        TrustError::UnknownCa => {
            "add the issuing certificate to the chain, or the root to mesh:gossip:tls:caPath"
        }
        TrustError::Expired { .. } => "renew it, or set the clock",
        TrustError::NotYetValid { .. } => "set the clock, or issue it again",
        TrustError::Usage { .. } => "issue one for both serverAuth and clientAuth",
        TrustError::ForeignTrustDomain { .. } => {
            "set mesh:gossip:tls:trustDomain, or issue one for this trust domain"
        }
        TrustError::ForeignCluster { .. } => {
            "set mesh:gossip:clusterId, or issue one for this cluster"
        }
        TrustError::Revoked { .. } => "issue another one; this one never comes back",
        TrustError::NoCertificate
        | TrustError::StaleList { .. }
        | TrustError::Chain(_)
        | TrustError::Identity(_)
        | TrustError::OwnId { .. }
        | TrustError::Pin { .. } => "issue another one: omnirelay mesh bootstrap issue",
    }
}
