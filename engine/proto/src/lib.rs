//! Gossip membership as a sans-IO state machine.
//!
//! Nothing here reads a clock, opens a socket, starts a thread or draws a random number by
//! itself: time, bytes and the seed are arguments, so the same [`Node`] runs in production and
//! in the simulator. The crate is `no_std`, which makes that a fact of the compiler.
//!
//! Layers, top down: [`node`] routes between the leaves; [`event`] is the whole boundary on one
//! page; the leaves (`detector`, `dissemination`, `sync`, `session`) never import each other;
//! below them lie the ground (`wire`, `membership`) and the vocabulary.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

// vocabulary
pub mod config;
pub mod error;
pub mod member;
pub mod metadata;
pub mod near;
pub mod time;
pub mod timers;

// ground
pub mod membership;
pub mod wire;

// leaves
pub mod batch;
pub mod detector;
pub mod dissemination;
pub mod leadership;
pub mod session;
pub mod sync;

// the boundary and the router
pub mod event;
pub mod node;

pub use config::{Baseline, Config, Detector, Fanout, Limits, Scope, ScopeError, ScopeKind};
pub use error::{CommandError, ConfigError, DecodeError, PeerError};
pub use event::{
    Alarm, Command, Destination, Event, Extent, LeftReason, Stats, StreamRequest, Timer, Transmit,
};
pub use member::{Incarnation, Lifecycle, MemberId, State};
pub use membership::broadcast::Broadcast;
pub use membership::record::{Authority, NodeRecord, RecordHash, Signature, SignedRecord};
pub use membership::table::{DenseTable, Member, MemberTable};
pub use membership::view::{Leader, View};
pub use metadata::{Metadata, Standing, Term};
pub use node::Node;
pub use time::{Duration, Instant, WallTime};
