//! A hash over everything that happened, in order: XXH3, 64 bits, streamed.

use std::hash::Hasher;

use twox_hash::XxHash3_64;

/// What kind of thing happened; part of the hash.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    Wake = 0,
    Delivery = 1,
    Proven = 2,
    Stream = 3,
    Fault = 4,
    Event = 5,
    Handshake = 6,
    Hint = 7,
}

/// What stands before the bytes of each.
const HEADER: usize = 16;
/// So many bytes are written together with it.
const SHORT: usize = 48;

/// Running hash of a simulation.
#[derive(Clone, Default)]
pub(crate) struct Trace(XxHash3_64);

impl Trace {
    /// Adds one happening: when, what kind, to whom, with which bytes.
    pub(crate) fn add(&mut self, now: u64, kind: Kind, node: usize, bytes: &[u8]) {
        let mut line = [0; HEADER + SHORT];
        let (header, rest) = line.split_at_mut(HEADER);
        header[..8].copy_from_slice(&now.to_le_bytes());
        // Node and length have four bytes each; the kind stands in the node's top byte.
        let who = node as u32 | (kind as u32) << 24;
        header[8..12].copy_from_slice(&who.to_le_bytes());
        header[12..].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        // One piece is hashed faster than two.
        if let Some(room) = rest.get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
            self.0.write(&line[..HEADER + bytes.len()]);
        } else {
            self.0.write(header);
            self.0.write(bytes);
        }
    }

    /// The hash so far.
    pub(crate) fn hash(&self) -> u64 {
        self.0.finish()
    }
}
