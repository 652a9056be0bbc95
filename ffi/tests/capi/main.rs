//! What hosts of the C ABI are given, made once and then used as they would: installed under a
//! prefix, checked, compiled against, run under the tools that find what a compiler does not.
//!
//! `MESH_GOSSIP_C_SUITE=full` runs every program in every form, and those that build a mesh with a
//! library that is instrumented itself; otherwise each runs in some.
//! `MESH_GOSSIP_C_PROFILE=release` takes another profile's library than that of this test.

mod bench;
mod checks;
mod consumers;
mod programs;
mod support;
