//! Batches of events, as records of fixed layout.
//!
//! Invariant: whatever a record points to lives as long as its batch.

use std::ffi::c_int;
use std::sync::Arc;

use engine::HostEvent;
use engine::proto::{Alarm, Event, LeftReason, MemberId, SignedRecord, State};

use crate::agent::MeshGossipAgent;
use crate::code::MeshGossipResult;
use crate::error::{Failure, MeshGossipError};
use crate::fixed::Fixed;
use crate::guard::{self, Sealed, run_on};
use crate::layout::{MeshGossipBytes, MeshGossipMember, Records, Source, status};
use crate::post::Letter;

/// One event. What a field means stands with its kind; others are zero or empty.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MeshGossipEvent {
    /// `MESH_GOSSIP_EVENT_*`.
    pub kind: u32,
    /// LEFT: `MESH_GOSSIP_REASON_*`. RECOVERED: the status before, `MESH_GOSSIP_STATUS_*`.
    pub detail: u32,
    /// When, Unix milliseconds. OVERFLOW and MISSED: when the last of those that are lost was.
    pub at_unix_ms: u64,
    /// OVERFLOW and MISSED: how many were lost. LEAVE_COMPLETE: how many members acknowledged.
    /// LEADER_CHANGED: the term.
    pub count: u64,
    /// About whom; BROADCAST and MESSAGE: from whom. LEADER_CHANGED: who leads, zero for nobody.
    pub id: [u8; 16],
    /// LEADER_CHANGED: who led before, zero for nobody.
    pub previous_id: [u8; 16],
    /// BROADCAST and MESSAGE: what it is about, a number that hosts agree on.
    pub topic: u32,
    /// Zero.
    pub reserved: u32,
    /// LEADER_CHANGED: the scope. ALARM: which one. RECORD_REJECTED: why.
    pub text: MeshGossipBytes,
    /// BROADCAST and MESSAGE: the content, any bytes.
    pub payload: MeshGossipBytes,
    /// The member as of the event: JOINED, RECOVERED, SUSPECTED, UNREACHABLE, LEFT, UPDATED and
    /// REFUTED; NULL for others.
    pub member: *const MeshGossipMember,
}

const _: () = assert!(size_of::<MeshGossipEvent>() == 104 || size_of::<usize>() != 8);

/// A member that was unknown is alive.
pub const MESH_GOSSIP_EVENT_JOINED: u32 = 1;
/// A suspect or departed member is alive.
pub const MESH_GOSSIP_EVENT_RECOVERED: u32 = 2;
/// A member is doubted.
pub const MESH_GOSSIP_EVENT_SUSPECTED: u32 = 3;
/// A suspect whom nobody else can tell about either.
pub const MESH_GOSSIP_EVENT_UNREACHABLE: u32 = 4;
/// A member is gone.
pub const MESH_GOSSIP_EVENT_LEFT: u32 = 5;
/// A member says something else of itself. Of several changes in short order the last one may be
/// the only one that is told.
pub const MESH_GOSSIP_EVENT_UPDATED: u32 = 6;
/// A departed member is listed no longer.
pub const MESH_GOSSIP_EVENT_FORGOTTEN: u32 = 7;
/// Somebody else leads a scope, nobody does, or its leader has taken another term.
pub const MESH_GOSSIP_EVENT_LEADER_CHANGED: u32 = 8;
/// Others doubted this agent; it answered.
pub const MESH_GOSSIP_EVENT_REFUTED: u32 = 9;
/// Two records claim one incarnation of a member.
pub const MESH_GOSSIP_EVENT_CONFLICT: u32 = 10;
/// Something that somebody has to look at.
pub const MESH_GOSSIP_EVENT_ALARM: u32 = 11;
/// A record was refused.
pub const MESH_GOSSIP_EVENT_RECORD_REJECTED: u32 = 12;
/// The first full exchange with the mesh is done.
pub const MESH_GOSSIP_EVENT_JOIN_COMPLETE: u32 = 13;
/// The leave is done.
pub const MESH_GOSSIP_EVENT_LEAVE_COMPLETE: u32 = 14;
/// Events were lost because they were not taken: resynchronise from a snapshot. It comes as soon as
/// there is room, and before what came after the loss.
pub const MESH_GOSSIP_EVENT_OVERFLOW: u32 = 15;
/// A member's host said this to everybody. Each comes once at most and in any order, also those of
/// one member; at once, whereas what is told of members may come up to five seconds later
/// (`mesh:gossip:events:delivery`).
pub const MESH_GOSSIP_EVENT_BROADCAST: u32 = 16;
/// A member's host said this to this agent alone. In any order; each comes once at most.
pub const MESH_GOSSIP_EVENT_MESSAGE: u32 = 17;
/// Broadcasts and messages were lost because they were not taken. Told as OVERFLOW is.
pub const MESH_GOSSIP_EVENT_MISSED: u32 = 18;
/// The agent has stopped: the last event of all.
pub const MESH_GOSSIP_EVENT_ENDED: u32 = 19;
/// By its own word, or an operator's.
pub const MESH_GOSSIP_REASON_LEFT: u32 = 1;
/// Judged failed.
pub const MESH_GOSSIP_REASON_FAILED: u32 = 2;
/// Its certificate is revoked.
pub const MESH_GOSSIP_REASON_REVOKED: u32 = 3;

