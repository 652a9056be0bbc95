//! Sealed messages: (kind u8, length u16 little-endian, body), one after another to the end of a
//! datagram (rule W-1).
//!
//! A kind that this build does not know is skipped by its length; a body may be longer than the
//! layout known here, and the tail is ignored. Both let N and N−1 talk. Layouts: `docs/wire.md`.

use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::{I16, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::DecodeError;
use crate::member::{Incarnation, MemberId, State};
use crate::membership::record::RecordHash;

pub use super::kind;

/// Bytes before each body.
pub const FRAME: usize = 3;

/// An incarnation on the wire.
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Debug,
)]
#[repr(C)]
pub struct WireIncarnation {
    /// Start time, Unix milliseconds.
    pub generation: U64,
    /// Changes since.
    pub counter: U32,
}
const _: () = assert!(size_of::<WireIncarnation>() == 12);

impl From<Incarnation> for WireIncarnation {
    fn from(value: Incarnation) -> Self {
        Self { generation: U64::new(value.generation), counter: U32::new(value.counter) }
    }
}

impl From<WireIncarnation> for Incarnation {
    fn from(value: WireIncarnation) -> Self {
        Self { generation: value.generation.get(), counter: value.counter.get() }
    }
}

/// Declares a fixed body: layout, size assertion and kind.
macro_rules! body {
    ($(#[$doc:meta])* $name:ident ($kind:ident, $size:literal) {
        $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
    }) => {
        $(#[$doc])*
        #[derive(
            FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Debug,
        )]
        #[repr(C)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }
        const _: () = assert!(size_of::<$name>() == $size);
        impl Body for $name {
            const KIND: u8 = kind::$kind;
        }
    };
}

/// A body of fixed layout.
pub trait Body: IntoBytes + Immutable {
    /// Its kind.
    const KIND: u8;
}

body! {
    /// Are you there? Carries the sender's view digest (rule A-1).
    Ping(PING, 12) {
        /// Echoed by the ack.
        sequence: U32,
        /// Digest of the sender's view.
        digest: U64,
    }
}
body! {
    /// I am.
    Ack(ACK, 28) {
        /// Of the ping.
        sequence: U32,
        /// The sender's incarnation.
        incarnation: WireIncarnation,
        /// Digest of the sender's view.
        digest: U64,
        /// The sender's baseline b, in 1/65535; 65535 where the detector keeps none.
        baseline: U16,
        /// Milliseconds by which the ping missed its turn; 0 where probes have no phase.
        phase_error: I16,
    }
}
body! {
    /// Ping this member for me.
    PingRequest(PING_REQUEST, 24) {
        /// Echoed by the answer.
        sequence: U32,
        /// Send a nack after so long.
        timeout_ms: U16,
        /// 0.
        reserved: U16,
        /// Whom to ping.
        target: [u8; 16],
    }
}
body! {
    /// The member has not answered me; I am well.
    Nack(NACK, 4) {
        /// Of the request.
        sequence: U32,
    }
}
body! {
    /// The member answered me.
    RelayedAck(RELAYED_ACK, 16) {
        /// Of the request.
        sequence: U32,
        /// The member's incarnation.
        incarnation: WireIncarnation,
    }
}
body! {
    /// A member's newest record goes by this hash: alive, or left by its own word.
    Update(UPDATE, 40) {
        /// The member.
        id: [u8; 16],
        /// Of the record.
        incarnation: WireIncarnation,
        /// `Alive` or `Left`.
        state: u8,
        /// 0.
        reserved: [u8; 3],
        /// Hash of the record.
        hash: U64,
    }
}
body! {
    /// A member is doubted by another.
    Suspicion(SUSPECT, 44) {
        /// The doubted member.
        id: [u8; 16],
        /// The incarnation that is doubted.
        incarnation: WireIncarnation,
        /// Who doubts.
        accuser: [u8; 16],
    }
}
body! {
    /// A member was judged failed.
    Death(DEAD, 56) {
        /// The dead member.
        id: [u8; 16],
        /// The incarnation that died.
        incarnation: WireIncarnation,
        /// Who announced it.
        announcer: [u8; 16],
        /// Time since, milliseconds.
        age_ms: U32,
        /// Hash of the proof; 0 where the detector has none.
        proof: U64,
    }
}
body! {
    /// I hold you dead.
    Notice(NOTICE, 28) {
        /// The incarnation held dead.
        incarnation: WireIncarnation,
        /// Who announced it.
        announcer: [u8; 16],
    }
}
body! {
    /// Send me the record with this hash; hash 0 asks for the newest.
    RecordPull(RECORD_PULL, 24) {
        /// The member.
        id: [u8; 16],
        /// Hash of its record.
        hash: U64,
    }
}
body! {
    /// The record that you pulled does not fit a datagram.
    RecordByStream(RECORD_BY_STREAM, 16) {
        /// The member.
        id: [u8; 16],
    }
}
body! {
    /// I hold your leave.
    LeaveAck(LEAVE_ACK, 12) {
        /// Of the record that carried it.
        incarnation: WireIncarnation,
    }
}

