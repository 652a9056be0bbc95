//! The whole boundary of a [`Node`](crate::Node) on one page: what a driver puts in and what it
//! takes out.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::config::Scope;
use crate::member::{Lifecycle, MemberId, State};
use crate::membership::broadcast::Broadcast;
use crate::membership::record::SignedRecord;
use crate::metadata::Metadata;
use crate::time::{Duration, Instant};

/// What a host asks of its node.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Replaces the addresses that are dialled until the mesh is found, and for ever after while
    /// they are absent from the view.
    Join(Vec<SocketAddr>),
    /// Publishes new metadata under the next incarnation, if it differs.
    SetMetadata(Metadata),
    /// The same, but only if the metadata has not changed since the version that it was made
    /// from, which its `metadata_version` names.
    ReviseMetadata(Metadata),
    /// Publishes a new lifecycle under the next incarnation, if it differs.
    SetLifecycle(Lifecycle),
    /// Says goodbye; [`Event::LeaveComplete`] follows.
    Leave,
    /// Obeys an operator's signed order and passes it on (rule S-14).
    ForceLeave(Vec<u8>),
    /// Says something to everybody (rules U-1 to U-5): [`Event::Broadcast`] at each other member.
    Broadcast(Broadcast),
    /// Says something to one member, once (rule U-6): [`Event::Message`] there.
    Send {
        /// To whom.
        to: MemberId,
        /// What it is about: a number that hosts agree on.
        topic: u16,
        /// Content.
        bytes: Vec<u8>,
    },
}

/// For whom a datagram is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Destination {
    /// This member and nobody else.
    Member(MemberId),
    /// Whoever answers there with a certificate of the cluster.
    Seed,
}

/// A datagram to be sealed and sent; its plaintext is in the buffer given to `poll_transmit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The recipient.
    pub to: Destination,
    /// Where the recipient is thought to listen.
    pub address: SocketAddr,
}

/// A wish for a bulk exchange over a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRequest {
    /// With whom.
    pub peer: MemberId,
    /// Where it listens.
    pub address: SocketAddr,
    /// The members wanted; empty means all, in both directions.
    pub members: Vec<MemberId>,
}

impl StreamRequest {
    /// What the exchange is to bring.
    #[must_use]
    pub fn extent(&self) -> Extent {
        Extent::of(&self.members)
    }
}

/// What a bulk exchange brings: a join ends with a whole state alone (rule J-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Everybody.
    Whole,
    /// The members that were asked for.
    Part,
}

impl Extent {
    /// Of an exchange in which these members are wanted.
    #[must_use]
    pub fn of(wanted: &[MemberId]) -> Self {
        if wanted.is_empty() { Self::Whole } else { Self::Part }
    }
}

/// Why a member is no longer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeftReason {
    /// By its own signed word, or an operator's.
    Left,
    /// Judged failed.
    Failed,
    /// The certificate that signed its record is revoked (rule S-16).
    Revoked,
}

impl LeftReason {
    /// The word used in JSON and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Failed => "failed",
            Self::Revoked => "revoked",
        }
    }
}

/// What somebody has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A member signed a life that begins later than ten minutes from now: its clock is ahead, or
    /// ours is behind. Its record is held (rule S-12).
    FutureLife {
        /// The member.
        member: MemberId,
        /// The start of that life, Unix milliseconds.
        generation: u64,
    },
    /// Our clock and that of most seeds are more than ten minutes apart: we stay silent until they
    /// are not (rule S-12).
    ClockOff {
        /// Ours less theirs, milliseconds.
        ahead_ms: i64,
    },
    /// The records of a member are signed under two certificates in turns: two hold its name (rule
    /// S-18).
    TwoCertificates(MemberId),
    /// An operator ordered a member out (rule S-14); it may be ourselves.
    OrderedOut(MemberId),
}

impl Alarm {
    /// The word used for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FutureLife { .. } => "future-life",
            Self::ClockOff { .. } => "clock-off",
            Self::TwoCertificates(_) => "two-certificates",
            Self::OrderedOut(_) => "ordered-out",
        }
    }
}

