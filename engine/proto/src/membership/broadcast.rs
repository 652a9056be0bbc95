//! A host's word to everybody, signed by the member that says it (rule U-1).
//!
//! A broadcast is a postcard that is copied from hand to hand: anybody may carry it, and whoever
//! reads it sees who wrote it. A neighbour is known by its session; whoever spoke first is not, so
//! the card carries a signature of its own.
//!
//! Invariant: what is signed begins with a prefix of its own and names cluster, member, life,
//! number and certificate, so that no other signature of that key is a broadcast.

use alloc::vec::Vec;

use sha2::{Digest, Sha256};
use zerocopy::byteorder::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{DecodeError, PeerError};
use crate::member::MemberId;
use crate::membership::record::{Authority, Signature, SignedRecord};
use crate::time::WallTime;
use crate::wire::message::{FRAME, SealHeader};

/// Domain separation: what a broadcast's signature covers begins with these bytes.
pub const SIGNATURE_PREFIX: &[u8] = b"mesh-gossip broadcast v1\0";

/// Most bytes of one broadcast, or of one message to a member: with a P-256 signature it fills a
/// datagram.
pub const MOST_BYTES: usize = 1_024;

const KEYED: u8 = 1;

/// What a host wants every member to hear.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Broadcast {
    /// What it is about: a number that hosts agree on.
    pub topic: u16,
    /// A later broadcast of this member with the same topic and key takes the place of an earlier
    /// one that is still on its way.
    pub key: Option<u64>,
    /// Content: at most [`MOST_BYTES`].
    pub bytes: Vec<u8>,
}

/// Which broadcast: the same one, by whatever way it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BroadcastId {
    /// Who said it.
    pub origin: MemberId,
    /// In which life.
    pub generation: u64,
    /// Its number in that life.
    pub sequence: u64,
}

/// Head of a broadcast on the wire; content and signature follow.
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Debug,
)]
#[repr(C)]
pub struct BroadcastHeader {
    origin: [u8; 16],
    generation: U64,
    sequence: U64,
    said_ms: U64,
    key: U64,
    topic: U16,
    flags: u8,
    reserved: u8,
    length: U16,
}
const _: () = assert!(size_of::<BroadcastHeader>() == 54);

/// Bytes of a message beside content and signature.
const AROUND: usize = FRAME + size_of::<BroadcastHeader>() + size_of::<SealHeader>();

/// A broadcast as it came, borrowed; its signature is not checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken<'a> {
    /// Which one.
    pub id: BroadcastId,
    /// When, by the clock of whoever said it.
    pub said: WallTime,
    /// What about.
    pub topic: u16,
    /// Whose place it takes.
    pub key: Option<u64>,
    /// Content.
    pub bytes: &'a [u8],
    signed: &'a [u8],
    signer: u64,
    scheme: u16,
    signature: &'a [u8],
}

/// The bytes that the origin signs.
fn message(cluster_id: &str, signer: &[u8; 32], signed: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(80 + cluster_id.len() + signed.len());
    message.extend_from_slice(SIGNATURE_PREFIX);
    // Everything else has one length or ends the message, so this one makes the parts unambiguous.
    message.extend_from_slice(&(cluster_id.len() as u64).to_le_bytes());
    message.extend_from_slice(cluster_id.as_bytes());
    message.extend_from_slice(signer);
    message.extend_from_slice(signed);
    message
}

fn prefix(signer: &[u8; 32]) -> u64 {
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&signer[..8]);
    u64::from_le_bytes(prefix)
}

/// Why a broadcast was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsaid {
    /// The key cannot sign.
    Signing,
    /// With its signature it does not fit a datagram: the most bytes that do.
    TooLarge(usize),
}

impl Broadcast {
    /// The body as it travels in datagrams of at most `payload` bytes, signed by its origin.
    ///
    /// # Errors
    /// [`Unsaid`] when it cannot be signed, or does not fit.
    pub fn sign(
        &self,
        id: BroadcastId,
        said: WallTime,
        (cluster_id, payload): (&str, usize),
        authority: &dyn Authority,
    ) -> Result<Vec<u8>, Unsaid> {
        let length = u16::try_from(self.bytes.len()).map_err(|_| Unsaid::TooLarge(MOST_BYTES))?;
        let header = BroadcastHeader {
            origin: id.origin.0,
            generation: U64::new(id.generation),
            sequence: U64::new(id.sequence),
            said_ms: U64::new(said.0),
            key: U64::new(self.key.unwrap_or(0)),
            topic: U16::new(self.topic),
            flags: if self.key.is_some() { KEYED } else { 0 },
            reserved: 0,
            length: U16::new(length),
        };
        let mut body = Vec::with_capacity(AROUND + self.bytes.len() + 72);
        body.extend_from_slice(header.as_bytes());
        body.extend_from_slice(&self.bytes);
        let signer = <[u8; 32]>::from(Sha256::digest(authority.leaf()));
        let Signature { scheme, bytes: signature } =
            authority.sign(&message(cluster_id, &signer, &body)).ok_or(Unsaid::Signing)?;
        let room = payload.saturating_sub(AROUND + signature.len()).min(MOST_BYTES);
        if self.bytes.len() > room {
            return Err(Unsaid::TooLarge(room));
        }
        let seal = SealHeader {
            signer: U64::new(prefix(&signer)),
            scheme: U16::new(scheme),
            // It fits a datagram.
            length: U16::new(signature.len() as u16),
        };
        body.extend_from_slice(seal.as_bytes());
        body.extend_from_slice(&signature);
        Ok(body)
    }
}

