//! Views as arrays that C can walk.
//!
//! A view shares its chunks with the one before, and so do these: a chunk is translated once, when
//! it changed, by whoever asks first; everybody else gets what is there.
//!
//! Invariant: a snapshot never changes, and lives until it is released, whatever becomes of the
//! agent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use engine::ViewReader;
use engine::proto::{Instant, Member, View};
use engine::snapshot::Published;

use crate::agent::MeshGossipAgent;
use crate::code::{MESH_GOSSIP_ERR_NOT_FOUND, MeshGossipResult};
use crate::error::Failure;
use crate::guard::{Sealed, run};
use crate::layout::{MeshGossipMember, Records, Source};

/// The members as of one moment. Owned by the caller; given back with
/// `mesh_gossip_snapshot_release`, before or after the agent is freed.
pub struct MeshGossipSnapshot {
    generation: u64,
    taken_unix_ms: u64,
    len: usize,
    local: [u8; 16],
    chunks: Box<[Arc<Chunk>]>,
}

/// Some members, translated.
struct Chunk {
    generation: u64,
    records: Records,
    /// What it was made of; held, so that its address means it and nothing else.
    _source: Arc<dyn Send + Sync>,
    address: *const (),
    /// A departed member is listed no longer from here on.
    until: Option<Instant>,
}

// SAFETY: the address is only compared; all else may be read from everywhere.
unsafe impl Send for Chunk {}
// SAFETY: likewise.
unsafe impl Sync for Chunk {}

/// Generations of chunks: no two chunks of a process have the same.
static CHUNKS: AtomicU64 = AtomicU64::new(0);

/// The newest snapshot of an agent.
pub(crate) struct Gallery {
    reader: ViewReader,
    newest: ArcSwap<MeshGossipSnapshot>,
    /// The publication that it was made of.
    publication: AtomicU64,
    /// Held by whoever translates.
    turn: Mutex<()>,
}

impl Gallery {
    pub(crate) fn new(reader: ViewReader) -> Self {
        let publication = reader.publications();
        let first = translate(&reader.view(), &[]);
        let newest = ArcSwap::from_pointee(first);
        Self { reader, newest, publication: AtomicU64::new(publication), turn: Mutex::new(()) }
    }

    pub(crate) fn newest(&self) -> Arc<MeshGossipSnapshot> {
        if self.publication.load(Ordering::Acquire) == self.reader.publications() {
            return Guard::into_inner(self.newest.load());
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let publication = self.reader.publications();
        if self.publication.load(Ordering::Acquire) != publication {
            let before = self.newest.load_full();
            self.newest.store(Arc::new(translate(&self.reader.view(), &before.chunks)));
            self.publication.store(publication, Ordering::Release);
        }
        self.newest.load_full()
    }
}

fn translate(published: &Published, before: &[Arc<Chunk>]) -> MeshGossipSnapshot {
    let view = &published.view;
    let taken = view.taken();
    let mut old = before.iter();
    let chunks: Box<[Arc<Chunk>]> = view
        .chunks()
        .chunks()
        .map(|chunk| {
            let address = Arc::as_ptr(chunk).cast::<()>();
            let same = |old: &&Arc<Chunk>| {
                old.address == address && old.until.is_none_or(|until| taken < until)
            };
            if let Some(old) = old.next().filter(same) {
                return Arc::clone(old);
            }
            let source: Arc<dyn Send + Sync> = Arc::clone(chunk) as Arc<dyn Send + Sync>;
            Arc::new(Chunk::of(view, chunk.iter().flatten(), source, address))
        })
        .collect();
    MeshGossipSnapshot {
        generation: view.version(),
        taken_unix_ms: published.at.0,
        len: chunks.iter().map(|chunk| chunk.records.members.len()).sum(),
        local: view.local().0,
        chunks,
    }
}

impl Chunk {
    fn of<'a>(
        view: &View,
        members: impl Iterator<Item = &'a Member>,
        source: Arc<dyn Send + Sync>,
        address: *const (),
    ) -> Self {
        let (taken, mut until) = (view.taken(), None);
        let mut listed = Vec::new();
        for member in members {
            let ends = view.listed_until(member);
            if ends.is_some_and(|ends| ends <= taken) {
                continue;
            }
            until = Instant::earliest(until, ends);
            let local = member.id() == view.local();
            listed.push(Source { record: member.record.record(), state: member.state, local });
        }
        let generation = CHUNKS.fetch_add(1, Ordering::Relaxed) + 1;
        Self { generation, records: Records::of(&listed), _source: source, address, until }
    }
}

