//! Single answers out of a snapshot.
//!
//! Invariant: a record that is handed out belongs to the snapshot that was asked.

use crate::layout::MeshGossipMember;
use crate::snapshot::MeshGossipSnapshot;

/// The member with this id of 16 bytes, borrowed from the snapshot; NULL where it is not listed,
/// and for NULL.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_find(
    snapshot: *const MeshGossipSnapshot,
    id: *const u8,
) -> *const MeshGossipMember {
    if id.is_null() {
        return std::ptr::null();
    }
    // SAFETY: not null, and 16 bytes as the crate's contract says.
    let id = unsafe { id.cast::<[u8; 16]>().read() };
    // SAFETY: null or a live snapshot, as the crate's contract says.
    let found = unsafe { snapshot.as_ref() }.and_then(|snapshot| snapshot.find(&id));
    found.map_or(std::ptr::null(), std::ptr::from_ref)
}

/// The agent's own record, borrowed from the snapshot; NULL for NULL, and once it has left for so
/// long that it is listed no longer.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_local(
    snapshot: *const MeshGossipSnapshot,
) -> *const MeshGossipMember {
    // SAFETY: null or a live snapshot, as the crate's contract says.
    let found = unsafe { snapshot.as_ref() }.and_then(MeshGossipSnapshot::local_member);
    found.map_or(std::ptr::null(), std::ptr::from_ref)
}

/// How many listed members have this status, `MESH_GOSSIP_STATUS_*`; 0 for NULL and for a number
/// that is none.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_count(
    snapshot: *const MeshGossipSnapshot,
    status: u32,
) -> usize {
    // SAFETY: null or a live snapshot, as the crate's contract says.
    unsafe { snapshot.as_ref() }.map_or(0, |snapshot| snapshot.count(status))
}
