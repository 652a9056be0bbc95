//! Views as arrays that C can walk.
//!
//! A view shares its chunks with the one before, and so do these: a chunk is translated once, when
//! it changed, by whoever asks first; everybody else gets what is there.
//!
//! Invariant: a snapshot never changes, and lives until it is released, whatever becomes of the
//! agent.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::{ArcSwap, Guard};
use engine::ViewReader;
use engine::proto::{Instant, Member, View};
use engine::snapshot::Published;

use crate::agent::MeshGossipAgent;
use crate::code::{MESH_GOSSIP_ERR_NOT_FOUND, MeshGossipResult};
use crate::error::{Failure, MeshGossipError};
use crate::guard::{self, run, run_on};
use crate::layout::{MeshGossipBytes, MeshGossipLabel, MeshGossipMember, Records, Source};

/// The members as of one moment. Owned by the caller; given back with
/// `mesh_gossip_snapshot_release`, before or after the agent is freed.
pub struct MeshGossipSnapshot {
    generation: u64,
    taken_unix_ms: u64,
    len: usize,
    local: [u8; 16],
    /// The publication that it was made of, or of a later one.
    publication: u64,
    chunks: Box<[Arc<Chunk>]>,
}

/// Some members, translated.
struct Chunk {
    generation: u64,
    records: Records,
    /// Places in `records`, in the order of ids.
    by_id: Box<[u32]>,
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

/// Numbers of galleries: no two of a process have the same, and none has 0.
static GALLERIES: AtomicU64 = AtomicU64::new(1);

/// What a thread was handed last.
struct Handed {
    gallery: u64,
    publication: u64,
    /// Weak, so that no thread keeps alive what everybody has given back.
    snapshot: Weak<MeshGossipSnapshot>,
}

thread_local! {
    static LAST: RefCell<Handed> =
        const { RefCell::new(Handed { gallery: 0, publication: 0, snapshot: Weak::new() }) };
}

/// The newest snapshot of an agent.
pub(crate) struct Gallery {
    number: u64,
    reader: ViewReader,
    newest: ArcSwap<MeshGossipSnapshot>,
    /// Held by whoever translates.
    turn: Mutex<()>,
}

impl Gallery {
    pub(crate) fn new(reader: ViewReader) -> Self {
        let publication = reader.publications();
        let first = translate(&reader.view(), publication, &[]);
        let newest = ArcSwap::from_pointee(first);
        let number = GALLERIES.fetch_add(1, Ordering::Relaxed);
        Self { number, reader, newest, turn: Mutex::new(()) }
    }

    pub(crate) fn newest(&self) -> Arc<MeshGossipSnapshot> {
        let publication = self.reader.publications();
        // Whoever asks again and again pays for one count instead of three locked operations. A
        // thread that is ending has no memory of its own any more, and goes the long way.
        let again = LAST.try_with(|last| {
            let last = last.try_borrow().ok()?;
            let same = last.gallery == self.number && last.publication == publication;
            if same { last.snapshot.upgrade() } else { None }
        });
        if let Ok(Some(again)) = again {
            return again;
        }
        let newest = self.shared();
        let _ending = LAST.try_with(|last| {
            let Ok(mut last) = last.try_borrow_mut() else { return };
            let (publication, snapshot) = (newest.publication, Arc::downgrade(&newest));
            *last = Handed { gallery: self.number, publication, snapshot };
        });
        newest
    }

    fn shared(&self) -> Arc<MeshGossipSnapshot> {
        // A snapshot carries its publication, so that both are read at once.
        let newest = self.newest.load();
        if newest.publication == self.reader.publications() {
            return Guard::into_inner(newest);
        }
        drop(newest);
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.newest.load_full();
        // The number before the view: what is published in between is translated once more.
        let publication = self.reader.publications();
        if before.publication == publication {
            return before;
        }
        let next = Arc::new(translate(&self.reader.view(), publication, &before.chunks));
        self.newest.store(Arc::clone(&next));
        next
    }
}

impl MeshGossipSnapshot {
    pub(crate) fn find(&self, id: &[u8; 16]) -> Option<&MeshGossipMember> {
        self.chunks.iter().find_map(|chunk| chunk.find(id))
    }

    pub(crate) fn local_member(&self) -> Option<&MeshGossipMember> {
        self.find(&self.local)
    }

    pub(crate) fn count(&self, status: u32) -> usize {
        let members = self.chunks.iter().flat_map(|chunk| &*chunk.records.members);
        members.filter(|member| member.status == status).count()
    }
}

fn translate(published: &Published, publication: u64, before: &[Arc<Chunk>]) -> MeshGossipSnapshot {
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
        publication,
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
        let records = Records::of(&listed);
        let mut by_id: Box<[u32]> = (0_u32..).take(records.members.len()).collect();
        let id = |place: &u32| records.members.get(*place as usize).map(|member| member.id);
        by_id.sort_unstable_by_key(id);
        Self { generation, records, by_id, _source: source, address, until }
    }

    fn find(&self, id: &[u8; 16]) -> Option<&MeshGossipMember> {
        let member = |place: &u32| self.records.members.get(*place as usize);
        let key = |place: &u32| member(place).map(|member| member.id);
        let found = self.by_id.binary_search_by_key(&Some(*id), key).ok()?;
        self.by_id.get(found).and_then(member)
    }
}

