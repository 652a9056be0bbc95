//! Benchmarks of mesh-gossip.
//!
//! `cargo bench -p mesh-gossip-benches --bench wire` measures what one full datagram of hot updates
//! costs to encode and to decode, without cryptography and without a socket. Figures hold for the
//! machine that they were measured on; compare only figures of one run.
