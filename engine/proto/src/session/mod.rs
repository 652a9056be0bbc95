//! Sessions without TLS: packet numbers, replay, the handshake's byte stream, numbered places.

pub mod channel;
pub mod slots;
pub mod stream;
pub mod window;