/// The newest view; NULL for NULL, for a handle of a parent process and after a defect:
/// `mesh_gossip_snapshot_try_acquire` tells which. After the agent was stopped, the last one. Never
/// blocks for long: whoever asks first after a change translates the chunks that changed. A view is
/// never behind the events that were taken, and may be ahead of them: it has what is still to be
/// told, and several changes of a member at once.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_acquire(
    agent: *const MeshGossipAgent,
) -> *const MeshGossipSnapshot {
    // SAFETY: null or a live agent, as the crate's contract says.
    unsafe {
        guard::look_on(agent, std::ptr::null(), |agent| Arc::into_raw(agent.gallery().newest()))
    }
}

/// The same with the reason where there is none.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_try_acquire(
    agent: *const MeshGossipAgent,
    out: *mut *const MeshGossipSnapshot,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = |agent: &MeshGossipAgent| {
        if out.is_null() {
            return Err(Failure::argument("out", "is NULL"));
        }
        let newest = Arc::into_raw(agent.gallery().newest());
        // SAFETY: not null, and writable as the crate's contract says.
        unsafe { out.write(newest) };
        Ok(())
    };
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe { run_on(agent, err, body) }
}

/// Gives a snapshot back, once for each time that it was acquired; NULL is fine. Two that acquire may
/// be given the same pointer, and each may use it up to a release of his own: no call that relies on
/// an acquire may run beside its release.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_release(snapshot: *const MeshGossipSnapshot) {
    let release = || {
        if !snapshot.is_null() {
            // SAFETY: it was made by `Arc::into_raw` and is given back once.
            drop(unsafe { Arc::from_raw(snapshot) });
        }
    };
    guard::look((), release);
}

/// How many members are listed; 0 for NULL.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_len(snapshot: *const MeshGossipSnapshot) -> usize {
    // SAFETY: null or a live snapshot, as the crate's contract says.
    unsafe { guard::look_at(snapshot, 0, |snapshot| snapshot.len) }
}

/// Rises with every change of the view; 0 for NULL. Equal for two snapshots of an agent whose
/// members are equal.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_generation(
    snapshot: *const MeshGossipSnapshot,
) -> u64 {
    // SAFETY: null or a live snapshot, as the crate's contract says.
    unsafe { guard::look_at(snapshot, 0, |snapshot| snapshot.generation) }
}

/// When the view was published, Unix milliseconds; 0 for NULL.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_time(snapshot: *const MeshGossipSnapshot) -> u64 {
    // SAFETY: null or a live snapshot, as the crate's contract says.
    unsafe { guard::look_at(snapshot, 0, |snapshot| snapshot.taken_unix_ms) }
}

/// The 16 bytes of the id of the agent itself, borrowed from the snapshot; NULL for NULL.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_local_id(
    snapshot: *const MeshGossipSnapshot,
) -> *const u8 {
    // SAFETY: null or a live snapshot, as the crate's contract says.
    unsafe { guard::look_at(snapshot, std::ptr::null(), |snapshot| snapshot.local.as_ptr()) }
}

/// How many chunks the members stand in; 0 for NULL.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_chunk_count(
    snapshot: *const MeshGossipSnapshot,
) -> usize {
    // SAFETY: null or a live snapshot, as the crate's contract says.
    unsafe { guard::look_at(snapshot, 0, |snapshot| snapshot.chunks.len()) }
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
        unsafe { records.write(members.start()) };
        // SAFETY: likewise.
        unsafe { len.write(members.len()) };
        // SAFETY: likewise.
        unsafe { stride.write(size_of::<MeshGossipMember>()) };
        Ok(())
    };
    // SAFETY: no error object is wanted.
    unsafe { run(std::ptr::null_mut(), body) }
}

/// What the members of a chunk point to, for who copies all of it at once, borrowed from the
/// snapshot: `*labels_len` labels in the order of their members, `mesh_gossip_labels_stride` bytes
/// apart, and the text that these and the members point into. Empty text may point elsewhere.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_chunk_arena(
    snapshot: *const MeshGossipSnapshot,
    index: usize,
    labels: *mut *const MeshGossipLabel,
    labels_len: *mut usize,
    text: *mut MeshGossipBytes,
) -> MeshGossipResult {
    let body = || {
        if labels.is_null() || labels_len.is_null() || text.is_null() {
            return Err(Failure::argument("labels, labels_len or text", "is NULL"));
        }
        // SAFETY: null or a live snapshot, as the crate's contract says.
        let snapshot = unsafe { snapshot.as_ref() };
        let snapshot = snapshot.ok_or_else(|| Failure::argument("snapshot", "is NULL"))?;
        let Some(chunk) = snapshot.chunks.get(index) else {
            return Err(Failure::new(MESH_GOSSIP_ERR_NOT_FOUND, "no such chunk"));
        };
        let Records { labels: all, text: arena, .. } = &chunk.records;
        // SAFETY: not null, and writable as the crate's contract says.
        unsafe { labels.write(all.start()) };
        // SAFETY: likewise.
        unsafe { labels_len.write(all.len()) };
        // SAFETY: likewise.
        unsafe { text.write(MeshGossipBytes { data: arena.start(), len: arena.len() }) };
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
    unsafe {
        guard::look_at(snapshot, 0, |snapshot| {
            snapshot.chunks.get(index).map_or(0, |chunk| chunk.generation)
        })
    }
}
