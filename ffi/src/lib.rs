//! mesh-gossip: ffi.