/// Events in order. Owned by the caller; freed with `mesh_gossip_events_free`, before or after
/// the agent.
pub struct MeshGossipEvents {
    records: Fixed<MeshGossipEvent>,
    /// What the records point to.
    _kept: Vec<Kept>,
}

struct Kept {
    _letter: Letter,
    _text: Fixed<u8>,
    _member: Option<Records>,
}

// SAFETY: the pointers lead into what stands beside them, which nobody writes to again.
unsafe impl Send for MeshGossipEvents {}

impl MeshGossipEvents {
    fn of(letters: Vec<Letter>, local: MemberId) -> Self {
        let (records, kept) = letters.into_iter().map(|letter| translate(letter, local)).unzip();
        let records: Vec<MeshGossipEvent> = records;
        Self { records: Fixed::of(records), _kept: kept }
    }
}

const BLANK: MeshGossipEvent = MeshGossipEvent {
    kind: 0,
    detail: 0,
    at_unix_ms: 0,
    count: 0,
    id: [0; 16],
    previous_id: [0; 16],
    topic: 0,
    reserved: 0,
    text: MeshGossipBytes::EMPTY,
    payload: MeshGossipBytes::EMPTY,
    member: std::ptr::null(),
};

fn bytes(bytes: &[u8]) -> MeshGossipBytes {
    if bytes.is_empty() {
        return MeshGossipBytes::EMPTY;
    }
    MeshGossipBytes { data: bytes.as_ptr(), len: bytes.len() }
}

fn translate(letter: Letter, local: MemberId) -> (MeshGossipEvent, Kept) {
    let (mut record, text, member) = match &letter {
        Letter::Ended(at_unix_ms) => {
            let (kind, at_unix_ms) = (MESH_GOSSIP_EVENT_ENDED, *at_unix_ms);
            (MeshGossipEvent { kind, at_unix_ms, ..BLANK }, String::new(), None)
        }
        Letter::Event(told) => {
            let (record, text) = of_event(&told.event);
            let member = about(&told.event, local);
            (MeshGossipEvent { at_unix_ms: told.at.0, ..record }, text, member)
        }
    };
    let text = Fixed::of(text.into_bytes());
    if !text.is_empty() {
        record.text = MeshGossipBytes { data: text.start(), len: text.len() };
    }
    if let Some(members) = member.as_ref().map(|records| &records.members)
        && let [member] = &**members
    {
        record.id = member.id;
        record.member = members.start();
    }
    if let Letter::Event(told) = &letter {
        record.payload = payload(told);
    }
    (record, Kept { _letter: letter, _text: text, _member: member })
}

