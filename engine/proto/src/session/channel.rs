//! A secured channel to one peer: a counter and a window (rules S-3 to S-5). The keys come with
//! every call: their expanded form is large, and a session at rest does without it.
//!
//! Invariants: a packet number is sealed at most once, also when sending fails; counter and window
//! have this one owner, which is no `Clone`, and are never written anywhere.

use alloc::vec::Vec;

use zerocopy::IntoBytes;

use crate::session::window::ReplayWindow;
use crate::wire::header::{DataHeader, TAG};

/// From this packet number on the session wants a successor (rule S-3).
pub const WANTS_SUCCESSOR: u64 = 1 << 22;
/// From this packet number on nothing is sealed (rule S-3).
pub const EXHAUSTED: u64 = 1 << 23;
/// Bytes that a datagram is longer than its payload.
pub const OVERHEAD: usize = size_of::<DataHeader>() + TAG;
/// A hint that echoes one of so many last packets is ours.
const RECENT: u64 = 1_024;

/// The seam to the AEAD: one direction's key. The nonce is the key's iv XOR (4 zero bytes ‖
/// packet number, little-endian).
pub trait Seal {
    /// Encrypts `body` in place and returns the tag.
    fn seal(&self, packet_number: u64, header: &[u8], body: &mut [u8]) -> [u8; TAG];

    /// Decrypts `body` (ciphertext and tag) in place; says whether it was authentic.
    fn open(&self, packet_number: u64, header: &[u8], body: &mut [u8]) -> bool;
}

/// Nothing more may be sealed on this channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// Why a packet was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The packet number was seen, or is too old to tell.
    Replayed,
    /// Not sealed by the peer, or not as the rules allow.
    Forged,
}

/// Both directions.
#[derive(Debug)]
pub struct Channel {
    peer_index: u32,
    /// The next packet number; at most [`EXHAUSTED`].
    next: u32,
    window: ReplayWindow,
}

const _: () = assert!(EXHAUSTED <= u32::MAX as u64 && size_of::<Channel>() == 32);

impl Channel {
    /// A fresh channel; `peer_index` is what the peer calls it.
    pub fn new(peer_index: u32) -> Self {
        Self { peer_index, next: 0, window: ReplayWindow::default() }
    }

    /// Writes one datagram with `payload` to the front of `room`, sealed with `key`, which is the
    /// same one for all of the channel's life; returns its length.
    ///
    /// # Errors
    /// [`Exhausted`] after 2^23 packets.
    ///
    /// # Panics
    /// When `room` is shorter than `payload` and [`OVERHEAD`].
    pub fn seal_into<K: Seal>(
        &mut self,
        key: &K,
        payload: &[u8],
        room: &mut [u8],
    ) -> Result<usize, Exhausted> {
        let number = u64::from(self.next);
        if number >= EXHAUSTED {
            return Err(Exhausted);
        }
        self.next += 1;
        let header = DataHeader::new(self.peer_index, number);
        let (front, rest) = room.split_at_mut(size_of::<DataHeader>());
        front.copy_from_slice(header.as_bytes());
        let (body, rest) = rest.split_at_mut(payload.len());
        body.copy_from_slice(payload);
        let tag = key.seal(number, header.as_bytes(), body);
        rest[..TAG].copy_from_slice(&tag);
        Ok(payload.len() + OVERHEAD)
    }

