//! Benchmarks of mesh-gossip.
//!
//! `cargo bench -p mesh-gossip-benches --bench wire` measures what one full datagram of hot updates
//! costs to encode and to decode, without cryptography and without a socket.
//!
//! `… --bench table`, `… --bench protocol` and `… --bench timers` measure the member table up to
//! 100,000 members, one datagram from end to end, and deadlines, the first two beside foca and the
//! memberlist crate; `docs/testing.md` has the commands.
//!
//! `… --bench sessions` measures handshakes, sealed datagrams and the memory of sessions, beside
//! quinn-proto and both AEAD providers.
//!
//! `… --bench snapshot` measures what a reader of a view pays while a writer changes it.
//!
//! `cargo run --release -p mesh-gossip-benches --bin compare -- datagram` compares the datagram path
//! with raw calls and other sockets, in turns on one core; docs/performance.md has the figures.
//!
//! `cargo run --release -p mesh-gossip-benches --bin idle` measures what an agent costs that has
//! nothing to do, on real sockets: datagrams, bytes, processor, memory.
//!
//! Figures hold for the machine that they were measured on; compare only figures of one run.

pub mod meeting;
pub mod peers;
pub mod population;
