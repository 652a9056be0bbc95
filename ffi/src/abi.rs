//! What the library is, so that a binding can check at load that header and library belong
//! together.
//!
//! Invariant: nothing here allocates, blocks or panics; every returned pointer is static.

use std::ffi::{CStr, c_char};

/// The ABI that this header describes; rises with every change that an older caller cannot live
/// with.
pub const MESH_GOSSIP_ABI_VERSION: u32 = 1;

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a package version holds no zero byte"),
    };

/// No optional part exists.
const FEATURES: u64 = 0;

/// The version of the ABI that this library implements.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub extern "C" fn mesh_gossip_abi_version() -> u32 {
    MESH_GOSSIP_ABI_VERSION
}

/// The version of the library, UTF-8, NUL-terminated, static.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub extern "C" fn mesh_gossip_version_string() -> *const c_char {
    VERSION.as_ptr()
}

/// The optional parts that this library was built with, one bit each.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub extern "C" fn mesh_gossip_features() -> u64 {
    FEATURES
}