/// The content of what a host said: it stands behind a counted pointer, so that it stays where it is
/// while the letter is kept, wherever that goes.
fn payload(told: &HostEvent) -> MeshGossipBytes {
    match &told.event {
        Event::Broadcast { bytes: said, .. } | Event::Message { bytes: said, .. } => bytes(said),
        Event::Joined(_)
        | Event::Recovered { .. }
        | Event::Suspected { .. }
        | Event::Unreachable(_)
        | Event::Left { .. }
        | Event::Updated(_)
        | Event::Forgotten(_)
        | Event::LeaderChanged { .. }
        | Event::Refuted(_)
        | Event::Conflict(_)
        | Event::Alarm(_)
        | Event::RecordRejected { .. }
        | Event::RoundTrip { .. }
        | Event::ProbeFailed(_)
        | Event::JoinComplete
        | Event::LeaveComplete { .. }
        | Event::Overflow(_)
        | Event::Missed(_) => MeshGossipBytes::EMPTY,
    }
}

/// The member that an event brings along, in the state that it tells.
fn about(event: &Event, local: MemberId) -> Option<Records> {
    let of = |record: &Arc<SignedRecord>, state| {
        let record = record.record();
        Some(Records::of(&[Source { record, state, local: record.id == local }]))
    };
    match event {
        Event::Joined(record)
        | Event::Updated(record)
        | Event::Refuted(record)
        | Event::Recovered { record, .. } => of(record, State::Alive),
        Event::Suspected { record, .. } | Event::Unreachable(record) => of(record, State::Suspect),
        Event::Left { record, reason } => match reason {
            LeftReason::Left => of(record, State::Left),
            LeftReason::Failed | LeftReason::Revoked => of(record, State::Dead),
        },
        Event::Forgotten(_)
        | Event::LeaderChanged { .. }
        | Event::Conflict(_)
        | Event::Alarm(_)
        | Event::RecordRejected { .. }
        | Event::RoundTrip { .. }
        | Event::ProbeFailed(_)
        | Event::JoinComplete
        | Event::LeaveComplete { .. }
        | Event::Overflow(_)
        | Event::Broadcast { .. }
        | Event::Message { .. }
        | Event::Missed(_) => None,
    }
}

/// The plain fields, and the text.
fn of_event(event: &Event) -> (MeshGossipEvent, String) {
    let plain = |kind| (MeshGossipEvent { kind, ..BLANK }, String::new());
    let of_id = |kind, id: &MemberId| (MeshGossipEvent { kind, id: id.0, ..BLANK }, String::new());
    let counted = |kind, count| (MeshGossipEvent { kind, count, ..BLANK }, String::new());
    let detailed = |kind, detail| (MeshGossipEvent { kind, detail, ..BLANK }, String::new());
    match event {
        Event::Joined(_) => plain(MESH_GOSSIP_EVENT_JOINED),
        Event::Recovered { previous, .. } => {
            detailed(MESH_GOSSIP_EVENT_RECOVERED, status(*previous))
        }
        Event::Suspected { .. } => plain(MESH_GOSSIP_EVENT_SUSPECTED),
        Event::Unreachable(_) => plain(MESH_GOSSIP_EVENT_UNREACHABLE),
        Event::Left { reason, .. } => detailed(
            MESH_GOSSIP_EVENT_LEFT,
            match reason {
                LeftReason::Left => MESH_GOSSIP_REASON_LEFT,
                LeftReason::Failed => MESH_GOSSIP_REASON_FAILED,
                LeftReason::Revoked => MESH_GOSSIP_REASON_REVOKED,
            },
        ),
        Event::Updated(_) => plain(MESH_GOSSIP_EVENT_UPDATED),
        Event::Forgotten(id) => of_id(MESH_GOSSIP_EVENT_FORGOTTEN, id),
        Event::LeaderChanged { scope, leader, term, previous } => {
            let id = |id: &Option<MemberId>| id.map_or([0; 16], |id| id.0);
            let (kind, count) = (MESH_GOSSIP_EVENT_LEADER_CHANGED, *term);
            let (id, previous_id) = (id(leader), id(previous));
            (MeshGossipEvent { kind, count, id, previous_id, ..BLANK }, scope.name.clone())
        }
        Event::Refuted(_) => plain(MESH_GOSSIP_EVENT_REFUTED),
        Event::Conflict(id) => of_id(MESH_GOSSIP_EVENT_CONFLICT, id),
        Event::Alarm(alarm) => {
            let id = match alarm {
                Alarm::FutureLife { member, .. }
                | Alarm::TwoCertificates(member)
                | Alarm::OrderedOut(member) => member.0,
                Alarm::ClockOff { .. } => [0; 16],
            };
            let kind = MESH_GOSSIP_EVENT_ALARM;
            (MeshGossipEvent { kind, id, ..BLANK }, alarm.as_str().to_owned())
        }
        Event::RecordRejected { from, error } => {
            let (kind, id) = (MESH_GOSSIP_EVENT_RECORD_REJECTED, from.0);
            (MeshGossipEvent { kind, id, ..BLANK }, error.to_string())
        }
        Event::JoinComplete => plain(MESH_GOSSIP_EVENT_JOIN_COMPLETE),
        Event::LeaveComplete { acknowledged } => {
            counted(MESH_GOSSIP_EVENT_LEAVE_COMPLETE, *acknowledged as u64)
        }
        Event::Overflow(lost) => counted(MESH_GOSSIP_EVENT_OVERFLOW, *lost),
        Event::Missed(lost) => counted(MESH_GOSSIP_EVENT_MISSED, *lost),
        Event::Broadcast { from, topic, .. } => said(MESH_GOSSIP_EVENT_BROADCAST, from, *topic),
        Event::Message { from, topic, .. } => said(MESH_GOSSIP_EVENT_MESSAGE, from, *topic),
        Event::RoundTrip { .. } | Event::ProbeFailed(_) => {
            unreachable!("these end at the control thread")
        }
    }
}

