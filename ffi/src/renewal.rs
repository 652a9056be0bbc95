//! Credentials that a host hands over as bytes, from a store of secrets.
//!
//! Invariant: what would not hold changes nothing, and no copy of a key outlives its use unwiped.

use std::ffi::c_char;

use engine::options::{Material, TlsOptions};
use zeroize::Zeroizing;

use crate::agent::MeshGossipAgent;
use crate::code::MeshGossipResult;
use crate::commands::in_force;
use crate::error::{Failure, MeshGossipError};
use crate::guard::run_on;
use crate::text;

/// Copies a content; `None` where there is none.
///
/// # Safety
/// `data` covers `len` bytes.
unsafe fn material(data: *const u8, len: usize, name: &str) -> Result<Option<Material>, Failure> {
    // SAFETY: handed on as promised.
    let bytes = Zeroizing::new(unsafe { text::bytes(data, len, name) }?);
    Ok((len > 0).then_some(Material::Bytes(bytes)))
}

/// Puts these in place of certificate, key and trust: a PEM chain (leaf first), its PEM key, and
/// PEM trust anchors; or a PKCS#12 store as the certificate, with its password and no key. No key
/// (`key_len` 0) where the certificate's content holds it; no trust (`ca_len` 0) keeps that in
/// force. Returns once they are in force; what cannot be read or does not hold changes nothing. A
/// certificate that peers would refuse under this trust is `MESH_GOSSIP_ERR_CREDENTIALS` too: the one
/// before stays, but the new trust is in force. Trust domain, thumbprints and revocation stay as the
/// agent was started with.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_reload_certificates(
    agent: *const MeshGossipAgent,
    certificate: *const u8,
    certificate_len: usize,
    key: *const u8,
    key_len: usize,
    ca: *const u8,
    ca_len: usize,
    password: *const c_char,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = |agent: &MeshGossipAgent| {
        // SAFETY: covers that many bytes, as the crate's contract says.
        let certificate = unsafe { material(certificate, certificate_len, "certificate") }?;
        let certificate =
            certificate.ok_or_else(|| Failure::argument("certificate", "is empty"))?;
        // SAFETY: likewise.
        let key = unsafe { material(key, key_len, "key") }?;
        // SAFETY: likewise.
        let ca = unsafe { material(ca, ca_len, "ca") }?;
        // SAFETY: null or a string, as the crate's contract says.
        let password = unsafe { text::optional(password, "password") }?.map(Zeroizing::new);
        let change = |tls: TlsOptions| TlsOptions {
            certificate,
            key,
            password,
            ca: ca.unwrap_or_else(|| tls.ca.clone()),
            ..tls
        };
        agent.rotate(change).and_then(in_force)
    };
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe { run_on(agent, err, body) }
}