/// What happened. Every transition of a member appears exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A member that was unknown is alive.
    Joined(Arc<SignedRecord>),
    /// A suspect or departed member is alive.
    Recovered {
        /// The member.
        record: Arc<SignedRecord>,
        /// What it was held to be.
        previous: State,
    },
    /// A member is doubted.
    Suspected {
        /// The member.
        record: Arc<SignedRecord>,
        /// When we last heard from it ourselves.
        last_contact: Option<Instant>,
    },
    /// A suspect whom nobody else could tell us about either: a mark of our own, and no verdict.
    Unreachable(Arc<SignedRecord>),
    /// A member is gone.
    Left {
        /// The member.
        record: Arc<SignedRecord>,
        /// Why.
        reason: LeftReason,
    },
    /// A present member published another record: metadata, lifecycle or addresses.
    Updated(Arc<SignedRecord>),
    /// A departed member is listed no longer.
    Forgotten(MemberId),
    /// Somebody else leads a scope than before, nobody does any more, or its leader has taken
    /// another term (rule E-5).
    LeaderChanged {
        /// What is led.
        scope: Arc<Scope>,
        /// Who leads it.
        leader: Option<MemberId>,
        /// For which term; where nobody leads, the last one seen.
        term: u64,
        /// Who led it before.
        previous: Option<MemberId>,
    },
    /// Others doubted or buried us; we answered with this record.
    Refuted(Arc<SignedRecord>),
    /// Two different signed records claim one incarnation of one member.
    Conflict(MemberId),
    /// Something that somebody has to look at.
    Alarm(Alarm),
    /// A record was refused.
    RecordRejected {
        /// Who sent it.
        from: MemberId,
        /// Why.
        error: crate::error::PeerError,
    },
    /// A probe came back.
    RoundTrip {
        /// The probed member.
        peer: MemberId,
        /// Between ping and ack.
        rtt: Duration,
    },
    /// A probe failed, indirect ones included.
    ProbeFailed(MemberId),
    /// The first full exchange with the mesh is done.
    JoinComplete,
    /// So many members acknowledged our leave; the node does nothing more.
    LeaveComplete {
        /// Members that acknowledged.
        acknowledged: usize,
    },
    /// So many events were lost because they were not taken: resynchronise from the view.
    Overflow(u64),
    /// A member's host said this to everybody; it signed it itself, whoever brought it.
    Broadcast {
        /// Who said it.
        from: MemberId,
        /// What it is about.
        topic: u16,
        /// Content.
        bytes: Arc<[u8]>,
    },
    /// A member's host said this to us alone.
    Message {
        /// Who said it.
        from: MemberId,
        /// What it is about.
        topic: u16,
        /// Content.
        bytes: Arc<[u8]>,
    },
    /// So many broadcasts and messages were lost because they were not taken.
    Missed(u64),
}

/// Why the node wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// The next round of probes.
    ProbeRound,
    /// The direct ping with this sequence number is late.
    PingLate(u32),
    /// The probe with this sequence number ends.
    ProbeEnd(u32),
    /// A ping carried out for somebody else is late.
    RelayLate(u32),
    /// A suspicion matures.
    Suspicion(MemberId),
    /// The rings are looked at after a change.
    Ring,
    /// A subject's turn has come.
    Watch,
    /// A test, or the case beside it, moves on.
    Test(MemberId),
    /// A random member is looked at.
    Audit,
    /// Updates wait.
    Gossip,
    /// What was asked for and has not come is asked for again.
    Pull,
    /// A record that came too soon has its turn.
    Record,
    /// Sketches and shares wait for a walk through the members.
    Walk,
    /// Departed members are looked through.
    Reap,
    /// The leave is repeated to whoever has not acknowledged.
    Leave,
    /// The claims of leaders are looked at.
    Leaders,
    /// Joiners wait at our door, or we at another's.
    Ticket,
}

