//! The unencrypted front of a datagram (rule W-3); layouts: `docs/wire.md` §2.
//!
//! The first byte tells the kind. A reserved field that is not zero, an unknown kind or an
//! unknown version makes the datagram worthless: it is dropped and counted.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::DecodeError;

/// First byte of a sealed datagram.
pub const DATA: u8 = 0x40;
/// First byte of a reset hint.
pub const RESET_HINT: u8 = 0x50;
/// First byte of a handshake datagram of the client.
pub const INIT: u8 = 1;
/// First byte of a handshake datagram of the server.
pub const RESP: u8 = 2;
/// First byte of a request for a cookie.
pub const RETRY: u8 = 3;

/// Version of sealed datagrams and messages that ALPN `mesh-gossip/1` fixes (rule S-1).
pub const VERSION: u8 = 1;
/// Framing of handshake datagrams, the same for all versions.
pub const FRAMING: u8 = 1;
/// Bytes of the AEAD tag behind each ciphertext.
pub const TAG: usize = 16;
/// Every INIT is padded to this size, so that an answer never amplifies (rule S-6).
pub const INIT_SIZE: usize = 1_200;

/// Handshake flag: the last 32 bytes are a cookie.
pub const FLAG_COOKIE: u8 = 0x01;
/// Handshake flag: the last 32 bytes prove possession of a live session.
pub const FLAG_PROOF: u8 = 0x02;

/// Sealed datagram: this header is the additional data of the AEAD, ciphertext and tag follow.
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Debug,
)]
#[repr(C)]
pub struct DataHeader {
    /// [`DATA`].
    pub kind: u8,
    /// [`VERSION`].
    pub version: u8,
    /// 0.
    pub key_epoch: U16,
    /// Index that the receiver chose for the session.
    pub receiver: U32,
    /// From 0, never reused, never reset.
    pub packet_number: U64,
}
const _: () = assert!(size_of::<DataHeader>() == 16);

/// Handshake datagram: this header, a fragment of the TLS stream, an optional sealed datagram
/// (the trailer), ignored padding.
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Debug,
)]
#[repr(C)]
pub struct HandshakeHeader {
    /// [`INIT`], [`RESP`] or [`RETRY`].
    pub kind: u8,
    /// [`FRAMING`].
    pub framing: u8,
    /// [`FLAG_COOKIE`] or [`FLAG_PROOF`] or 0.
    pub flags: u8,
    /// 0.
    pub reserved: u8,
    /// Index that the receiver chose; 0 in the first INIT.
    pub receiver: U32,
    /// Index that the sender chose.
    pub sender: U32,
    /// Where the fragment begins in the sender's stream.
    pub offset: U16,
    /// Bytes of the receiver's stream that arrived without a gap.
    pub ack: U16,
    /// Bytes of the fragment.
    pub fragment: U16,
    /// Bytes of the trailer.
    pub trailer: U16,
    /// 0.
    pub reserved_word: U32,
    /// Random, chosen by the client, echoed by the server.
    pub attempt: U64,
    /// Cookie or proof, else 0.
    pub token: [u8; 32],
}
const _: () = assert!(size_of::<HandshakeHeader>() == 64);

impl HandshakeHeader {
    /// Asks the sender of an INIT with the header `init` to come again with `cookie` (rule S-7).
    pub fn retry(init: &Self, cookie: [u8; 32]) -> Self {
        Self {
            kind: RETRY,
            framing: FRAMING,
            flags: FLAG_COOKIE,
            reserved: 0,
            receiver: init.sender,
            sender: U32::ZERO,
            offset: U16::ZERO,
            ack: U16::ZERO,
            fragment: U16::ZERO,
            trailer: U16::ZERO,
            reserved_word: U32::ZERO,
            attempt: init.attempt,
            token: cookie,
        }
    }
}

