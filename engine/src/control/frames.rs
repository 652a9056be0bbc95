//! Frames of a bulk exchange.
//!
//! Every frame is `kind u8, flags u8 = 0, length u32 little endian, body`:
//!
//! | kind | name | body |
//! |---|---|---|
//! | 1 | REQUEST | member ids of 16 bytes, at most [`MOST_IDS`]; none asks for everybody |
//! | 2 | ENTRIES | whole entries of a state (`mesh_gossip_proto::sync::snapshot`), one or more |
//! | 3 | END | empty |
//! | 4 | LISTS | notices of the revocation lists that the sender has, at most [`MOST_NOTICES`] |
//! | 5 | LIST | u32: bytes of the revocation list that follows in BYTES |
//! | 6 | BYTES | a piece of it |
//! | 7 | HEARD | packet numbers (u64) of sealed datagrams, at most [`MOST_HEARD`]: which of them came? |
//!
//! Invariant: a length is checked before a byte of the body is read or reserved.

use mesh_gossip_proto::MemberId;
use mesh_gossip_proto::membership::record::MAX_ENVELOPE;
use mesh_gossip_proto::sync::snapshot::Entries;
use mesh_gossip_proto::wire::message::ListNotice;
use zerocopy::{FromBytes, IntoBytes};

use super::stream::SecureStream;
use super::sync::SyncError;
use crate::orders::SYNC_PIECE;

/// Header of an entry, as `sync::snapshot` writes it.
const ENTRY_HEADER: usize = 12;

/// Longest body: a piece, or one entry of the largest size where that is more.
pub(super) const MAX_BODY: usize = {
    let entry = ENTRY_HEADER + MAX_ENVELOPE;
    if entry > SYNC_PIECE { entry } else { SYNC_PIECE }
};

/// Most ids of one REQUEST. A requester that wants more asks for everybody, which is cheaper than
/// a list of that length.
pub(super) const MOST_IDS: usize = SYNC_PIECE / 16;

/// Most notices of one LISTS.
pub(super) const MOST_NOTICES: usize = 64;

/// Most packet numbers of one HEARD: more than anybody sends before it asks.
pub(super) const MOST_HEARD: usize = 64;

const HEADER: usize = 6;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// What is wanted.
    Request(Vec<MemberId>),
    /// Whole entries.
    Entries(Vec<u8>),
    /// The direction is complete.
    End,
    /// The revocation lists that the sender has (rule S-16).
    Lists(Vec<ListNotice>),
    /// A revocation list of so many bytes follows.
    List(u32),
    /// A piece of it.
    Bytes(Vec<u8>),
    /// Which of these datagrams came (rule S-19); the answer repeats those that did.
    Heard(Vec<u64>),
}

/// How a peer broke the framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// A kind that this protocol does not have.
    Kind(u8),
    /// A reserved flag is set.
    Flags,
    /// The body is longer than any may be: bytes.
    TooLong(u32),
    /// The body is not what the kind demands.
    Body,
    /// A frame that is right by itself, at the wrong time.
    Order,
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "unknown frame kind {kind}"),
            Self::Flags => f.write_str("a reserved flag is set"),
            Self::TooLong(bytes) => {
                write!(f, "a frame of {bytes} bytes; at most {MAX_BODY} are allowed")
            }
            Self::Body => f.write_str("a frame's body is malformed"),
            Self::Order => f.write_str("a frame came at the wrong time"),
        }
    }
}

impl Frame {
    fn kind(&self) -> u8 {
        match self {
            Self::Request(_) => 1,
            Self::Entries(_) => 2,
            Self::End => 3,
            Self::Lists(_) => 4,
            Self::List(_) => 5,
            Self::Bytes(_) => 6,
            Self::Heard(_) => 7,
        }
    }

    /// The frame's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.kind(), 0, 0, 0, 0, 0];
        match self {
            Self::Request(ids) => ids.iter().for_each(|id| bytes.extend_from_slice(&id.0)),
            Self::Entries(entries) => bytes.extend_from_slice(entries),
            Self::End => {}
            Self::Lists(notices) => bytes.extend_from_slice(notices.as_bytes()),
            Self::List(length) => bytes.extend_from_slice(&length.to_le_bytes()),
            Self::Bytes(piece) => bytes.extend_from_slice(piece),
            Self::Heard(numbers) => {
                numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
            }
        }
        let length = bytes.len() - HEADER;
        assert!(length <= MAX_BODY, "{length} bytes are no frame of ours");
        bytes[2..HEADER].copy_from_slice(&(length as u32).to_le_bytes());
        bytes
    }

    /// Reads the next frame.
    pub(super) async fn read(stream: &mut SecureStream) -> Result<Self, SyncError> {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header).await?;
        let length = body_length(header)?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        Ok(Self::decode(header[0], body)?)
    }

    /// The frame at the beginning of `bytes` and its length; `None`: there is more to come.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Result<(Self, usize), FrameError>> {
        let header = bytes.first_chunk::<HEADER>()?;
        let length = match body_length(*header) {
            Ok(length) => length,
            Err(error) => return Some(Err(error)),
        };
        let body = bytes.get(HEADER..HEADER + length)?;
        let frame = Self::decode(header[0], body.to_vec());
        Some(frame.map(|frame| (frame, HEADER + length)))
    }

    fn decode(kind: u8, body: Vec<u8>) -> Result<Self, FrameError> {
        match kind {
            1 => {
                let (ids, rest) = body.as_chunks::<16>();
                if !rest.is_empty() || ids.len() > MOST_IDS {
                    return Err(FrameError::Body);
                }
                Ok(Self::Request(ids.iter().copied().map(MemberId).collect()))
            }
            2 => {
                if body.is_empty() || Entries::new(&body).any(|entry| entry.is_err()) {
                    return Err(FrameError::Body);
                }
                Ok(Self::Entries(body))
            }
            3 if body.is_empty() => Ok(Self::End),
            3 => Err(FrameError::Body),
            4 => match <[ListNotice]>::ref_from_bytes(&body) {
                Ok(notices) if notices.len() <= MOST_NOTICES => Ok(Self::Lists(notices.to_vec())),
                Ok(_) | Err(_) => Err(FrameError::Body),
            },
            5 => match <[u8; 4]>::try_from(&*body) {
                Ok(length) => Ok(Self::List(u32::from_le_bytes(length))),
                Err(_) => Err(FrameError::Body),
            },
            6 if body.is_empty() => Err(FrameError::Body),
            6 => Ok(Self::Bytes(body)),
            7 => {
                let (numbers, rest) = body.as_chunks::<8>();
                if !rest.is_empty() || numbers.len() > MOST_HEARD {
                    return Err(FrameError::Body);
                }
                Ok(Self::Heard(numbers.iter().copied().map(u64::from_le_bytes).collect()))
            }
            kind => Err(FrameError::Kind(kind)),
        }
    }
}

