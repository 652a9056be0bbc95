//! A number that tells one term of one leader from every other, for stores that refuse older ones
//! (rule E-8).
//!
//! Invariant: of two tokens of one scope the one of the later term is greater.

use sha2::{Digest, Sha256};

use crate::config::Scope;
use crate::metadata::MAX_TERM;

/// Bits that follow the term.
const TELL_APART: u32 = 20;

/// The fence token of a term held in a life: the term, then the first twenty bits of
/// SHA-256("mesh-fence-v1" ‖ definition ‖ term ‖ generation), numbers big-endian. It is exact in a
/// JSON number. Advice: two sides of a partition may hold one term, under tokens that differ.
pub fn token(scope: &Scope, term: u64, generation: u64) -> u64 {
    let term = term.min(MAX_TERM);
    let mut hash = Sha256::new();
    hash.update(b"mesh-fence-v1");
    for number in [scope.definition(), term, generation] {
        hash.update(number.to_be_bytes());
    }
    let digest = hash.finalize();
    let prefix = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    term << TELL_APART | u64::from(prefix >> (u32::BITS - TELL_APART))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule E-8.
    #[test]
    fn tokens_rise_with_the_term_and_differ_by_life_and_scope() {
        let (a, b) = (Scope::global("a"), Scope::global("b"));
        assert!(token(&a, 1, u64::MAX) < token(&a, 2, 0));
        assert_ne!(token(&a, 1, 1), token(&a, 1, 2));
        assert_ne!(token(&a, 1, 1), token(&b, 1, 1));
        assert!(token(&a, MAX_TERM, 1) < 1 << 53, "exact in a double");
        assert_eq!(token(&a, 7, 1_000), GOLDEN);
    }

    const GOLDEN: u64 = 0x0073_87e6;
}
