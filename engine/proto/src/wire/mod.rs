//! Bytes on the wire: packet headers, sealed messages, and how they share a datagram.
pub mod message;
