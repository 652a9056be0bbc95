//! Message kinds (rule W-2). A value is never reused. Bodies: [`message`](super::message) and
//! [`parts`](super::parts).

/// Confirms a session; consumed by the session layer.
pub const CONFIRM: u8 = 1;
/// [`Ping`](super::message::Ping).
pub const PING: u8 = 2;
/// [`Ack`](super::message::Ack).
pub const ACK: u8 = 3;
/// [`PingRequest`](super::message::PingRequest).
pub const PING_REQUEST: u8 = 4;
/// [`Nack`](super::message::Nack).
pub const NACK: u8 = 5;
/// [`RelayedAck`](super::message::RelayedAck).
pub const RELAYED_ACK: u8 = 6;
/// [`Update`](super::message::Update).
pub const UPDATE: u8 = 7;
/// [`Suspicion`](super::message::Suspicion).
pub const SUSPECT: u8 = 8;
/// [`Death`](super::message::Death).
pub const DEAD: u8 = 9;
/// [`Notice`](super::message::Notice).
pub const NOTICE: u8 = 10;
/// [`RecordPull`](super::message::RecordPull).
pub const RECORD_PULL: u8 = 11;
/// A record envelope.
pub const RECORD: u8 = 12;
/// [`RecordByStream`](super::message::RecordByStream).
pub const RECORD_BY_STREAM: u8 = 13;
/// [`LeaveAck`](super::message::LeaveAck).
pub const LEAVE_ACK: u8 = 14;
/// [`ListNotice`](super::message::ListNotice).
pub const LIST_NOTICE: u8 = 15;
/// [`PartHeader`](super::message::PartHeader) and a part of a body that does not fit a datagram.
pub const PART: u8 = 24;
/// [`CertificatePull`](super::message::CertificatePull).
pub const CERTIFICATE_PULL: u8 = 25;
/// An intermediate certificate, DER.
pub const CERTIFICATE: u8 = 26;
/// [`ClockPull`](super::message::ClockPull).
pub const CLOCK_PULL: u8 = 27;
/// [`Clock`](super::message::Clock).
pub const CLOCK: u8 = 28;
/// An operator's order, in the envelope of a record.
pub const FORCE_LEAVE: u8 = 29;
/// [`Verify`](super::message::Verify).
pub const VERIFY: u8 = 32;
/// [`Vote`](super::message::Vote).
pub const VOTE: u8 = 33;
/// [`Hint`](super::message::Hint).
pub const HINT: u8 = 34;
/// [`ProofPull`](super::message::ProofPull).
pub const PROOF_PULL: u8 = 35;
/// A proof of death: [`ProofHeader`](super::message::ProofHeader) and votes.
pub const PROOF: u8 = 36;
/// [`SketchHeader`](super::message::SketchHeader) and the cells of a table (rule A-4).
pub const SKETCH: u8 = 37;
/// [`DifferenceHeader`](super::message::DifferenceHeader) and shares.
pub const DIFFERENCE: u8 = 38;
/// Shares of records that are wanted.
pub const WANT: u8 = 39;
/// [`TicketPull`](super::message::TicketPull).
pub const TICKET_PULL: u8 = 41;
/// [`TicketHeader`](super::message::TicketHeader) and who may be asked for the state.
pub const TICKET: u8 = 42;
/// A user's broadcast: [`BroadcastHeader`](crate::membership::broadcast::BroadcastHeader), content and
/// signature.
pub const BROADCAST: u8 = 45;
/// [`Direct`](super::message::Direct) and its content.
pub const DIRECT: u8 = 46;
