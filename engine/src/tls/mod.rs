//! TLS: credentials, verification, handshakes over datagrams, session keys.

pub mod credentials;
pub mod identity;
