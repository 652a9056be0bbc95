//! Why an authority gives somebody no certificate.
//!
//! Invariant: every refusal has one name on the wire, and none repeats what was presented.

use std::fmt;

/// No certificate, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such token, or its secret is another one.
    UnknownToken,
    /// The token is for another node.
    OtherNode,
    /// The token has led to a certificate for another key.
    UsedToken,
    /// The token was taken back.
    VoidToken,
    /// The token is too old.
    ExpiredToken,
    /// The key has a certificate already.
    KnownKey,
    /// The certificate is not in the ledger.
    UnknownCertificate,
    /// The certificate is revoked.
    Revoked,
    /// The node is barred.
    Barred,
    /// The certificate has expired.
    Expired,
    /// The certificate was renewed too often.
    TooManyRenewals,
    /// Too many attempts that failed.
    Throttled,
    /// No certificate was shown.
    NoCertificate,
    /// The request for a certificate does not prove a key.
    BadRequest,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::UnknownToken,
        Self::OtherNode,
        Self::UsedToken,
        Self::VoidToken,
        Self::ExpiredToken,
        Self::KnownKey,
        Self::UnknownCertificate,
        Self::Revoked,
        Self::Barred,
        Self::Expired,
        Self::TooManyRenewals,
        Self::Throttled,
        Self::NoCertificate,
        Self::BadRequest,
    ];

    /// Its name on the wire and in audit lines.
    pub fn code(self) -> &'static str {
        match self {
            Self::UnknownToken => "unknown-token",
            Self::OtherNode => "other-node",
            Self::UsedToken => "used-token",
            Self::VoidToken => "void-token",
            Self::ExpiredToken => "expired-token",
            Self::KnownKey => "known-key",
            Self::UnknownCertificate => "unknown-certificate",
            Self::Revoked => "revoked",
            Self::Barred => "barred",
            Self::Expired => "expired",
            Self::TooManyRenewals => "too-many-renewals",
            Self::Throttled => "throttled",
            Self::NoCertificate => "no-certificate",
            Self::BadRequest => "bad-request",
        }
    }

    /// The refusal of that name.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownToken => "the authority does not know the token; make a new one",
            Self::OtherNode => "the token is for another node; name the node that it was made for",
            Self::UsedToken => "the token has been used with another key; make a new one",
            Self::VoidToken => "the token was taken back when its node was revoked; make a new one",
            Self::ExpiredToken => "the token has expired; make a new one",
            Self::KnownKey => "the key has a certificate already; remove it and ask with a new one",
            Self::UnknownCertificate => {
                "the authority's ledger does not hold the certificate; join with a token"
            }
            Self::Revoked => {
                "the certificate is revoked; join with a token, if the node may return"
            }
            Self::Barred => "the node is revoked; join with a token, if it may return",
            Self::Expired => "the certificate has expired; join with a token",
            Self::TooManyRenewals => "the certificate was renewed too often; join with a token",
            Self::Throttled => "too many attempts have failed; wait a minute",
            Self::NoCertificate => {
                "no certificate of the cluster was shown; renewal needs the present one"
            }
            Self::BadRequest => "the request does not prove a key of a kind that the mesh uses",
        })
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_name_of_its_own() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::of_code(refusal.code()), Some(refusal));
        }
        assert_eq!(Refusal::of_code("x"), None);
    }
}
