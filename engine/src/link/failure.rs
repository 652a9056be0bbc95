//! Why a handshake came to nothing, in words for counters.

use crate::tls::keys::KeyError;
use crate::tls::verifier;

/// Why a handshake ended without a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody answered in time.
    Timeout,
    /// We finished; the peer never confirmed. It may not accept our certificate.
    Unconfirmed,
    /// The handshake's byte stream broke its limits.
    Stream,
    /// No protocol of ours was negotiated (rule S-1).
    Alpn,
    /// The peer is not the member that was dialled.
    OtherMember,
    /// The peer's certificate or TLS messages were refused; the reason.
    Tls(&'static str),
    /// No keys could be made.
    Keys(KeyError),
    /// Somebody who shows more took its place.
    Displaced,
    /// All places are taken.
    Full,
}

impl Failure {
    /// A short stable word.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unconfirmed => "unconfirmed",
            Self::Stream => "stream",
            Self::Alpn => "alpn",
            Self::OtherMember => "other-member",
            Self::Tls(reason) => reason,
            Self::Keys(KeyError::Suite) => "suite",
            Self::Keys(KeyError::Export) => "export",
            Self::Displaced => "displaced",
            Self::Full => "full",
        }
    }
}

impl From<&rustls::Error> for Failure {
    fn from(error: &rustls::Error) -> Self {
        Self::Tls(verifier::reason_of(error))
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::Keys(error)
    }
}
