//! Bodies of fixed layout, in the order of their kinds (rule W-2): little-endian, without padding,
//! each with its size asserted. What they mean stands in `docs/wire.md`; [`message`] reads them.
//!
//! [`message`]: super::message

use zerocopy::byteorder::little_endian::{I16, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::kind;
use crate::member::{Incarnation, MemberId, State};
use crate::membership::record::RecordHash;

/// Bytes of a sketch's table: what a datagram of the usual size takes.
pub const SKETCH_BYTES: usize = 1_056;
/// Most parts that shares are divided into: some fifteen thousand differences.
pub const MOST_PARTS: u16 = 512;

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
body! {
    /// A host's message to this member alone; its content follows (rule U-6).
    Direct(DIRECT, 4) {
        /// What it is about.
        topic: U16,
        /// 0.
        reserved: U16,
    }
}

body! {
    /// Head of a sketch (rule A-4): the cells of a table of the members' shares follow.
    SketchHeader(SKETCH, 12) {
        /// What the shares were mixed with.
        salt: U64,
        /// Which part of all shares the table holds,
        part: U16,
        /// of how many.
        parts: U16,
    }
}
body! {
    /// Head of what a sketch differs in from the receiver's own (rule A-4); shares of eight bytes
    /// follow: first those that the sketch lacks, then those that its receiver wants.
    DifferenceHeader(DIFFERENCE, 20) {
        /// Of the sketch.
        salt: U64,
        /// Of the sketch.
        part: U16,
        /// Of the sketch.
        parts: U16,
        /// Differences; where they are too many to tell, how many there seem to be.
        size: U32,
        /// How many of the shares that follow the sketch lacks.
        offered: U16,
        /// 1 too many, 2 found and all of them young, 3 found.
        outcome: u8,
        /// 0.
        reserved: u8,
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
body! {
    /// I join: who gives me the whole state (rule J-3)?
    TicketPull(TICKET_PULL, 4) {
        /// 1: another member's ticket named you; else 0.
        pointed: u8,
        /// 0.
        reserved: [u8; 3],
    }
}
body! {
    /// Head of a ticket; `count` [`TicketPeer`]s follow.
    TicketHeader(TICKET, 4) {
        /// 1: ask me, over a stream; else 0.
        granted: u8,
        /// Members that follow.
        count: u8,
        /// 0.
        reserved: [u8; 2],
    }
}

/// A member that a ticket names.
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Debug,
)]
#[repr(C)]
pub struct TicketPeer {
    /// Its id, which whoever answers there has to prove.
    pub id: [u8; 16],
    /// Its address: IPv6, or IPv4 as `::ffff:a.b.c.d`.
    pub address: [u8; 16],
    /// Its port.
    pub port: U16,
}
const _: () = assert!(size_of::<TicketPeer>() == 34);