impl<'a> Spoken<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// [`DecodeError`] when the layout does not hold.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let truncated = |_| DecodeError::Truncated;
        let (header, rest) = BroadcastHeader::read_from_prefix(body).map_err(truncated)?;
        if header.reserved != 0 || header.flags & !KEYED != 0 {
            return Err(DecodeError::Reserved);
        }
        let length = usize::from(header.length.get());
        if length > MOST_BYTES {
            return Err(DecodeError::Oversized("broadcast"));
        }
        let (bytes, rest) = rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        let (seal, signature) =
            SealHeader::read_from_prefix(rest).map_err(|_| DecodeError::Truncated)?;
        // Nothing may hang on to what is passed on as it came.
        if signature.len() != usize::from(seal.length.get()) {
            return Err(DecodeError::Field("length of a broadcast"));
        }
        Ok(Self {
            id: BroadcastId {
                origin: MemberId(header.origin),
                generation: header.generation.get(),
                sequence: header.sequence.get(),
            },
            said: WallTime(header.said_ms.get()),
            topic: header.topic.get(),
            key: (header.flags & KEYED != 0).then_some(header.key.get()),
            bytes,
            signed: &body[..size_of::<BroadcastHeader>() + length],
            signer: seal.signer.get(),
            scheme: seal.scheme.get(),
            signature,
        })
    }

    /// Whether the author of `record` said it.
    ///
    /// # Errors
    /// [`PeerError::UnknownSigner`] when another certificate made the signature than the one that
    /// the record shows: a newer record may tell. Otherwise as [`Authority::verify`].
    pub fn check(&self, record: &SignedRecord, authority: &dyn Authority) -> Result<(), PeerError> {
        let signer = record.signer();
        if self.signer != prefix(&signer) {
            return Err(PeerError::UnknownSigner);
        }
        let content = record.record();
        if content.id != self.id.origin {
            return Err(PeerError::WrongId);
        }
        let message = message(&content.metadata.cluster_id, &signer, self.signed);
        let signature = Signature { scheme: self.scheme, bytes: self.signature.to_vec() };
        record.attests(&message, &signature, authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;
    use std::vec;

    /// Signs with a hash: enough to see what is covered.
    struct Hasher(Vec<u8>, usize);

    impl Authority for Hasher {
        fn sign(&self, message: &[u8]) -> Option<Signature> {
            let digest = Sha256::digest(message);
            Some(Signature {
                scheme: 7,
                bytes: digest.iter().copied().cycle().take(self.1).collect(),
            })
        }

        fn leaf(&self) -> &[u8] {
            &self.0
        }

        fn intermediates(&self) -> &[[u8; 32]] {
            &[]
        }

        fn verify(&self, claim: &crate::membership::record::Claim<'_>) -> Result<(), PeerError> {
            let expected = self.sign(claim.message).map(|signature| signature.bytes);
            if expected.as_deref() == Some(claim.signature) && claim.scheme == 7 {
                return Ok(());
            }
            Err(PeerError::Signature("mismatch"))
        }
    }

    fn authority() -> Hasher {
        Hasher(b"leaf".to_vec(), 72)
    }

    fn record(authority: &Hasher) -> SignedRecord {
        let metadata = crate::metadata::Metadata {
            node_id: "a".to_string(),
            role: "worker".to_string(),
            cluster_id: "c".to_string(),
            region: "r".to_string(),
            mesh_version: "1".to_string(),
            ..crate::metadata::Metadata::default()
        };
        let incarnation = crate::member::Incarnation { generation: 5, counter: 0 };
        let record =
            crate::membership::record::first_record("c", incarnation, Vec::new(), metadata);
        SignedRecord::author(record, authority).unwrap()
    }

    fn said(bytes: Vec<u8>, key: Option<u64>) -> (BroadcastId, Broadcast) {
        let origin = MemberId::derive("c", "a");
        (BroadcastId { origin, generation: 5, sequence: 9 }, Broadcast { topic: 3, key, bytes })
    }

    fn body(id: BroadcastId, broadcast: &Broadcast) -> Vec<u8> {
        broadcast.sign(id, WallTime(77), ("c", 1_168), &authority()).unwrap()
    }

    /// Rule U-1: what is said is read as it was said, and whoever changes a byte is found out.
    #[test]
    fn each_byte_of_a_broadcast_is_its_origins() {
        let (id, broadcast) = said(b"hello".to_vec(), Some(4));
        let bytes = body(id, &broadcast);
        let read = Spoken::decode(&bytes).unwrap();
        assert_eq!((read.id, read.said, read.topic), (id, WallTime(77), 3));
        assert_eq!((read.key, read.bytes), (Some(4), &b"hello"[..]));
        let record = record(&authority());
        assert_eq!(read.check(&record, &authority()), Ok(()));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let verdict = Spoken::decode(&changed).map(|read| read.check(&record, &authority()));
            assert!(!matches!(verdict, Ok(Ok(()))), "byte {at}");
        }
    }

    /// Rule W-2: these bytes are a public promise.
    #[test]
    fn the_golden_vector_of_a_broadcast_holds() {
        let (id, broadcast) = said(b"hello".to_vec(), Some(4));
        let bytes = body(id, &broadcast);
        let hex: std::string::String = bytes.iter().map(|b| std::format!("{b:02x}")).collect();
        let origin: std::string::String =
            id.origin.0.iter().map(|b| std::format!("{b:02x}")).collect();
        let numbers = "0500000000000000090000000000000 04d00000000000000 0400000000000000";
        let head = std::format!("{origin}{numbers}030001000500{}", "68656c6c6f").replace(' ', "");
        assert!(hex.starts_with(&head), "{hex}");
        let signer = Sha256::digest(b"leaf");
        let seal: std::string::String =
            signer[..8].iter().map(|b| std::format!("{b:02x}")).collect();
        assert_eq!(hex[head.len()..head.len() + 24], std::format!("{seal}07004800"));
        assert_eq!(hex.len(), 2 * (54 + 5 + 12 + 72));
    }

    /// Rule U-1: no other signature of the same key says the same.
    #[test]
    fn a_broadcast_is_signed_under_a_prefix_of_its_own() {
        let message = message("c", &[1; 32], b"x");
        assert!(message.starts_with(SIGNATURE_PREFIX));
        assert!(!message.starts_with(crate::membership::record::SIGNATURE_PREFIX));
        assert!(!message.starts_with(crate::membership::order::SIGNATURE_PREFIX));
        assert_ne!(message, super::message("d", &[1; 32], b"x"));
        assert_ne!(message, super::message("c", &[2; 32], b"x"));
    }

    /// Rule U-2: the largest fits a datagram to the byte, and the error names what does.
    #[test]
    fn what_does_not_fit_a_datagram_is_refused_with_the_limit() {
        let sign = |bytes: usize, signature: usize, payload| {
            let (id, broadcast) = said(vec![0; bytes], None);
            broadcast.sign(id, WallTime(0), ("c", payload), &Hasher(Vec::new(), signature))
        };
        let largest = sign(MOST_BYTES, 72, 1_168).unwrap();
        assert!(FRAME + largest.len() <= 1_168);
        assert_eq!(sign(MOST_BYTES + 1, 72, 1_168), Err(Unsaid::TooLarge(MOST_BYTES)));
        assert_eq!(sign(70_000, 72, 1_168), Err(Unsaid::TooLarge(MOST_BYTES)));
        // RSA with 4,096 bits, and a small datagram.
        assert_eq!(sign(MOST_BYTES, 512, 1_168), Err(Unsaid::TooLarge(1_168 - AROUND - 512)));
        assert_eq!(sign(1, 512, 512), Err(Unsaid::TooLarge(0)));
        assert_eq!(FRAME + sign(1_168 - AROUND - 512, 512, 1_168).unwrap().len(), 1_168);
    }

    #[test]
    fn what_hangs_on_or_is_missing_is_refused() {
        let (id, broadcast) = said(b"hello".to_vec(), None);
        let whole = body(id, &broadcast);
        assert_eq!(Spoken::decode(&whole[..53]), Err(DecodeError::Truncated));
        assert_eq!(Spoken::decode(&whole[..60]), Err(DecodeError::Truncated));
        let longer = [&whole[..], b"x"].concat();
        assert_eq!(Spoken::decode(&longer), Err(DecodeError::Field("length of a broadcast")));
        for (at, value) in [(51, 1), (50, 2)] {
            let mut reserved = whole.clone();
            reserved[at] = value;
            assert_eq!(Spoken::decode(&reserved), Err(DecodeError::Reserved));
        }
        let mut oversized = whole;
        oversized[52..54].copy_from_slice(&1_025u16.to_le_bytes());
        assert_eq!(Spoken::decode(&oversized), Err(DecodeError::Oversized("broadcast")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..1_200)) {
            if let Ok(read) = Spoken::decode(&bytes) {
                prop_assert_eq!(54 + read.bytes.len() + 12 + read.signature.len(), bytes.len());
            }
        }
    }
}
