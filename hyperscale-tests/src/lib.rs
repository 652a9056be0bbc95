//! The simulator: many nodes of the production protocol in virtual time, on a network of its own.
//!
//! Everything follows from the seed. A run can be repeated bit for bit, and its [trace
//! hash](World::trace_hash) proves that it was.

mod authority;
mod network;
mod trace;
mod world;

pub use network::Network;
pub use world::{Told, World};
