//! Bytes on the wire; `docs/wire.md` draws them.
pub mod body;
pub mod header;
pub mod kind;
pub mod message;
pub mod parts;