    /// Appends one datagram to `out`, likewise.
    ///
    /// # Errors
    /// [`Exhausted`] after 2^23 packets.
    pub fn seal<K: Seal>(
        &mut self,
        key: &K,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Exhausted> {
        let start = out.len();
        out.resize(start + payload.len() + OVERHEAD, 0);
        let sealed = self.seal_into(key, payload, &mut out[start..]);
        sealed.map(|_| ()).inspect_err(|_| out.truncate(start))
    }

    /// Opens a datagram in place with `key` and returns its payload.
    ///
    /// # Errors
    /// [`OpenError`]; the channel is unchanged then.
    pub fn open<'a, K: Seal>(
        &mut self,
        key: &K,
        header: &DataHeader,
        body: &'a mut [u8],
    ) -> Result<&'a [u8], OpenError> {
        let number = header.packet_number.get();
        // No peer that keeps rule S-3 gets there.
        if number >= EXHAUSTED {
            return Err(OpenError::Forged);
        }
        if !self.window.is_fresh(number) {
            return Err(OpenError::Replayed);
        }
        let payload = body.len().checked_sub(TAG).ok_or(OpenError::Forged)?;
        if !key.open(number, header.as_bytes(), body) {
            return Err(OpenError::Forged);
        }
        self.window.accept(number);
        Ok(&body[..payload])
    }

    /// What the peer calls it.
    pub fn peer_index(&self) -> u32 {
        self.peer_index
    }

    /// Whether a successor is due (rule S-3).
    pub fn wants_successor(&self) -> bool {
        u64::from(self.next) >= WANTS_SUCCESSOR
    }

    /// Whether `packet_number` to `index` was sent here a short while ago.
    pub fn sent_recently(&self, index: u32, packet_number: u64) -> bool {
        let next = u64::from(self.next);
        index == self.peer_index && packet_number < next && next - packet_number <= RECENT
    }

    /// Test seam for the limits of rule S-3: jumps to a packet number.
    #[cfg(test)]
    fn skip_to(&mut self, number: u64) {
        // Never beyond the last, which fits.
        self.next = number.min(EXHAUSTED) as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    /// XOR and a sum: enough to tell who sealed what.
    struct Toy(u8);

    impl Toy {
        fn tag(&self, number: u64, header: &[u8], body: &[u8]) -> [u8; TAG] {
            let mut tag = [self.0; TAG];
            for (i, byte) in header.iter().chain(body).enumerate() {
                tag[i % TAG] = tag[i % TAG].rotate_left(3).wrapping_add(*byte ^ number as u8);
            }
            tag
        }
    }

    impl Seal for Toy {
        fn seal(&self, number: u64, header: &[u8], body: &mut [u8]) -> [u8; TAG] {
            body.iter_mut().for_each(|byte| *byte ^= self.0);
            self.tag(number, header, body)
        }

        fn open(&self, number: u64, header: &[u8], body: &mut [u8]) -> bool {
            let (text, tag) = body.split_at_mut(body.len() - TAG);
            if self.tag(number, header, text) != *tag {
                return false;
            }
            text.iter_mut().for_each(|byte| *byte ^= self.0);
            true
        }
    }

    /// The key from a to b, which is all that is tested.
    const KEY: Toy = Toy(1);

    fn pair() -> (Channel, Channel) {
        (Channel::new(7), Channel::new(9))
    }

    fn open(channel: &mut Channel, mut datagram: Vec<u8>) -> Result<Vec<u8>, OpenError> {
        let (header, body) = DataHeader::split(&mut datagram).unwrap();
        channel.open(&KEY, &header, body).map(<[u8]>::to_vec)
    }

    /// Rule S-4: a datagram is accepted once, a changed one never.
    #[test]
    fn replayed_and_forged_datagrams_are_refused_and_change_nothing() {
        let (mut a, mut b) = pair();
        let mut datagram = vec![];
        a.seal(&KEY, b"hello", &mut datagram).unwrap();
        for byte in 0..datagram.len() {
            let mut changed = datagram.clone();
            changed[byte] ^= 0x40;
            if let Ok((header, body)) = DataHeader::split(&mut changed) {
                assert_eq!(b.open(&KEY, &header, body), Err(OpenError::Forged), "byte {byte}");
            }
        }
        assert_eq!(open(&mut b, datagram.clone()), Ok(b"hello".to_vec()));
        assert_eq!(open(&mut b, datagram), Err(OpenError::Replayed));
    }

    /// Rule S-3: a successor in time, and never a packet number too many.
    #[test]
    fn a_channel_asks_for_a_successor_and_then_refuses() {
        let (mut a, _) = pair();
        assert!(!a.wants_successor());
        a.skip_to(WANTS_SUCCESSOR);
        assert!(a.wants_successor());
        a.skip_to(EXHAUSTED - 1);
        assert_eq!(a.seal(&KEY, b"last", &mut vec![]), Ok(()));
        assert_eq!(a.seal(&KEY, b"one more", &mut vec![]), Err(Exhausted));
    }

    /// Rule S-3, on receipt: a number beyond the last is refused, however well it is sealed.
    #[test]
    fn a_number_beyond_the_last_is_refused() {
        for number in [EXHAUSTED, u64::MAX] {
            let (_, mut b) = pair();
            let header = DataHeader::new(7, number);
            let mut body = b"late".to_vec();
            let tag = KEY.seal(number, header.as_bytes(), &mut body);
            body.extend_from_slice(&tag);
            assert_eq!(b.open(&KEY, &header, &mut body), Err(OpenError::Forged));
        }
    }

    #[test]
    fn a_hint_must_echo_a_recent_packet() {
        let (mut a, _) = pair();
        assert!(!a.sent_recently(7, 0), "nothing was sent");
        a.seal(&KEY, b"x", &mut vec![]).unwrap();
        assert!(a.sent_recently(7, 0));
        assert!(!a.sent_recently(8, 0));
        assert!(!a.sent_recently(7, 1));
        a.skip_to(5_000);
        assert!(!a.sent_recently(7, 0));
    }
}
