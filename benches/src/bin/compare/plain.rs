//! The same AEAD as a session's, and nothing else of a session: what the alternatives seal with.
//!
//! A datagram is a header of 16 bytes (who, and a number), a body, and a tag, as ours is. There is
//! no window against replays and no session to look up: the sender says which key, and is believed.

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

const HEADER: usize = 16;
const TAG: usize = 16;

/// A key for each peer and direction.
pub(crate) struct Keys {
    /// From the peer, to the peer.
    pairs: Vec<[LessSafeKey; 2]>,
    /// The next number, likewise.
    next: Vec<[u64; 2]>,
}

/// Which way a datagram goes.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    In,
    Out,
}

impl Keys {
    pub(crate) fn of(peers: usize) -> Self {
        let key = |byte: u8, way: u8| {
            let key = UnboundKey::new(&AES_128_GCM, &[byte ^ (way << 7); 16]);
            LessSafeKey::new(key.expect("sixteen bytes are a key"))
        };
        let pairs = (0..peers).map(|peer| [key(peer as u8, 0), key(peer as u8, 1)]).collect();
        Self { pairs, next: vec![[0; 2]; peers] }
    }

    /// Seals what stands in `datagram` between header and tag, in place.
    pub(crate) fn seal(&mut self, way: Way, peer: usize, datagram: &mut [u8]) {
        let next = &mut self.next[peer][way as usize];
        *next += 1;
        datagram[..8].copy_from_slice(&(peer as u64).to_le_bytes());
        datagram[8..HEADER].copy_from_slice(&next.to_le_bytes());
        let (header, rest) = datagram.split_at_mut(HEADER);
        let (body, tag) = rest.split_at_mut(rest.len() - TAG);
        let key = &self.pairs[peer][way as usize];
        let sealed = key.seal_in_place_separate_tag(nonce(header), Aad::from(&*header), body);
        tag.copy_from_slice(sealed.expect("a datagram is short").as_ref());
    }

    /// Opens it in place; says who sent it.
    pub(crate) fn open(&self, way: Way, datagram: &mut [u8]) -> Option<usize> {
        let (header, rest) = datagram.split_at_mut_checked(HEADER)?;
        let peer = usize::from(header[0]);
        let key = &self.pairs.get(peer)?[way as usize];
        key.open_in_place(nonce(header), Aad::from(&*header), rest).ok()?;
        Some(peer)
    }
}

fn nonce(header: &[u8]) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&header[8..HEADER]);
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_once_it_is_whole() {
        let mut keys = Keys::of(3);
        let mut datagram = vec![7; 64];
        keys.seal(Way::In, 2, &mut datagram);
        let mut other = datagram.clone();
        assert_eq!(keys.open(Way::In, &mut datagram), Some(2));
        assert_eq!(datagram[HEADER..48], [7; 32]);
        other[20] ^= 1;
        assert_eq!(keys.open(Way::In, &mut other), None);
    }
}
