//! Embeddable gossip membership over mutual TLS datagrams.
pub mod io;
pub mod settings;
pub mod tls;

#[cfg(feature = "bootstrap")]
pub mod bootstrap;

pub use mesh_gossip_proto as proto;