/// Counters since the start; they only rise, gauges are named as such. Those that every datagram
/// moves stand first, side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rounds of probes whose time came, with members to probe or without.
    pub probe_rounds: u64,
    /// Probes begun.
    pub probes: u64,
    /// Probes acknowledged, directly or through a relay.
    pub probes_acked: u64,
    /// Messages understood.
    pub messages_in: u64,
    /// Datagrams handed out.
    pub datagrams_out: u64,
    /// Bytes of their plaintext.
    pub bytes_out: u64,
    /// Updates sent as gossip or piggyback.
    pub updates_out: u64,
    /// Digests received that equal ours.
    pub digests_equal: u64,
    /// Probes that failed.
    pub probes_failed: u64,
    /// Relays asked.
    pub indirect_pings: u64,
    /// Nacks received.
    pub nacks: u64,
    /// Suspicions begun here, by our own probe or on hearsay.
    pub suspicions: u64,
    /// Refutations of claims about ourselves.
    pub refutations: u64,
    /// Members declared failed by our own verdict: a timer, or a quorum that we asked.
    pub declared_dead: u64,
    /// Messages of a kind that this build does not know, skipped.
    pub messages_unknown: u64,
    /// Tests of doubted members begun.
    pub tests: u64,
    /// Tests refused: too many open, or too many for one requester.
    pub tests_refused: u64,
    /// Cases opened.
    pub cases: u64,
    /// VERIFYs sent.
    pub verifies: u64,
    /// VOTEs sent.
    pub votes: u64,
    /// Members marked unreachable.
    pub unreachable: u64,
    /// Proofs of death asked for.
    pub proofs_pulled: u64,
    /// Updates dropped because the queue was full.
    pub queue_dropped: u64,
    /// Updates waiting (gauge).
    pub queue_depth: u64,
    /// Broadcasts that our host said.
    pub broadcasts_said: u64,
    /// Broadcasts of others, each counted once.
    pub broadcasts_heard: u64,
    /// Broadcasts that came again.
    pub broadcasts_duplicate: u64,
    /// Copies of broadcasts sent.
    pub broadcasts_out: u64,
    /// Broadcasts dropped before they were sent often enough, because the queue was full.
    pub broadcasts_dropped: u64,
    /// Broadcasts whose place a later one took.
    pub broadcasts_superseded: u64,
    /// Broadcasts that had to wait for the record of their origin.
    pub broadcasts_held: u64,
    /// Broadcasts and messages lost because the host did not take them.
    pub broadcasts_missed: u64,
    /// Broadcasts waiting (gauge).
    pub broadcasts_waiting: u64,
    /// Messages to single members that our host sent.
    pub messages_said: u64,
    /// Messages to us alone.
    pub messages_heard: u64,
    /// Stalls of our own that were forgiven (rule F-8).
    pub stalls: u64,
    /// Records pulled.
    pub pulls: u64,
    /// Relay requests refused because too many were open.
    pub relays_refused: u64,
    /// Members refused because the table was full.
    pub members_refused: u64,
    /// Departed members forgotten early, because a newcomer needed a place (rule L-3).
    pub members_displaced: u64,
    /// Hints at records that were not followed, or given up, because too many were open.
    pub pulls_refused: u64,
    /// Proofs of death given up because too many were kept, or not waited for.
    pub proofs_dropped: u64,
    /// Events lost because they were not taken.
    pub events_lost: u64,
    /// Digests received that differ.
    pub digests_differ: u64,
    /// Messages that were not sent, because too many datagrams waited for their receiver.
    pub outbox_refused: u64,
    /// Bulk exchanges wished for.
    pub syncs: u64,
    /// Lasting differences that datagrams settled, so that no bulk exchange was wished for.
    pub syncs_avoided: u64,
    /// Rounds begun to settle a lasting difference.
    pub rounds: u64,
    /// Storms of changes, each of them after a long calm (rule A-6).
    pub storms: u64,
    /// Digests whose difference from ours none of our latest changes explained (rule G-6).
    pub unexplained: u64,
    /// Sketches of our view sent.
    pub sketches: u64,
    /// Sketches of others that told what we differ in.
    pub sketches_decoded: u64,
    /// Sketches of others that held too many differences to tell.
    pub sketches_failed: u64,
    /// Answers to joiners that asked for the whole state (rule J-3) ...
    pub tickets: u64,
    /// ... of which so many granted it from us (rule J-4) ...
    pub states_granted: u64,
    /// ... and so many named others.
    pub states_elsewhere: u64,
    /// Alarms told.
    pub alarms: u64,
    /// Messages and records rejected, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Local health (gauge): 0 is best, 8 worst.
    pub awareness: u32,
    /// How many of a thousand pings to living members are answered in time, as the detector
    /// `observers` estimates it (gauge, rule D-4).
    pub baseline_permille: u32,
}

impl Stats {
    /// Counts a rejection.
    pub fn reject(&mut self, reason: &'static str) {
        *self.rejected.entry(reason).or_default() += 1;
    }
}
