//! mesh-gossip: hyperscale-tests.
