//! Join tokens: who holds one may ask once for one named node's certificate.
//!
//! A cloakroom ticket: the number finds the coat, the secret part shows that the ticket is
//! genuine, and the cloakroom keeps only an impression of it.
//!
//! Invariant: the text of a token exists where it was handed over, never in the authority's
//! directory, a log, an error or a debug output (rule S-21).

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::bootstrap::BootstrapError;
use crate::bootstrap::names::random;
use crate::tls::provider::sha256;

const PREFIX: &str = "mesh1";
/// Longest text that is looked at; a token is shorter.
pub(super) const MAX_TEXT: usize = 128;

/// A token as it is handed over.
pub struct Token {
    id: String,
    text: Zeroizing<String>,
}

impl Token {
    /// A new one, 256 bits of secret.
    pub(super) fn generate() -> Result<Self, BootstrapError> {
        let id: String = random::<8>()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let secret = Zeroizing::new(random::<32>()?);
        let secret = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(*secret));
        let mut text = Zeroizing::new(String::with_capacity(MAX_TEXT));
        for part in [PREFIX, ".", &id, ".", &secret] {
            text.push_str(part);
        }
        Ok(Self { id, text })
    }

    /// Reads the text of a token; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() > MAX_TEXT {
            return None;
        }
        let mut parts = text.split('.');
        let (prefix, id, secret) = (parts.next()?, parts.next()?, parts.next()?);
        let is_id =
            id.len() == 16 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if prefix != PREFIX || !is_id || secret.len() != 43 || parts.next().is_some() {
            return None;
        }
        Some(Self { id: id.to_owned(), text: Zeroizing::new(text.to_owned()) })
    }

    /// What finds it in the ledger, and what logs call it by.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret text, to be handed over.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the ledger keeps of it. A plain hash will do: there is nothing to guess in 256 random
    /// bits.
    pub(super) fn hash(&self) -> String {
        sha256(self.text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, redacted)", self.id)
    }
}

/// Compares two hashes in a time that does not depend on where they differ.
pub(super) fn same_hash(one: &str, other: &str) -> bool {
    let differ = one.bytes().zip(other.bytes()).fold(0, |seen, (a, b)| seen | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differ) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule S-21.
    #[test]
    fn a_token_is_read_back_and_never_formatted() {
        let token = Token::generate().unwrap();
        let read = Token::parse(&format!("  {}\n", token.text())).unwrap();
        assert_eq!((read.id(), read.hash()), (token.id(), token.hash()));
        let secret = token.text().rsplit('.').next().unwrap();
        assert!(!format!("{token:?}").contains(secret));
        for wrong in ["", "mesh1", "mesh1..", &token.text()[1..], &format!("{}.x", token.text())] {
            assert!(Token::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn hashes_are_equal_only_when_every_digit_is() {
        assert!(same_hash("ab", "ab"));
        for other in ["", "a", "abc", "aa", "bb"] {
            assert!(!same_hash("ab", other), "{other}");
        }
    }
}
