//! The library for tests: every function of the real one, and one that plants a defect.
//!
//! Invariant: its own functions stand in a header of their own, and in no other library.
#![allow(clippy::missing_safety_doc, reason = "said once, in the library's root")]

#[path = "../src/abi.rs"]
pub mod abi;
#[path = "../src/agent.rs"]
pub mod agent;
#[path = "../src/code.rs"]
pub mod code;
#[path = "../src/commands.rs"]
pub mod commands;
#[path = "../src/contacts.rs"]
pub mod contacts;
#[path = "../src/documents.rs"]
pub mod documents;
#[path = "../src/error.rs"]
pub mod error;
#[path = "../src/events.rs"]
pub mod events;
#[path = "../src/fixed.rs"]
mod fixed;
#[path = "../src/fork.rs"]
mod fork;
#[path = "../src/guard.rs"]
mod guard;
#[path = "../src/layout.rs"]
pub mod layout;
#[path = "../src/leases.rs"]
pub mod leases;
#[path = "../src/log.rs"]
pub mod log;
#[path = "../src/lookup.rs"]
pub mod lookup;
#[path = "../src/metadata.rs"]
pub mod metadata;
#[path = "../src/options.rs"]
pub mod options;
#[path = "../src/post.rs"]
mod post;
#[path = "../src/renewal.rs"]
pub mod renewal;
#[path = "../src/snapshot.rs"]
pub mod snapshot;
#[path = "../src/text.rs"]
pub mod text;

/// The next call of any function of the library panics within. Not of use to two threads at once.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub extern "C" fn mesh_gossip_hooks_panic_next() {
    guard::planted::arm();
}

/// Whether no call has met the panic yet; it is taken back.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub extern "C" fn mesh_gossip_hooks_was_unmet() -> u32 {
    u32::from(guard::planted::disarm())
}
