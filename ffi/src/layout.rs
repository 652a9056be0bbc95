//! Records of fixed layout, and the arena that their strings stand in.
//!
//! Invariant: fields are only added at the end, so that a reader that goes by the stride can read
//! what a later library writes; records never outlive the chunk that owns their bytes.

use std::ptr;

use engine::proto::{NodeRecord, State};

use crate::fixed::Fixed;

/// Bytes that belong to somebody else, UTF-8 unless said otherwise; `data` is never NULL.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MeshGossipBytes {
    /// First byte.
    pub data: *const u8,
    /// How many.
    pub len: usize,
}

/// One label of a member.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MeshGossipLabel {
    /// Name.
    pub key: MeshGossipBytes,
    /// Value.
    pub value: MeshGossipBytes,
}

/// One member.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MeshGossipMember {
    /// Id within the mesh.
    pub id: [u8; 16],
    /// When this life of it began, Unix milliseconds; may lie ahead of the clock.
    pub generation: u64,
    /// Changes within this life.
    pub counter: u32,
    /// `MESH_GOSSIP_STATUS_*`.
    pub status: u32,
    /// `MESH_GOSSIP_LIFECYCLE_*`.
    pub lifecycle: u32,
    /// `MESH_GOSSIP_MEMBER_*` bits.
    pub flags: u32,
    /// Rises with every change of what it says of itself.
    pub metadata_version: u64,
    /// Name within the cluster.
    pub node_id: MeshGossipBytes,
    /// Role.
    pub role: MeshGossipBytes,
    /// Cluster.
    pub cluster_id: MeshGossipBytes,
    /// Region.
    pub region: MeshGossipBytes,
    /// Version of its mesh software.
    pub mesh_version: MeshGossipBytes,
    /// `host:port` that it advertises.
    pub endpoint: MeshGossipBytes,
    /// Its labels by name, `mesh_gossip_labels_stride` bytes apart; NULL where it has none.
    pub labels: *const MeshGossipLabel,
    /// How many.
    pub labels_len: usize,
}

const _: () = assert!(size_of::<MeshGossipMember>() == 160 || size_of::<usize>() != 8);

/// In touch.
pub const MESH_GOSSIP_STATUS_ALIVE: u32 = 1;
/// Doubted; may still refute.
pub const MESH_GOSSIP_STATUS_SUSPECT: u32 = 2;
/// Judged failed, or its certificate is revoked.
pub const MESH_GOSSIP_STATUS_FAILED: u32 = 3;
/// Left by its own word, or an operator's.
pub const MESH_GOSSIP_STATUS_LEFT: u32 = 4;
/// Takes work.
pub const MESH_GOSSIP_LIFECYCLE_ACTIVE: u32 = 0;
/// Takes no new work.
pub const MESH_GOSSIP_LIFECYCLE_CORDONED: u32 = 1;
/// Hands its work over.
pub const MESH_GOSSIP_LIFECYCLE_DRAINING: u32 = 2;
/// Holds no work.
pub const MESH_GOSSIP_LIFECYCLE_DRAINED: u32 = 3;
/// Has said goodbye.
pub const MESH_GOSSIP_LIFECYCLE_LEAVING: u32 = 4;
/// It is the agent itself.
pub const MESH_GOSSIP_MEMBER_LOCAL: u32 = 1;
/// It serves HTTP/3.
pub const MESH_GOSSIP_MEMBER_HTTP3: u32 = 2;

const EMPTY: MeshGossipBytes = MeshGossipBytes { data: ptr::dangling(), len: 0 };

impl MeshGossipBytes {
    pub(crate) const EMPTY: Self = EMPTY;
}

/// Bytes from one member to the next within a chunk, for who checks a library before its first
/// chunk.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub extern "C" fn mesh_gossip_members_stride() -> usize {
    size_of::<MeshGossipMember>()
}

/// Bytes from one label of a member to the next.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub extern "C" fn mesh_gossip_labels_stride() -> usize {
    size_of::<MeshGossipLabel>()
}

/// Records with everything that they point to.
pub(crate) struct Records {
    pub(crate) members: Fixed<MeshGossipMember>,
    /// Of all members, in their order.
    pub(crate) labels: Fixed<MeshGossipLabel>,
    /// What all of these point into.
    pub(crate) text: Fixed<u8>,
}

// SAFETY: the pointers lead into what stands beside them, which nobody writes to again.
unsafe impl Send for Records {}
// SAFETY: likewise.
unsafe impl Sync for Records {}

/// What a record is made of.
pub(crate) struct Source<'a> {
    pub(crate) record: &'a NodeRecord,
    pub(crate) state: State,
    pub(crate) local: bool,
}

impl Records {
    pub(crate) fn of(sources: &[Source<'_>]) -> Self {
        let mut strings = Vec::new();
        let mut spans = Vec::new();
        for source in sources {
            let metadata = &source.record.metadata;
            let own = [
                &metadata.node_id,
                &metadata.role,
                &metadata.cluster_id,
                &metadata.region,
                &metadata.mesh_version,
                &metadata.endpoint,
            ];
            let labels = metadata.labels.iter().flat_map(|(key, value)| [key, value]);
            for text in own.into_iter().chain(labels) {
                spans.push((strings.len(), text.len()));
                strings.extend_from_slice(text.as_bytes());
            }
        }
        // From here on nothing moves.
        let strings = Fixed::of(strings);
        let mut texts = spans.into_iter().map(|(from, len)| {
            if len > 0 { MeshGossipBytes { data: strings.at(from), len } } else { EMPTY }
        });
        let mut next = || texts.next().unwrap_or(EMPTY);
        let mut all_labels = Vec::new();
        let mut members: Vec<MeshGossipMember> = sources
            .iter()
            .map(|source| {
                let member = member(source, &mut next);
                let labels = source.record.metadata.labels.len();
                all_labels
                    .extend((0..labels).map(|_| MeshGossipLabel { key: next(), value: next() }));
                member
            })
            .collect();
        let labels = Fixed::of(all_labels);
        let mut before = 0;
        for member in &mut members {
            if member.labels_len > 0 {
                member.labels = labels.at(before);
            }
            before += member.labels_len;
        }
        Self { members: Fixed::of(members), labels, text: strings }
    }
}

fn member(source: &Source<'_>, next: &mut impl FnMut() -> MeshGossipBytes) -> MeshGossipMember {
    let Source { record, state, local } = source;
    let http3 = if record.metadata.http3_support { MESH_GOSSIP_MEMBER_HTTP3 } else { 0 };
    MeshGossipMember {
        id: record.id.0,
        generation: record.incarnation.generation,
        counter: record.incarnation.counter,
        status: status(*state),
        lifecycle: record.lifecycle as u32,
        flags: http3 | if *local { MESH_GOSSIP_MEMBER_LOCAL } else { 0 },
        metadata_version: record.metadata.metadata_version,
        node_id: next(),
        role: next(),
        cluster_id: next(),
        region: next(),
        mesh_version: next(),
        endpoint: next(),
        labels: ptr::null(),
        labels_len: record.metadata.labels.len(),
    }
}

pub(crate) fn status(state: State) -> u32 {
    match state {
        State::Alive => MESH_GOSSIP_STATUS_ALIVE,
        State::Suspect => MESH_GOSSIP_STATUS_SUSPECT,
        State::Dead => MESH_GOSSIP_STATUS_FAILED,
        State::Left => MESH_GOSSIP_STATUS_LEFT,
    }
}
