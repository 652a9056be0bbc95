//! What the fuzz targets drive, as plain functions: `engine/fuzz` feeds them a fuzzer's inputs,
//! `engine/tests/corpora.rs` every input that was ever worth keeping.
//!
//! A target takes any bytes. It panics when a rule is broken, and at nothing else. Behind the
//! feature `fuzzing`; no part of the API.

mod certified;
mod credentials;
mod documents;
mod handshake;
mod header;
mod input;
mod messages;
mod names;
mod node;
mod seeds;
mod sessions;
mod settings;
mod sketches;
mod speech;
mod wire;

pub use credentials::credentials;
pub use documents::documents;
pub use handshake::handshake;
pub use header::header;
pub use messages::messages;
pub use node::node;
pub use seeds::seeds;
pub use sessions::sessions;
pub use settings::settings;
pub use sketches::sketches;

/// A target: the name of its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 9] = [
    ("header", header),
    ("handshake", handshake),
    ("messages", messages),
    ("documents", documents),
    ("settings", settings),
    ("credentials", credentials),
    ("sessions", sessions),
    ("node", node),
    ("sketches", sketches),
];
