//! Bodies that do not fit a datagram, in parts (rule W-4).
//!
//! A certificate or a proof of long signatures may be larger than what one datagram holds. It
//! travels in parts that each name the whole; who has them all has the body. A lost part is lost:
//! whoever asked for the body asks again, and gets all parts again.
//!
//! Invariants: so many bodies are open, of one sender fewer, the oldest go; the bytes of a body are
//! bounded; what is handed out hashes to what its parts named.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::member::MemberId;
use crate::wire::message::{PartHeader, kind};

/// Bodies under way,
const OPEN: usize = 64;
/// and of one sender.
const OPEN_OF_ONE: usize = 8;
/// Bytes of one body: five votes under RSA keys of 4,096 bits take less, and so does a certificate.
const MOST_BYTES: usize = 8_192;

#[derive(Clone, Debug)]
struct Open {
    from: MemberId,
    kind: u8,
    hash: u64,
    total: usize,
    parts: BTreeMap<u16, Vec<u8>>,
}

/// Bodies of which parts have come.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    open: VecDeque<Open>,
}

impl Parts {
    /// A part arrived; the whole body with its kind, if that was the last one.
    pub fn take(
        &mut self,
        from: MemberId,
        header: &PartHeader,
        bytes: &[u8],
    ) -> Option<(u8, Vec<u8>)> {
        let (hash, total) = (header.hash.get(), usize::from(header.total.get()));
        let offset = usize::from(header.offset.get());
        let kinds = [kind::PROOF, kind::CERTIFICATE, kind::FORCE_LEAVE];
        let fits = total <= MOST_BYTES && offset + bytes.len() <= total && !bytes.is_empty();
        if !fits || !kinds.contains(&header.kind) {
            return None;
        }
        let same = |open: &Open| {
            (open.from, open.kind, open.hash, open.total) == (from, header.kind, hash, total)
        };
        if !self.open.iter().any(same) {
            self.make_room(from);
            let parts = BTreeMap::new();
            self.open.push_back(Open { from, kind: header.kind, hash, total, parts });
        }
        let at = self.open.iter().position(same)?;
        let open = &mut self.open[at];
        open.parts.insert(header.offset.get(), bytes.to_vec());
        let held: usize = open.parts.values().map(Vec::len).sum();
        if held < total {
            return None;
        }
        let whole = self.open.remove(at)?;
        let mut body = Vec::with_capacity(total);
        for (offset, part) in whole.parts {
            // Parts that overlap belong to no body.
            if usize::from(offset) != body.len() {
                return None;
            }
            body.extend_from_slice(&part);
        }
        (body.len() == total && name(&body) == hash).then_some((whole.kind, body))
    }

    fn make_room(&mut self, from: MemberId) {
        let own = self.open.iter().filter(|open| open.from == from).count();
        if own >= OPEN_OF_ONE
            && let Some(oldest) = self.open.iter().position(|open| open.from == from)
        {
            self.open.remove(oldest);
        }
        if self.open.len() >= OPEN {
            self.open.pop_front();
        }
    }
}

/// How parts name their body: first eight bytes of its SHA-256.
pub fn name(body: &[u8]) -> u64 {
    let digest = Sha256::digest(body);
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(prefix)
}

/// The headers and bytes of the parts of a body, each of at most `room` bytes; none for a body that
/// nobody would take.
pub fn split(kind: u8, body: &[u8], room: usize) -> impl Iterator<Item = (PartHeader, &[u8])> {
    let hash = name(body);
    let body = if body.len() <= MOST_BYTES { body } else { &[] };
    let total = body.len() as u16;
    body.chunks(room.max(1)).enumerate().map(move |(nth, bytes)| {
        let offset = (nth * room.max(1)) as u16;
        let header = PartHeader {
            hash: hash.into(),
            total: total.into(),
            offset: offset.into(),
            kind,
            reserved: [0; 3],
        };
        (header, bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u8) -> MemberId {
        MemberId([n; 16])
    }

    /// Rule W-4: in any order, and twice; whatever does not make up what was named is nothing.
    #[test]
    fn a_body_is_put_together_from_its_parts() {
        let body: Vec<u8> = (0..3_000u32).map(|n| n as u8).collect();
        let sent: Vec<_> = split(kind::PROOF, &body, 1_149).collect();
        assert_eq!(sent.len(), 3);
        for order in [[0, 1, 2], [2, 0, 1]] {
            let mut parts = Parts::default();
            let found: Vec<_> = order
                .iter()
                .filter_map(|nth| {
                    let (header, bytes) = sent[*nth];
                    if *nth == 0 {
                        assert!(parts.take(id(9), &header, bytes).is_none(), "another sender");
                    }
                    parts.take(id(1), &header, bytes)
                })
                .collect();
            assert_eq!(found, [(kind::PROOF, body.clone())]);
        }
        let mut parts = Parts::default();
        let mut changed = sent[1].1.to_vec();
        changed[7] ^= 1;
        let given = [(sent[0].0, sent[0].1), (sent[1].0, &changed[..]), (sent[2].0, sent[2].1)];
        assert!(given.iter().all(|(header, bytes)| parts.take(id(1), header, bytes).is_none()));
        assert!(parts.open.is_empty(), "and nothing is left of it");
    }

    /// Rule B-1.
    #[test]
    fn open_bodies_are_bounded() {
        let mut parts = Parts::default();
        let body = [7; 2_000];
        for n in 0..200u8 {
            let mut body = body.to_vec();
            body[0] = n;
            for sender in [1, 2 + n % 50] {
                let (header, bytes) = split(kind::CERTIFICATE, &body, 1_000).next().unwrap();
                assert_eq!(parts.take(id(sender), &header, bytes), None);
            }
            assert!(parts.open.len() <= OPEN);
            assert!(parts.open.iter().filter(|open| open.from == id(1)).count() <= OPEN_OF_ONE);
        }
        assert_eq!(split(kind::PROOF, &[0; MOST_BYTES + 1], 1_000).count(), 0);
        let (header, bytes) = split(kind::PING, &body, 2_000).next().unwrap();
        assert_eq!(parts.take(id(1), &header, bytes), None, "other kinds come whole");
    }

    proptest! {
        #[test]
        fn any_parts_are_taken_or_refused(
            given in prop::collection::vec(
                (0u8..3, 0u16..40, 0u16..60, prop::collection::vec(any::<u8>(), 0..40)), 0..60,
            ),
        ) {
            let mut parts = Parts::default();
            for (hash, total, offset, bytes) in given {
                let header = PartHeader {
                    hash: u64::from(hash).into(),
                    total: total.into(),
                    offset: offset.into(),
                    kind: kind::PROOF,
                    reserved: [0; 3],
                };
                prop_assert_eq!(parts.take(id(1), &header, &bytes), None);
            }
        }
    }
}