/// "I do not know that session": answers a sealed datagram with an unknown index.
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Debug,
)]
#[repr(C)]
pub struct ResetHint {
    /// [`RESET_HINT`].
    pub kind: u8,
    /// [`FRAMING`].
    pub framing: u8,
    /// 0.
    pub reserved: U16,
    /// Index of the datagram that it answers.
    pub receiver: U32,
    /// Packet number of the datagram that it answers.
    pub packet_number: U64,
}
const _: () = assert!(size_of::<ResetHint>() == 16);

impl DataHeader {
    /// For a packet to the session that its receiver calls `receiver`.
    pub fn new(receiver: u32, packet_number: u64) -> Self {
        Self {
            kind: DATA,
            version: VERSION,
            key_epoch: U16::ZERO,
            receiver: U32::new(receiver),
            packet_number: U64::new(packet_number),
        }
    }

    /// Splits a sealed datagram into header and ciphertext with tag.
    ///
    /// # Errors
    /// [`DecodeError`] when a field is not what this version says.
    pub fn split(datagram: &mut [u8]) -> Result<(Self, &mut [u8]), DecodeError> {
        let (header, body) =
            datagram.split_at_mut_checked(size_of::<Self>()).ok_or(DecodeError::Truncated)?;
        let header = Self::read_from_bytes(header).map_err(|_| DecodeError::Truncated)?;
        if header.kind != DATA {
            return Err(DecodeError::Field("kind"));
        }
        if header.version != VERSION {
            return Err(DecodeError::Version);
        }
        if header.key_epoch.get() != 0 {
            return Err(DecodeError::Reserved);
        }
        if body.len() < TAG {
            return Err(DecodeError::Truncated);
        }
        Ok((header, body))
    }
}

/// A handshake datagram in its parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Handshake<'a> {
    /// Its header.
    pub header: HandshakeHeader,
    /// A piece of the TLS stream.
    pub fragment: &'a [u8],
    /// A sealed datagram, or nothing.
    pub trailer: &'a mut [u8],
}

impl<'a> Handshake<'a> {
    /// Splits a handshake datagram.
    ///
    /// # Errors
    /// [`DecodeError`] when a field is not what the framing says.
    pub fn split(datagram: &'a mut [u8]) -> Result<Self, DecodeError> {
        let (header, rest) = datagram
            .split_at_mut_checked(size_of::<HandshakeHeader>())
            .ok_or(DecodeError::Truncated)?;
        let header =
            HandshakeHeader::read_from_bytes(header).map_err(|_| DecodeError::Truncated)?;
        if header.framing != FRAMING {
            return Err(DecodeError::Version);
        }
        if !matches!(header.kind, INIT | RESP | RETRY) {
            return Err(DecodeError::Field("kind"));
        }
        if header.reserved != 0 || header.reserved_word.get() != 0 {
            return Err(DecodeError::Reserved);
        }
        let known = matches!(header.flags, 0 | FLAG_COOKIE | FLAG_PROOF);
        if !known || (header.flags == 0 && header.token != [0; 32]) {
            return Err(DecodeError::Reserved);
        }
        let (fragment, rest) = rest
            .split_at_mut_checked(header.fragment.get().into())
            .ok_or(DecodeError::Truncated)?;
        let (trailer, _padding) =
            rest.split_at_mut_checked(header.trailer.get().into()).ok_or(DecodeError::Truncated)?;
        Ok(Self { header, fragment, trailer })
    }
}

impl ResetHint {
    /// Answers the sealed datagram with this header.
    pub fn answering(header: &DataHeader) -> Self {
        Self {
            kind: RESET_HINT,
            framing: FRAMING,
            reserved: U16::ZERO,
            receiver: header.receiver,
            packet_number: header.packet_number,
        }
    }

