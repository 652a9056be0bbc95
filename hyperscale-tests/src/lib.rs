//! The simulator: many nodes of the production protocol in virtual time, on a network of its own. And
//! [real] agents on real sockets, which play the same scenarios.
//!
//! In virtual time everything follows from the seed. A run can be repeated bit for bit, and its [trace
//! hash](World::trace_hash) proves that it was.

mod authority;
pub mod checkers;
pub mod fault;
mod fetch;
pub mod flags;
mod hash;
pub mod ledger;
pub mod likeness;
pub mod measure;
pub mod mix;
pub mod network;
pub mod outcome;
pub mod plan;
mod pool;
pub mod progress;
pub mod real;
pub mod report;
pub mod scenario;
mod sessions;
mod shared_table;
pub mod suite;
mod table;
mod trace;
pub mod watch;
mod wheel;
pub mod words;
mod world;

pub use checkers::{Checkers, Violation};
pub use fault::{Fault, Fired};
pub use ledger::{Ledger, Sessions, Spent};
pub use network::Network;
pub use shared_table::SharedTable;
pub use table::SimTable;
pub use watch::{Roll, Told, Watch};
pub use world::{Behind, Settling, World};