fn said(kind: u32, from: &MemberId, topic: u16) -> (MeshGossipEvent, String) {
    (MeshGossipEvent { kind, id: from.0, topic: topic.into(), ..BLANK }, String::new())
}

/// A descriptor that is readable exactly while an event waits, for poll, epoll and their like; it
/// belongs to the agent: neither read nor close it. -1 for NULL or a handle of a parent process.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_events_fd(agent: *const MeshGossipAgent) -> c_int {
    // SAFETY: null or a live agent, as the crate's contract says.
    unsafe {
        guard::look_at(agent, -1, |agent| {
            if agent.seal().is_forked() { -1 } else { agent.hole().descriptor() }
        })
    }
}

/// Takes up to `max` events, the oldest first. Never blocks; a batch may be empty. Events that
/// came before a stop can be taken after it, the last one being ENDED.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_take_events(
    agent: *const MeshGossipAgent,
    max: usize,
    out: *mut *mut MeshGossipEvents,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = |agent: &MeshGossipAgent| {
        if out.is_null() {
            return Err(Failure::argument("out", "is NULL"));
        }
        let batch = MeshGossipEvents::of(agent.hole().take(max), agent.id());
        // SAFETY: not null, and writable as the crate's contract says.
        unsafe { out.write(Box::into_raw(Box::new(batch))) };
        Ok(())
    };
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe { run_on(agent, err, body) }
}

/// How many events a batch holds; 0 for NULL.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_events_len(events: *const MeshGossipEvents) -> usize {
    // SAFETY: null or a live batch, as the crate's contract says.
    unsafe { guard::look_at(events, 0, |events| events.records.len()) }
}

/// The event at `index`, borrowed from the batch; NULL where there is none.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_events_at(
    events: *const MeshGossipEvents,
    index: usize,
) -> *const MeshGossipEvent {
    // SAFETY: null or a live batch, as the crate's contract says.
    unsafe { guard::look_at(events, std::ptr::null(), |events| events.records.at(index)) }
}

/// Bytes from one event to the next: the first is `mesh_gossip_events_at(events, 0)`.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub extern "C" fn mesh_gossip_events_stride() -> usize {
    size_of::<MeshGossipEvent>()
}

/// Frees a batch; NULL is fine.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_events_free(events: *mut MeshGossipEvents) {
    // SAFETY: it was made by `Box::into_raw` and is freed once.
    unsafe { guard::free(events) };
}
