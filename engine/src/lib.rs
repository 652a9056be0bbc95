//! Embeddable gossip membership over mutual TLS datagrams.
mod control;
pub mod io;
pub mod link;
mod metrics;
pub mod options;
mod orders;
pub mod settings;
mod shard;
mod shared;
pub mod snapshot;
pub mod tls;
mod trace;
mod wall;

#[cfg(feature = "bootstrap")]
pub mod bootstrap;

pub use control::HostEvent;
pub use mesh_gossip_proto as proto;
