//! Strings and bytes on their way in, and long ones on their way out.
//!
//! Invariant: no more is read than the longest that is taken, and all of it is copied.

use std::ffi::c_char;
use std::slice;

use crate::code::{MESH_GOSSIP_ERR_TOO_LARGE, MESH_GOSSIP_ERR_UTF8};
use crate::error::Failure;
use crate::guard;

/// Longest string or content that a host may pass: a configuration with certificates in it.
pub(crate) const LONGEST: usize = 16 * 1_024 * 1_024;

/// A long text that its caller owns; freed with `mesh_gossip_text_free`.
pub struct MeshGossipText(pub(crate) Box<str>);

/// Copies a string; null is `None`.
///
/// # Safety
/// `text` is null or ends with a zero byte.
pub(crate) unsafe fn optional(text: *const c_char, name: &str) -> Result<Option<String>, Failure> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: reads up to the zero byte that the caller promises, or `LONGEST + 1` bytes.
    let length = unsafe { libc::strnlen(text, LONGEST + 1) };
    if length > LONGEST {
        return Err(too_large(name));
    }
    // SAFETY: `strnlen` has just read these bytes.
    let bytes = unsafe { slice::from_raw_parts(text.cast::<u8>(), length) };
    match str::from_utf8(bytes) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => {
            Err(Failure::new(MESH_GOSSIP_ERR_UTF8, format_args!("{name} is not UTF-8")).about(name))
        }
    }
}

/// Copies a string that must be there.
///
/// # Safety
/// As for [`optional`].
pub(crate) unsafe fn required(text: *const c_char, name: &str) -> Result<String, Failure> {
    // SAFETY: handed on as promised.
    unsafe { optional(text, name) }?.ok_or_else(|| Failure::argument(name, "is NULL"))
}

/// Copies bytes; null is fine where there are none.
///
/// # Safety
/// `data` covers `len` bytes.
pub(crate) unsafe fn bytes(data: *const u8, len: usize, name: &str) -> Result<Vec<u8>, Failure> {
    if len == 0 {
        return Ok(Vec::new());
    }
    if data.is_null() {
        return Err(Failure::argument(name, "is NULL"));
    }
    if len > LONGEST {
        return Err(too_large(name));
    }
    // SAFETY: not null, and the caller promises that many bytes.
    Ok(unsafe { slice::from_raw_parts(data, len) }.to_vec())
}

fn too_large(name: &str) -> Failure {
    let why = format_args!("{name} is longer than {LONGEST} bytes");
    Failure::new(MESH_GOSSIP_ERR_TOO_LARGE, why).about(name)
}

/// The text, UTF-8, without a zero byte at its end; NULL for NULL.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_text_data(text: *const MeshGossipText) -> *const u8 {
    // SAFETY: null or a live text, as the crate's contract says.
    unsafe { guard::look_at(text, std::ptr::null(), |text| text.0.as_ptr()) }
}

/// Length of the text in bytes; 0 for NULL.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_text_len(text: *const MeshGossipText) -> usize {
    // SAFETY: null or a live text, as the crate's contract says.
    unsafe { guard::look_at(text, 0, |text| text.0.len()) }
}

/// Frees a text; NULL is fine.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_text_free(text: *mut MeshGossipText) {
    // SAFETY: it was made by `Box::into_raw` and is freed once.
    unsafe { guard::free(text) };
}
