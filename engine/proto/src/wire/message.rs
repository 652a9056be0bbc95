//! Sealed messages: (kind u8, length u16 little-endian, body), one after another to the end of a
//! datagram (rule W-1).
//!
//! A kind that this build does not know is skipped by its length; a body may be longer than the
//! layout known here, and the tail is ignored. Both let N and N−1 talk. Layouts: `docs/wire.md`.

use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::U64;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::error::DecodeError;
use crate::member::State;

pub use super::body::*;
pub use super::kind;

/// Bytes before each body.
pub const FRAME: usize = 3;

/// One message, borrowed from its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// See [`Ping`].
    Ping(&'a Ping),
    /// See [`Ack`].
    Ack(&'a Ack),
    /// See [`PingRequest`].
    PingRequest(&'a PingRequest),
    /// See [`Nack`].
    Nack(&'a Nack),
    /// See [`RelayedAck`].
    RelayedAck(&'a RelayedAck),
    /// See [`Update`].
    Update(&'a Update),
    /// See [`Suspicion`].
    Suspicion(&'a Suspicion),
    /// See [`Death`].
    Death(&'a Death),
    /// See [`Notice`].
    Notice(&'a Notice),
    /// See [`RecordPull`].
    RecordPull(&'a RecordPull),
    /// A record envelope, unverified.
    Record(&'a [u8]),
    /// See [`RecordByStream`].
    RecordByStream(&'a RecordByStream),
    /// See [`LeaveAck`].
    LeaveAck(&'a LeaveAck),
    /// See [`ListNotice`].
    ListNotice(&'a ListNotice),
    /// See [`PartHeader`]; the bytes of the part.
    Part(&'a PartHeader, &'a [u8]),
    /// See [`CertificatePull`].
    CertificatePull(&'a CertificatePull),
    /// An intermediate certificate, unverified.
    Certificate(&'a [u8]),
    /// See [`ClockPull`].
    ClockPull(&'a ClockPull),
    /// See [`Clock`].
    Clock(&'a Clock),
    /// An operator's order, unverified.
    ForceLeave(&'a [u8]),
    /// See [`Verify`].
    Verify(&'a Verify),
    /// See [`Vote`]; what follows the layout, which is a signature where it says death.
    Vote(&'a Vote, &'a [u8]),
    /// See [`Hint`].
    Hint(&'a Hint),
    /// See [`ProofPull`].
    ProofPull(&'a ProofPull),
    /// A proof of death, unverified.
    Proof(&'a [u8]),
    /// See [`SketchHeader`]; the cells.
    Sketch(&'a SketchHeader, &'a [u8; SKETCH_BYTES]),
    /// See [`DifferenceHeader`]; the shares.
    Difference(&'a DifferenceHeader, &'a [U64]),
    /// Shares of records that are wanted.
    Want(&'a [U64]),
    /// A user's broadcast, unverified.
    Broadcast(&'a [u8]),
    /// See [`Direct`]; its content.
    Direct(&'a Direct, &'a [u8]),
    /// See [`TicketPull`].
    TicketPull(&'a TicketPull),
    /// See [`TicketHeader`]; the members that it names.
    Ticket(&'a TicketHeader, &'a [TicketPeer]),
    /// A kind that this build does not know, or one that the session layer consumed.
    Unknown(u8),
}

/// Reads the messages of a datagram in order. After an error it ends.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Over the plaintext of one datagram.
    pub fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    fn read(&mut self) -> Result<Message<'a>, DecodeError> {
        let [kind, low, high, rest @ ..] = self.rest else {
            return Err(DecodeError::Truncated);
        };
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let (body, rest) = rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        decode(*kind, body)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let message = self.read();
        if message.is_err() {
            self.rest = &[];
        }
        Some(message)
    }
}

fn decode(kind: u8, body: &[u8]) -> Result<Message<'_>, DecodeError> {
    Ok(match kind {
        kind::PING => Message::Ping(fixed(body)?),
        kind::ACK => Message::Ack(fixed(body)?),
        kind::PING_REQUEST => Message::PingRequest(fixed(body)?),
        kind::NACK => Message::Nack(fixed(body)?),
        kind::RELAYED_ACK => Message::RelayedAck(fixed(body)?),
        kind::UPDATE => {
            let update: &Update = fixed(body)?;
            match update.state() {
                Some(State::Alive | State::Left) => Message::Update(update),
                Some(State::Suspect | State::Dead) | None => {
                    return Err(DecodeError::Field("update state"));
                }
            }
        }
        kind::SUSPECT => Message::Suspicion(fixed(body)?),
        kind::DEAD => Message::Death(fixed(body)?),
        kind::NOTICE => Message::Notice(fixed(body)?),
        kind::RECORD_PULL => Message::RecordPull(fixed(body)?),
        kind::RECORD => Message::Record(body),
        kind::RECORD_BY_STREAM => Message::RecordByStream(fixed(body)?),
        kind::LEAVE_ACK => Message::LeaveAck(fixed(body)?),
        kind::LIST_NOTICE => Message::ListNotice(fixed(body)?),
        kind::PART => {
            let (header, bytes) =
                PartHeader::ref_from_prefix(body).map_err(|_| DecodeError::Truncated)?;
            Message::Part(header, bytes)
        }
        kind::CERTIFICATE_PULL => Message::CertificatePull(fixed(body)?),
        kind::CERTIFICATE => Message::Certificate(body),
        kind::CLOCK_PULL => Message::ClockPull(fixed(body)?),
        kind::CLOCK => Message::Clock(fixed(body)?),
        kind::FORCE_LEAVE => Message::ForceLeave(body),
        kind::VERIFY => Message::Verify(fixed(body)?),
        kind::VOTE => {
            let (vote, seal) = Vote::ref_from_prefix(body).map_err(|_| DecodeError::Truncated)?;
            Message::Vote(vote, seal)
        }
        kind::HINT => Message::Hint(fixed(body)?),
        kind::PROOF_PULL => Message::ProofPull(fixed(body)?),
        kind::PROOF => Message::Proof(body),
        kind::SKETCH => sketch(body)?,
        kind::DIFFERENCE => difference(body)?,
        kind::WANT => Message::Want(shares(body)),
        kind::BROADCAST => Message::Broadcast(body),
        kind::DIRECT => {
            let (head, bytes) =
                Direct::ref_from_prefix(body).map_err(|_| DecodeError::Truncated)?;
            Message::Direct(head, bytes)
        }
        kind::TICKET_PULL => Message::TicketPull(fixed(body)?),
        kind::TICKET => ticket(body)?,
        unknown => Message::Unknown(unknown),
    })
}

fn sketch(body: &[u8]) -> Result<Message<'_>, DecodeError> {
    let (header, rest) = SketchHeader::ref_from_prefix(body).map_err(|_| DecodeError::Truncated)?;
    if header.part >= header.parts || header.parts.get() > MOST_PARTS {
        return Err(DecodeError::Field("sketch part"));
    }
    Ok(Message::Sketch(header, fixed(rest)?))
}

fn difference(body: &[u8]) -> Result<Message<'_>, DecodeError> {
    let (header, rest) =
        DifferenceHeader::ref_from_prefix(body).map_err(|_| DecodeError::Truncated)?;
    let shares = shares(rest);
    if usize::from(header.offered.get()) > shares.len() {
        return Err(DecodeError::Truncated);
    }
    Ok(Message::Difference(header, shares))
}

fn ticket(body: &[u8]) -> Result<Message<'_>, DecodeError> {
    let (header, rest) = TicketHeader::ref_from_prefix(body).map_err(|_| DecodeError::Truncated)?;
    let (peers, _) = <[TicketPeer]>::ref_from_prefix_with_elems(rest, header.count.into())
        .map_err(|_| DecodeError::Truncated)?;
    Ok(Message::Ticket(header, peers))
}

/// Whole shares; a tail is ignored.
fn shares(body: &[u8]) -> &[U64] {
    let whole = body.len() / size_of::<U64>() * size_of::<U64>();
    <[U64]>::ref_from_bytes(&body[..whole]).unwrap_or_default()
}

fn fixed<T: FromBytes + KnownLayout + Immutable + Unaligned>(
    body: &[u8],
) -> Result<&T, DecodeError> {
    T::ref_from_prefix(body).map(|(message, _)| message).map_err(|_| DecodeError::Truncated)
}

/// Appends messages to the plaintext of one datagram, up to its limit.
#[derive(Clone, Debug, Default)]
pub struct Packet {
    bytes: Vec<u8>,
}

impl Packet {
    /// Continues in `bytes`, whose content stays.
    pub fn on(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// Appends a fixed body if the datagram then stays within `limit`; says whether it did.
    pub fn push<B: Body>(&mut self, limit: usize, body: &B) -> bool {
        self.push_raw(limit, B::KIND, body.as_bytes())
    }

    /// Appends any body if the datagram then stays within `limit`; says whether it did.
    pub fn push_raw(&mut self, limit: usize, kind: u8, body: &[u8]) -> bool {
        let Ok(length) = u16::try_from(body.len()) else { return false };
        if self.bytes.len() + FRAME + body.len() > limit {
            return false;
        }
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(body);
        true
    }

    /// The plaintext so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives the buffer back.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
