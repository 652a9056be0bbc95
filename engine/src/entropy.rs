//! The only random source.

use ring::rand::{SecureRandom, SystemRandom};

/// The operating system refused to give random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoEntropy;

/// 32 bytes from the operating system: a key.
pub(crate) fn key() -> Result<[u8; 32], NoEntropy> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoEntropy)?;
    Ok(bytes)
}

/// Eight bytes from the operating system, as a number.
pub(crate) fn word() -> Result<u64, NoEntropy> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoEntropy)?;
    Ok(u64::from_le_bytes(bytes))
}
