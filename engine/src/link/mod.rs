//! Links: sessions of one agent with its peers, and the handshakes that make them.

pub mod stats;