/// The newest view; NULL for NULL, for a handle of a parent process and after a defect. After the
/// agent was stopped, the last one. Never blocks for long: whoever asks first after a change
/// translates the chunks that changed.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_acquire(
    agent: *const MeshGossipAgent,
) -> *const MeshGossipSnapshot {
    // SAFETY: null or a live agent, as the crate's contract says.
    let Some(agent) = (unsafe { agent.as_ref() }) else { return std::ptr::null() };
    let newest = || agent.seal().check().ok().map(|()| Arc::into_raw(agent.gallery().newest()));
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(newest)) {
        Ok(Some(snapshot)) => snapshot,
        Ok(None) | Err(_) => std::ptr::null(),
    }
}

/// Gives a snapshot back; NULL is fine.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_release(snapshot: *const MeshGossipSnapshot) {
    if !snapshot.is_null() {
        // SAFETY: it was made by `Arc::into_raw` and is given back once.
        drop(unsafe { Arc::from_raw(snapshot) });
    }
}

/// How many members are listed; 0 for NULL.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_len(snapshot: *const MeshGossipSnapshot) -> usize {
    // SAFETY: null or a live snapshot, as the crate's contract says.
    unsafe { snapshot.as_ref() }.map_or(0, |snapshot| snapshot.len)
}

/// Rises with every change of the view; 0 for NULL. Equal for two snapshots of an agent whose
/// members are equal.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_generation(
    snapshot: *const MeshGossipSnapshot,
) -> u64 {
    // SAFETY: null or a live snapshot, as the crate's contract says.
    unsafe { snapshot.as_ref() }.map_or(0, |snapshot| snapshot.generation)
}

/// When the view was published, Unix milliseconds; 0 for NULL.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_time(snapshot: *const MeshGossipSnapshot) -> u64 {
    // SAFETY: null or a live snapshot, as the crate's contract says.
    unsafe { snapshot.as_ref() }.map_or(0, |snapshot| snapshot.taken_unix_ms)
}

/// The 16 bytes of the id of the agent itself, borrowed from the snapshot; NULL for NULL.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_local_id(
    snapshot: *const MeshGossipSnapshot,
) -> *const u8 {
    // SAFETY: null or a live snapshot, as the crate's contract says.
    unsafe { snapshot.as_ref() }.map_or(std::ptr::null(), |snapshot| snapshot.local.as_ptr())
}

/// How many chunks the members stand in; 0 for NULL.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_chunk_count(
    snapshot: *const MeshGossipSnapshot,
) -> usize {
    // SAFETY: null or a live snapshot, as the crate's contract says.
    unsafe { snapshot.as_ref() }.map_or(0, |snapshot| snapshot.chunks.len())
}

/// The members of a chunk, borrowed from the snapshot: `*len` records, `*stride` bytes apart.
/// There may be none.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_chunk(
    snapshot: *const MeshGossipSnapshot,
    index: usize,
    records: *mut *const MeshGossipMember,
    len: *mut usize,
    stride: *mut usize,
) -> MeshGossipResult {
    let body = || {
        if records.is_null() || len.is_null() || stride.is_null() {
            return Err(Failure::argument("records, len or stride", "is NULL"));
        }
        // SAFETY: null or a live snapshot, as the crate's contract says.
        let snapshot = unsafe { snapshot.as_ref() };
        let snapshot = snapshot.ok_or_else(|| Failure::argument("snapshot", "is NULL"))?;
        let Some(chunk) = snapshot.chunks.get(index) else {
            return Err(Failure::new(MESH_GOSSIP_ERR_NOT_FOUND, "no such chunk"));
        };
        let members = &chunk.records.members;
        // SAFETY: not null, and writable as the crate's contract says.
        unsafe { records.write(members.as_ptr()) };
        // SAFETY: likewise.
        unsafe { len.write(members.len()) };
        // SAFETY: likewise.
        unsafe { stride.write(size_of::<MeshGossipMember>()) };
        Ok(())
    };
    // SAFETY: no error object is wanted.
    unsafe { run(std::ptr::null_mut(), body) }
}

/// Changes whenever the records of this chunk do, and is never used again within the process; 0
/// where there is no such chunk.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_chunk_generation(
    snapshot: *const MeshGossipSnapshot,
    index: usize,
) -> u64 {
    // SAFETY: null or a live snapshot, as the crate's contract says.
    let snapshot = unsafe { snapshot.as_ref() };
    snapshot.and_then(|snapshot| snapshot.chunks.get(index)).map_or(0, |chunk| chunk.generation)
}
