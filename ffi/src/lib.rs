//! The C ABI of mesh-gossip; the header `include/mesh_gossip.h` is generated from these files.
//!
//! A counter in a bank: hosts pass requests through, and get a slip with what became of them and
//! things to hold that say nothing of their inside. Nothing is ever handed over the counter that
//! could hurt the clerk: what comes in is measured and copied, and a panic stays inside.
//!
//! Invariants: no panic unwinds into C ([`guard`]); inputs are copied before a call returns;
//! outputs belong to the handle that they were read from; on failure nothing is written.
//!
//! # Safety, once for every function
//! A handle is null or was given out by this library and not freed; a string is null or ends with
//! a zero byte; a pointer with a length covers that many bytes; an output may be written to.
#![allow(clippy::missing_safety_doc, reason = "said once, above")]

#[cfg(panic = "abort")]
compile_error!("a panic must not take the host along: build with panic = \"unwind\"");

pub mod abi;
pub mod agent;
pub mod code;
pub mod commands;
pub mod contacts;
pub mod documents;
pub mod error;
pub mod events;
mod fixed;
mod fork;
mod guard;
pub mod layout;
pub mod leases;
pub mod log;
pub mod lookup;
pub mod metadata;
pub mod options;
mod post;
pub mod renewal;
pub mod snapshot;
pub mod text;
