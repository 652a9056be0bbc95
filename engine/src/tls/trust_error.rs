//! Why a certificate is refused, in words for counters, logs and the peer's alert.
//!
//! Invariant: what an error reports beyond the chain is something that a CA has signed.

use std::fmt;
use std::sync::Arc;

use rustls::{CertificateError, OtherError};
use rustls_pki_types::UnixTime;

use crate::tls::identity::IdentityError;
use crate::tls::standing::Serial;
use crate::tls::verifier::Usage;

/// A certificate that broke a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustError {
    /// The peer presented none.
    NoCertificate,
    /// No path leads to one of our anchors.
    UnknownCa,
    /// It, or a certificate of its path, has expired.
    Expired {
        /// End of validity.
        not_after: UnixTime,
        /// Time of the check.
        now: UnixTime,
    },
    /// It, or a certificate of its path, is not valid yet.
    NotYetValid {
        /// Start of validity.
        not_before: UnixTime,
        /// Time of the check.
        now: UnixTime,
    },
    /// It is not for this use.
    Usage {
        /// The extended key usage that it lacks.
        expected: Usage,
    },
    /// The chain fails otherwise.
    Chain(webpki::Error),
    /// It, or a certificate of its path, was revoked.
    Revoked {
        /// The revoked serial number.
        serial: Serial,
    },
    /// The revocation list that it is judged by is overdue, so that nobody can tell.
    StaleList {
        /// When its successor was due.
        next_update: UnixTime,
        /// Time of the check.
        now: UnixTime,
    },
    /// It carries no identity of a member.
    Identity(IdentityError),
    /// It belongs to another trust domain.
    ForeignTrustDomain {
        /// The certificate's.
        found: String,
        /// Ours.
        expected: String,
    },
    /// It belongs to another cluster.
    ForeignCluster {
        /// The certificate's.
        found: String,
        /// Ours.
        expected: String,
    },
    /// It names us: a connection to ourselves, or somebody holds our name.
    OwnId {
        /// Our node id.
        node_id: String,
    },
    /// The allowed thumbprints do not list it.
    Pin {
        /// SHA-256 of the leaf.
        leaf_sha256: [u8; 32],
    },
}

impl TrustError {
    /// A short stable word for counters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::UnknownCa => "unknown-ca",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not-yet-valid",
            Self::Usage { .. } => "usage",
            Self::Chain(_) => "chain",
            Self::Revoked { .. } => "revoked",
            Self::StaleList { .. } => "stale-list",
            Self::Identity(_) => "identity",
            Self::ForeignTrustDomain { .. } => "foreign-trust-domain",
            Self::ForeignCluster { .. } => "foreign-cluster",
            Self::OwnId { .. } => "own-id",
            Self::Pin { .. } => "pin",
        }
    }
}

/// The reason word behind a failed handshake, ours or the peer's.
pub fn reason_of(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => "unknown-ca",
            CertificateError::ExpiredContext { .. } => "expired",
            CertificateError::NotValidYetContext { .. } => "not-yet-valid",
            CertificateError::Revoked => "revoked",
            CertificateError::Other(OtherError(error)) => {
                error.downcast_ref::<TrustError>().map_or("chain", TrustError::reason)
            }
            _ => "chain",
        },
        rustls::Error::NoCertificatesPresented => "no-certificate",
        rustls::Error::NoApplicationProtocol => "alpn",
        rustls::Error::PeerIncompatible(_) => "incompatible",
        rustls::Error::AlertReceived(_) => "peer-alert",
        _ => "tls",
    }
}

/// Failures that TLS has an alert for keep it, so that the peer's operator learns the reason too.
impl From<TrustError> for rustls::Error {
    fn from(error: TrustError) -> Self {
        Self::InvalidCertificate(match error {
            TrustError::NoCertificate => return Self::NoCertificatesPresented,
            TrustError::UnknownCa => CertificateError::UnknownIssuer,
            TrustError::Expired { not_after, now } => {
                CertificateError::ExpiredContext { time: now, not_after }
            }
            TrustError::NotYetValid { not_before, now } => {
                CertificateError::NotValidYetContext { time: now, not_before }
            }
            TrustError::Revoked { .. } => CertificateError::Revoked,
            TrustError::Usage { .. }
            | TrustError::Chain(_)
            | TrustError::StaleList { .. }
            | TrustError::Identity(_)
            | TrustError::ForeignTrustDomain { .. }
            | TrustError::ForeignCluster { .. }
            | TrustError::OwnId { .. }
            | TrustError::Pin { .. } => CertificateError::Other(OtherError(Arc::new(error))),
        })
    }
}

impl From<webpki::Error> for TrustError {
    fn from(error: webpki::Error) -> Self {
        match error {
            // A foreign CA may bear the name of ours: then its signature is what fails.
            webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
                Self::UnknownCa
            }
            webpki::Error::CertExpired { time, not_after } => {
                Self::Expired { not_after, now: time }
            }
            webpki::Error::CertNotValidYet { time, not_before } => {
                Self::NotYetValid { not_before, now: time }
            }
            other => Self::Chain(other),
        }
    }
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("no certificate was presented"),
            Self::UnknownCa => f.write_str("the certificate is issued by no CA that is trusted"),
            Self::Expired { not_after, now } => write!(
                f,
                "the certificate or one of its issuers expired at {}, the time is {}",
                date(*not_after),
                date(*now)
            ),
            Self::NotYetValid { not_before, now } => write!(
                f,
                "the certificate or one of its issuers is valid from {}, the time is {}",
                date(*not_before),
                date(*now)
            ),
            Self::Usage { expected } => {
                write!(f, "the certificate lacks the extended key usage {expected}")
            }
            Self::Chain(error) => write!(f, "the certificate chain does not hold: {error}"),
            Self::Revoked { serial } => {
                write!(f, "the certificate or one of its issuers is revoked, serial {serial}")
            }
            Self::StaleList { next_update, now } => write!(
                f,
                "the revocation list of its CA was due for renewal at {}, the time is {}",
                date(*next_update),
                date(*now)
            ),
            Self::Identity(error) => error.fmt(f),
            Self::ForeignTrustDomain { found, expected } => {
                write!(f, "the certificate's trust domain is {found:?}, expected {expected:?}")
            }
            Self::ForeignCluster { found, expected } => {
                write!(f, "the certificate's cluster is {found:?}, expected {expected:?}")
            }
            Self::OwnId { node_id } => {
                write!(f, "the certificate names this node itself ({node_id:?})")
            }
            Self::Pin { leaf_sha256 } => {
                f.write_str("the allowed thumbprints do not list the certificate, SHA-256 ")?;
                leaf_sha256.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl std::error::Error for TrustError {}

pub(crate) fn date(time: UnixTime) -> String {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{seconds} s after 1970"))
}
