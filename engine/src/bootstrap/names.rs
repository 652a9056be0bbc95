//! What certificates, keys and roots are called by: fixed numbers of bytes in hexadecimal.
//!
//! Invariant: each has one spelling, lower case without separators, so that what a log, a ledger
//! and a certificate show can be compared as text.

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::bootstrap::BootstrapError;
use crate::tls::provider::{provider, sha256};

/// Not the hexadecimal digits that were expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError {
    /// How many digits there should be.
    pub digits: usize,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} hexadecimal digits", self.digits)
    }
}

impl std::error::Error for NameError {}

/// Bytes behind hexadecimal digits; colons between them, as tools print them, do not matter.
fn parse<const N: usize>(text: &str) -> Result<[u8; N], NameError> {
    let fault = NameError { digits: 2 * N };
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()
        .filter(|digits: &Vec<u32>| digits.len() == 2 * N)
        .ok_or(fault)?;
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (pair[0] * 16 + pair[1]) as u8;
    }
    Ok(bytes)
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; $length]);

        impl $name {
            /// The bytes.
            pub fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl From<[u8; $length]> for $name {
            fn from(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                parse(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.to_string()
            }
        }
    };
}

name!(
    /// Serial number of a certificate of ours: 16 random bytes.
    Serial,
    16
);
name!(
    /// SHA-256 of a public key (its SubjectPublicKeyInfo).
    KeyId,
    32
);
name!(
    /// SHA-256 of a certificate.
    Fingerprint,
    32
);

impl Serial {
    /// A new one: positive and of full length, so that DER, hexadecimal and logs show the same 16
    /// bytes.
    ///
    /// # Errors
    /// [`BootstrapError::Random`].
    pub fn random() -> Result<Self, BootstrapError> {
        let mut bytes = random()?;
        bytes[0] = (bytes[0] & 0x7f) | 0x40;
        Ok(Self(bytes))
    }

    /// The serial number of a certificate, where it could be one of ours.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl KeyId {
    /// Of an encoded SubjectPublicKeyInfo.
    pub fn of(public_key_info: &[u8]) -> Self {
        Self(sha256(public_key_info))
    }
}

impl Fingerprint {
    /// Of a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(sha256(certificate))
    }
}

/// Random bytes.
pub(super) fn random<const N: usize>() -> Result<[u8; N], BootstrapError> {
    let mut bytes = [0; N];
    provider().secure_random.fill(&mut bytes).map_err(|_| BootstrapError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_tools_print_it_and_written_in_one_way() {
        let text = "0a".repeat(32);
        let colons = vec!["0A"; 32].join(":");
        assert_eq!(text.parse::<Fingerprint>(), colons.parse());
        assert_eq!(text.parse::<Fingerprint>().unwrap().to_string(), text);
        for wrong in ["", "0a", &"0a".repeat(33), &"zz".repeat(32), &"0a ".repeat(32)] {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(NameError { digits: 64 }), "{wrong}");
        }
    }
}
