//! A hash over everything that happened, in order.

use sha2::{Digest, Sha256};

/// Running hash of a simulation.
#[derive(Clone, Default)]
pub(crate) struct Trace(Sha256);

impl Trace {
    /// Adds one happening: when, what kind, to whom, with which bytes.
    pub(crate) fn add(&mut self, now: u64, kind: u8, node: usize, bytes: &[u8]) {
        self.0.update(now.to_le_bytes());
        self.0.update([kind]);
        self.0.update((node as u64).to_le_bytes());
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// First eight bytes of the hash so far.
    pub(crate) fn hash(&self) -> u64 {
        let digest = self.0.clone().finalize();
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&digest[..8]);
        u64::from_be_bytes(prefix)
    }
}