    /// Reads a hint.
    ///
    /// # Errors
    /// [`DecodeError`] when its size or a field is wrong.
    pub fn read(datagram: &[u8]) -> Result<Self, DecodeError> {
        let hint = Self::read_from_bytes(datagram).map_err(|_| DecodeError::Truncated)?;
        if hint.kind != RESET_HINT {
            return Err(DecodeError::Field("kind"));
        }
        if hint.framing != FRAMING {
            return Err(DecodeError::Version);
        }
        if hint.reserved.get() != 0 {
            return Err(DecodeError::Reserved);
        }
        Ok(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn handshake() -> HandshakeHeader {
        HandshakeHeader {
            kind: INIT,
            framing: FRAMING,
            flags: 0,
            reserved: 0,
            receiver: U32::new(0x0102_0304),
            sender: U32::new(0x0506_0708),
            offset: U16::new(0x1122),
            ack: U16::new(0x3344),
            fragment: U16::new(2),
            trailer: U16::new(3),
            reserved_word: U32::ZERO,
            attempt: U64::new(0xa1a2_a3a4_a5a6_a7a8),
            token: [0; 32],
        }
    }

    fn hex(bytes: &[u8]) -> std::string::String {
        bytes.iter().map(|byte| std::format!("{byte:02x}")).collect()
    }

    /// Rule W-3: these bytes are a public promise.
    #[test]
    fn golden_headers_hold() {
        let data = DataHeader::new(0x0a0b_0c0d, 0x0102_0304_0506_0708);
        assert_eq!(hex(data.as_bytes()), "400100000d0c0b0a0807060504030201");
        assert_eq!(hex(ResetHint::answering(&data).as_bytes()), "500100000d0c0b0a0807060504030201");
        let expected = "0101000004030201080706052211443302000300\
                        00000000a8a7a6a5a4a3a2a1"
            .replace(' ', "");
        assert_eq!(hex(handshake().as_bytes()), std::format!("{expected}{}", "00".repeat(32)));
        let retry = HandshakeHeader::retry(&handshake(), [0xcc; 32]);
        let expected = "03010100080706050000000000000000\
                        0000000000000000a8a7a6a5a4a3a2a1";
        assert_eq!(hex(retry.as_bytes()), std::format!("{expected}{}", "cc".repeat(32)));
    }

    /// Rule W-3.
    #[test]
    fn fragment_trailer_and_padding_are_told_apart() {
        let mut bytes = handshake().as_bytes().to_vec();
        bytes.extend_from_slice(b"fftttpad");
        let parts = Handshake::split(&mut bytes).unwrap();
        assert_eq!((parts.fragment, &*parts.trailer), (&b"ff"[..], &b"ttt"[..]));
    }

    /// Rule W-3: every reserved field, kind and version is checked.
    #[test]
    fn reserved_fields_unknown_kinds_and_versions_are_refused() {
        let mut base = handshake().as_bytes().to_vec();
        base.extend_from_slice(b"ffttt");
        let cases: [(usize, u8, DecodeError); 6] = [
            (0, 9, DecodeError::Field("kind")),
            (1, 2, DecodeError::Version),
            (2, 3, DecodeError::Reserved),
            (3, 1, DecodeError::Reserved),
            (20, 1, DecodeError::Reserved),
            (40, 1, DecodeError::Reserved),
        ];
        for (offset, value, error) in cases {
            let mut bytes = base.clone();
            bytes[offset] = value;
            assert_eq!(Handshake::split(&mut bytes).err(), Some(error), "offset {offset}");
        }
        assert_eq!(Handshake::split(&mut base[..68]).err(), Some(DecodeError::Truncated));
        let data: Vec<u8> = [DataHeader::new(1, 2).as_bytes(), &[0; 16]].concat();
        for (offset, error) in [(1, DecodeError::Version), (2, DecodeError::Reserved)] {
            let mut bytes = data.clone();
            bytes[offset] ^= 0x80;
            assert_eq!(DataHeader::split(&mut bytes).err(), Some(error));
        }
        assert_eq!(DataHeader::split(&mut data.clone()[..31]).err(), Some(DecodeError::Truncated));
    }

    proptest! {
        #[test]
        fn any_bytes_are_split_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = DataHeader::split(&mut bytes);
            let _ = ResetHint::read(&bytes);
            if let Ok(parts) = Handshake::split(&mut bytes) {
                prop_assert_eq!(parts.fragment.len(), usize::from(parts.header.fragment.get()));
            }
        }
    }
}