fn body_length(header: [u8; HEADER]) -> Result<usize, FrameError> {
    let [kind, flags, length @ ..] = header;
    if !(1..=7).contains(&kind) {
        return Err(FrameError::Kind(kind));
    }
    if flags != 0 {
        return Err(FrameError::Flags);
    }
    let length = u32::from_le_bytes(length);
    match usize::try_from(length) {
        Ok(bytes) if bytes <= MAX_BODY => Ok(bytes),
        Ok(_) | Err(_) => Err(FrameError::TooLong(length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(bytes: &[u8]) -> Result<Frame, FrameError> {
        Frame::of_bytes(bytes).unwrap().map(|(frame, _)| frame)
    }

    /// These bytes are a public promise: `docs/wire.md`, streams.
    #[test]
    fn golden_frames() {
        assert_eq!(Frame::End.encode(), [3, 0, 0, 0, 0, 0]);
        let request = Frame::Request(vec![MemberId([7; 16]), MemberId([8; 16])]);
        let bytes = [vec![1, 0, 32, 0, 0, 0], vec![7; 16], vec![8; 16]].concat();
        assert_eq!(request.encode(), bytes);
        assert_eq!(decode(&bytes), Ok(request));
        let entry = [vec![1, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0], vec![0xab, 0xcd]].concat();
        let bytes = [vec![2, 0, 14, 0, 0, 0], entry.clone()].concat();
        assert_eq!(Frame::Entries(entry.clone()).encode(), bytes);
        assert_eq!(decode(&bytes), Ok(Frame::Entries(entry)));
        let notice = ListNotice { issuer: [7; 16], number: [8; 20], hash: 9.into() };
        let hash = [9, 0, 0, 0, 0, 0, 0, 0];
        let bytes = [&[4, 0, 44, 0, 0, 0][..], &[7; 16], &[8; 20], &hash].concat();
        assert_eq!(Frame::Lists(vec![notice]).encode(), bytes);
        assert_eq!(decode(&bytes), Ok(Frame::Lists(vec![notice])));
        let bytes = [5, 0, 4, 0, 0, 0, 1, 2, 0, 0];
        assert_eq!(Frame::List(0x201).encode(), bytes);
        assert_eq!(decode(&bytes), Ok(Frame::List(0x201)));
        let bytes = [6, 0, 2, 0, 0, 0, 0x30, 0x31];
        assert_eq!(Frame::Bytes(vec![0x30, 0x31]).encode(), bytes);
        assert_eq!(decode(&bytes), Ok(Frame::Bytes(vec![0x30, 0x31])));
        let bytes = [7, 0, 8, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0];
        assert_eq!(Frame::Heard(vec![0x201]).encode(), bytes);
        assert_eq!(decode(&bytes), Ok(Frame::Heard(vec![0x201])));
    }

    #[test]
    fn what_is_no_frame_is_named() {
        for (bytes, error) in [
            (vec![0, 0, 0, 0, 0, 0], FrameError::Kind(0)),
            (vec![b'G', b'E', b'T', b' ', b'/', b' '], FrameError::Kind(b'G')),
            (vec![3, 1, 0, 0, 0, 0], FrameError::Flags),
            (vec![2, 0, 0xff, 0xff, 0xff, 0xff], FrameError::TooLong(u32::MAX)),
            (vec![3, 0, 1, 0, 0, 0, 9], FrameError::Body),
            (vec![1, 0, 1, 0, 0, 0, 9], FrameError::Body),
            (vec![2, 0, 0, 0, 0, 0], FrameError::Body),
            (vec![2, 0, 3, 0, 0, 0, 1, 2, 3], FrameError::Body),
            (vec![8, 0, 0, 0, 0, 0], FrameError::Kind(8)),
            (vec![4, 0, 1, 0, 0, 0, 9], FrameError::Body),
            ([vec![4, 0, 0x2c, 0x0b, 0, 0], vec![1; 65 * 44]].concat(), FrameError::Body),
            (vec![5, 0, 1, 0, 0, 0, 9], FrameError::Body),
            (vec![6, 0, 0, 0, 0, 0], FrameError::Body),
            (vec![7, 0, 1, 0, 0, 0, 9], FrameError::Body),
            ([vec![7, 0, 8, 2, 0, 0], vec![1; 65 * 8]].concat(), FrameError::Body),
        ] {
            assert_eq!(decode(&bytes), Err(error), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(
            kind in any::<u8>(),
            body in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok(frame) = Frame::decode(kind, body.clone()) {
                prop_assert_eq!(&frame.encode()[HEADER..], body.as_slice());
            }
        }
    }
}
