//! A byte stream in fragments: how a TLS handshake travels in datagrams (rule S-6).
//!
//! The sender keeps everything until it is acknowledged and sends what is missing when its driver
//! says so; the receiver puts fragments in order. Neither owns a timer.
//!
//! Invariants: at most [`LIMIT`] bytes a direction; at most two fragments wait out of order; the
//! first bytes that arrive for an offset win.

use alloc::vec::Vec;

use arrayvec::ArrayVec;

use crate::error::DecodeError;

/// Most bytes of one direction.
pub const LIMIT: usize = 16_384;
/// Most fragments that wait for an earlier one.
const OUT_OF_ORDER: usize = 2;

/// The sending half.
#[derive(Clone, Debug, Default)]
pub struct Sender {
    bytes: Vec<u8>,
    acknowledged: usize,
}

impl Sender {
    /// Appends to the stream; says whether it stayed within the limit.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        if self.bytes.len() + bytes.len() > LIMIT {
            return false;
        }
        self.bytes.extend_from_slice(bytes);
        true
    }

    /// The peer has everything before `offset`.
    pub fn acknowledge(&mut self, offset: u16) {
        // An ack beyond the stream, or one that goes back, is a peer's slip and changes nothing.
        let offset = usize::from(offset);
        if offset <= self.bytes.len() && offset > self.acknowledged {
            self.acknowledged = offset;
        }
    }

    /// What is not acknowledged, in fragments of at most `size` bytes with their offsets.
    pub fn fragments(&self, size: usize) -> impl Iterator<Item = (u16, &[u8])> {
        let start = self.acknowledged;
        self.bytes[start..].chunks(size.max(1)).enumerate().map(move |(number, fragment)| {
            // LIMIT keeps every offset within 16 bits.
            ((start + number * size.max(1)) as u16, fragment)
        })
    }

    /// Whether everything is acknowledged.
    pub fn is_acknowledged(&self) -> bool {
        self.acknowledged == self.bytes.len()
    }
}

/// The receiving half.
#[derive(Clone, Debug, Default)]
pub struct Receiver {
    next: usize,
    waiting: ArrayVec<(usize, Vec<u8>), OUT_OF_ORDER>,
}

impl Receiver {
    /// Bytes that arrived without a gap.
    pub fn acknowledges(&self) -> u16 {
        self.next as u16
    }

    /// Takes a fragment; appends to `ready` whatever is in order from here on. Says whether it was
    /// kept: one that was there already, or has no room to wait, is not.
    ///
    /// # Errors
    /// [`DecodeError::Oversized`] when the stream would exceed its limit.
    pub fn take(
        &mut self,
        offset: u16,
        fragment: &[u8],
        ready: &mut Vec<u8>,
    ) -> Result<bool, DecodeError> {
        let offset = usize::from(offset);
        if offset + fragment.len() > LIMIT {
            return Err(DecodeError::Oversized("handshake stream"));
        }
        if offset > self.next {
            let known = self.waiting.iter().any(|(waits_at, _)| *waits_at == offset);
            let kept = !known && !fragment.is_empty() && !self.waiting.is_full();
            if kept {
                self.waiting.push((offset, fragment.to_vec()));
            }
            return Ok(kept);
        }
        let before = self.next;
        self.append(offset, fragment, ready);
        while let Some(at) = self.waiting.iter().position(|(offset, _)| *offset <= self.next) {
            let (offset, fragment) = self.waiting.remove(at);
            self.append(offset, &fragment, ready);
        }
        Ok(self.next > before)
    }

    fn append(&mut self, offset: usize, fragment: &[u8], ready: &mut Vec<u8>) {
        let known = self.next - offset;
        if let Some(news) = fragment.get(known..) {
            ready.extend_from_slice(news);
            self.next += news.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Rule S-6: whatever is lost, doubled or reordered, repeating what is not acknowledged
        /// delivers the stream once and in order.
        #[test]
        fn a_lossy_path_delivers_the_stream_in_order(
            length in 1usize..6_000, size in 50usize..1_200, seed in any::<u64>()
        ) {
            let mut rng = fastrand::Rng::with_seed(seed);
            let stream: Vec<u8> = (0..length).map(|i| (i * 31) as u8).collect();
            let mut sender = Sender::default();
            prop_assert!(sender.push(&stream));
            let (mut receiver, mut ready) = (Receiver::default(), Vec::new());
            let mut rounds = 0;
            while !sender.is_acknowledged() {
                let mut flight: Vec<(u16, Vec<u8>)> =
                    sender.fragments(size).map(|(at, bytes)| (at, bytes.to_vec())).collect();
                rng.shuffle(&mut flight);
                for (offset, bytes) in flight {
                    for _ in 0..rng.usize(0..3) {
                        receiver.take(offset, &bytes, &mut ready).unwrap();
                    }
                }
                sender.acknowledge(receiver.acknowledges());
                rounds += 1;
                prop_assert!(rounds < 10_000, "seed {}", seed);
            }
            prop_assert_eq!(ready, stream);
        }
    }

    #[test]
    fn the_first_bytes_win_and_the_limit_holds() {
        let (mut receiver, mut ready) = (Receiver::default(), Vec::new());
        assert!(receiver.take(0, b"abc", &mut ready).unwrap());
        assert!(!receiver.take(0, b"abc", &mut ready).unwrap());
        assert!(receiver.take(1, b"XYZd", &mut ready).unwrap());
        assert_eq!(ready, b"abcZd", "bytes 1 and 2 were there already");
        // A later part is news once, though it waits.
        assert!(receiver.take(9, b"later", &mut ready).unwrap());
        assert!(!receiver.take(9, b"later", &mut ready).unwrap());
        assert!(receiver.take(16_000, &[0; 400], &mut ready).is_err());
        assert!(!Sender::default().push(&[0; LIMIT + 1]));
        let mut sender = Sender::default();
        sender.push(b"abc");
        sender.acknowledge(9);
        assert!(!sender.is_acknowledged(), "an ack beyond the stream changes nothing");
    }
}
