//! What `docs/deploy` holds, against running agents and the binary: whoever deploys by it meets no
//! name that does not exist.

#[cfg(feature = "otlp")]
mod collector;
mod container;
mod documents;
mod exposition;
mod kubernetes;
mod promql;
mod supervised;
mod watching;
mod yaml;

use std::fs;
use std::path::PathBuf;

use crate::stage::Outcome;

/// A file below `docs`.
fn document(name: &str) -> Outcome<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()).into())
}