body! {
    /// Head of a part; its bytes follow.
    PartHeader(PART, 16) {
        /// First eight bytes of SHA-256 of the whole body.
        hash: U64,
        /// Bytes of the whole body.
        total: U16,
        /// Where this part begins.
        offset: U16,
        /// Kind of the whole body.
        kind: u8,
        /// 0.
        reserved: [u8; 3],
    }
}
body! {
    /// Send me the intermediate certificate with this hash (rule S-11).
    CertificatePull(CERTIFICATE_PULL, 32) {
        /// SHA-256 of the certificate.
        hash: [u8; 32],
    }
}
body! {
    /// What time is it? (rule S-12)
    ClockPull(CLOCK_PULL, 8) {
        /// Echoed by the answer.
        token: U64,
    }
}
body! {
    /// My clock shows this.
    Clock(CLOCK, 16) {
        /// Of the question.
        token: U64,
        /// Unix milliseconds.
        wall_ms: U64,
    }
}
body! {
    /// This revocation list is in force here (rule S-16).
    ListNotice(LIST_NOTICE, 44) {
        /// First half of SHA-256 of the public key that signed it.
        issuer: [u8; 16],
        /// Its number, big endian.
        number: [u8; 20],
        /// First eight bytes of SHA-256 of the list in DER.
        hash: U64,
    }
}

body! {
    /// Look at this member for me and vote (rule D-6).
    Verify(VERIFY, 40) {
        /// The doubted member.
        subject: [u8; 16],
        /// The incarnation that is doubted.
        incarnation: WireIncarnation,
        /// Chosen by the leader, echoed by votes.
        round: U64,
        /// Age of the case, milliseconds.
        elapsed_ms: U32,
    }
}
body! {
    /// What I found (rule D-7). A vote of death is followed by a [`SealHeader`] and a signature
    /// (rule S-13).
    Vote(VOTE, 40) {
        /// The doubted member.
        subject: [u8; 16],
        /// The incarnation voted on.
        incarnation: WireIncarnation,
        /// Of the request.
        round: U64,
        /// 1 pending, 2 alive, 3 dead.
        ballot: u8,
        /// 0.
        reserved: [u8; 3],
    }
}
body! {
    /// A random look at this member failed: you observe it (rule D-11).
    Hint(HINT, 16) {
        /// The member.
        subject: [u8; 16],
    }
}
body! {
    /// Send me the proof with this hash, or with hash 0 the announcement of the death (rule D-8).
    ProofPull(PROOF_PULL, 24) {
        /// The dead member.
        subject: [u8; 16],
        /// Hash of the proof.
        proof: U64,
    }
}
body! {
    /// Head of a proof; `count` votes follow, each a [`ProofVote`] and its signature.
    ProofHeader(PROOF, 40) {
        /// The dead member.
        subject: [u8; 16],
        /// The incarnation that died.
        incarnation: WireIncarnation,
        /// The round that all votes name.
        round: U64,
        /// Votes that follow.
        count: u8,
        /// 0.
        reserved: [u8; 3],
    }
}

/// Head of a signature; `length` bytes follow.
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Debug,
)]
#[repr(C)]
pub struct SealHeader {
    /// First eight bytes of SHA-256 of the signer's leaf certificate.
    pub signer: U64,
    /// TLS signature scheme.
    pub scheme: U16,
    /// Bytes of the signature.
    pub length: U16,
}
const _: () = assert!(size_of::<SealHeader>() == 12);

/// One vote of death within a proof; the bytes of its signature follow.
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Debug,
)]
#[repr(C)]
pub struct ProofVote {
    /// Who voted.
    pub voter: [u8; 16],
    /// Head of its signature.
    pub seal: SealHeader,
}
const _: () = assert!(size_of::<ProofVote>() == 28);

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
        unknown => Message::Unknown(unknown),
    })
}

fn fixed<T: FromBytes + KnownLayout + Immutable + Unaligned>(
    body: &[u8],
) -> Result<&T, DecodeError> {
    T::ref_from_prefix(body).map(|(message, _)| message).map_err(|_| DecodeError::Truncated)
}

impl Update {
    /// Names `hash` as the newest record of `id`.
    pub fn new(id: MemberId, incarnation: Incarnation, state: State, hash: RecordHash) -> Self {
        Self {
            id: id.0,
            incarnation: incarnation.into(),
            state: state as u8,
            reserved: [0; 3],
            hash: U64::new(hash.0),
        }
    }

    /// The state, if it is one.
    pub fn state(&self) -> Option<State> {
        State::from_wire(self.state)
    }
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
