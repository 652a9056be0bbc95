//! Outcomes of calls.
//!
//! Invariant: a number never changes its meaning; new ones are added at the end.

/// Outcome of a call: `MESH_GOSSIP_OK` or one of `MESH_GOSSIP_ERR_*`.
pub type MeshGossipResult = i32;

/// It is done.
pub const MESH_GOSSIP_OK: i32 = 0;
/// Header and library do not belong together.
pub const MESH_GOSSIP_ERR_ABI: i32 = 1;
/// An argument is NULL or out of range.
pub const MESH_GOSSIP_ERR_ARGUMENT: i32 = 2;
/// A string is not UTF-8.
pub const MESH_GOSSIP_ERR_UTF8: i32 = 3;
/// A string or a content is longer than is taken.
pub const MESH_GOSSIP_ERR_TOO_LARGE: i32 = 4;
/// A setting is wrong; the error's field names it.
pub const MESH_GOSSIP_ERR_CONFIG: i32 = 5;
/// Certificate, key, trust or a revocation list does not hold, and is not taken; what came along
/// with it and holds may be in force all the same, as the function tells.
pub const MESH_GOSSIP_ERR_CREDENTIALS: i32 = 6;
/// The operating system refused: a port that is taken, a file, a thread.
pub const MESH_GOSSIP_ERR_IO: i32 = 7;
/// The agent has stopped or left.
pub const MESH_GOSSIP_ERR_STOPPED: i32 = 8;
/// No answer came in time; what was asked for may still happen.
pub const MESH_GOSSIP_ERR_TIMEOUT: i32 = 9;
/// Too much at once; try again a little later.
pub const MESH_GOSSIP_ERR_BUSY: i32 = 10;
/// No such member or scope.
pub const MESH_GOSSIP_ERR_NOT_FOUND: i32 = 11;
/// The agent refused the command; nothing has changed.
pub const MESH_GOSSIP_ERR_REFUSED: i32 = 12;
/// Not allowed within a callback: it would wait for itself.
pub const MESH_GOSSIP_ERR_REENTRANT: i32 = 13;
/// The handle was made before a fork: it belongs to the parent.
pub const MESH_GOSSIP_ERR_FORKED: i32 = 14;
/// A defect of the library; the handle is of no use any more.
pub const MESH_GOSSIP_ERR_PANIC: i32 = 15;
/// A defect was met before on this handle; it can only be freed.
pub const MESH_GOSSIP_ERR_POISONED: i32 = 16;
/// A structure's size is none that this library knows, or holds what it does not know.
pub const MESH_GOSSIP_ERR_STRUCT_SIZE: i32 = 17;
/// `mesh:gossip:enabled` is false.
pub const MESH_GOSSIP_ERR_DISABLED: i32 = 18;
