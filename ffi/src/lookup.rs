//! Single answers out of a snapshot.
//!
//! Invariant: a record that is handed out belongs to the snapshot that was asked.

use crate::guard;
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
    let find = |snapshot: &MeshGossipSnapshot| {
        if id.is_null() {
            return std::ptr::null();
        }
        // SAFETY: not null, and 16 bytes as the crate's contract says.
        let id = unsafe { id.cast::<[u8; 16]>().read() };
        snapshot.find(&id).map_or(std::ptr::null(), std::ptr::from_ref)
    };
    // SAFETY: null or a live snapshot, as the crate's contract says.
    unsafe { guard::look_at(snapshot, std::ptr::null(), find) }
}

/// The agent's own record, borrowed from the snapshot; NULL for NULL, and once it has left for so
/// long that it is listed no longer.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_snapshot_local(
    snapshot: *const MeshGossipSnapshot,
) -> *const MeshGossipMember {
    // SAFETY: null or a live snapshot, as the crate's contract says.
    unsafe {
        guard::look_at(snapshot, std::ptr::null(), |snapshot| {
            snapshot.local_member().map_or(std::ptr::null(), std::ptr::from_ref)
        })
    }
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
    unsafe { guard::look_at(snapshot, 0, |snapshot| snapshot.count(status)) }
}
