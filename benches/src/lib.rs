//! mesh-gossip: benches.
