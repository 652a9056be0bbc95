//! The documents of the control server, for a host that serves or reads them by itself.
//!
//! Invariant: a text is handed out only whole.

use std::ffi::c_char;
use std::time::Duration;

use engine::Agent;

use crate::agent::MeshGossipAgent;
use crate::code::MeshGossipResult;
use crate::error::{Failure, MeshGossipError};
use crate::guard::run_on;
use crate::text::{self, MeshGossipText};

/// Hands out a text of the agent's.
///
/// # Safety
/// As the crate's contract says of each of these.
pub(crate) unsafe fn hand_out<E: Into<Failure>>(
    agent: *const MeshGossipAgent,
    out: *mut *mut MeshGossipText,
    err: *mut *mut MeshGossipError,
    make: impl FnOnce(&Agent) -> Result<String, E>,
) -> MeshGossipResult {
    let body = |agent: &MeshGossipAgent| {
        if out.is_null() {
            return Err(Failure::argument("out", "is NULL"));
        }
        let text = MeshGossipText(agent.with(make)?.into_boxed_str());
        // SAFETY: not null, and writable as the crate's contract says.
        unsafe { out.write(Box::into_raw(Box::new(text))) };
        Ok(())
    };
    // SAFETY: handed on as promised.
    unsafe { run_on(agent, err, body) }
}

/// What `GET /control/peers` answers, waiting up to `timeout_ms` for the agent.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_peers_json(
    agent: *const MeshGossipAgent,
    timeout_ms: u64,
    out: *mut *mut MeshGossipText,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let make = |agent: &Agent| agent.peers_json(Duration::from_millis(timeout_ms));
    // SAFETY: handed on as the crate's contract says.
    unsafe { hand_out(agent, out, err, make) }
}

/// What `GET /control/leaders` answers, of the scope of this name or, for NULL, of all.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_leaders_json(
    agent: *const MeshGossipAgent,
    scope: *const c_char,
    timeout_ms: u64,
    out: *mut *mut MeshGossipText,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let make = |agent: &Agent| {
        // SAFETY: null or a string, as the crate's contract says.
        let scope = unsafe { text::optional(scope, "scope") }?;
        let timeout = Duration::from_millis(timeout_ms);
        agent.leaders_json(scope.as_deref(), timeout).map_err(Failure::from)
    };
    // SAFETY: handed on as the crate's contract says.
    unsafe { hand_out(agent, out, err, make) }
}

/// The metrics in Prometheus' text format.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_metrics_text(
    agent: *const MeshGossipAgent,
    timeout_ms: u64,
    out: *mut *mut MeshGossipText,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let make = |agent: &Agent| agent.metrics_text(Duration::from_millis(timeout_ms));
    // SAFETY: handed on as the crate's contract says.
    unsafe { hand_out(agent, out, err, make) }
}

/// The first full exchange with the mesh is done.
pub const MESH_GOSSIP_HEALTH_JOINED: u32 = 1;
/// It may be given work: joined, a member in its own view, and not draining.
pub const MESH_GOSSIP_HEALTH_READY: u32 = 2;
/// It hands its work over, or has done so.
pub const MESH_GOSSIP_HEALTH_DRAINING: u32 = 4;

/// How the agent is, `MESH_GOSSIP_HEALTH_*` bits; success means that it answers.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_health(
    agent: *const MeshGossipAgent,
    timeout_ms: u64,
    out: *mut u32,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = |agent: &MeshGossipAgent| {
        if out.is_null() {
            return Err(Failure::argument("out", "is NULL"));
        }
        let health = agent.with(|agent| agent.health(Duration::from_millis(timeout_ms)))?;
        let bits = [
            (health.joined, MESH_GOSSIP_HEALTH_JOINED),
            (health.is_ready(), MESH_GOSSIP_HEALTH_READY),
            (health.draining, MESH_GOSSIP_HEALTH_DRAINING),
        ];
        let health = bits.iter().filter(|(holds, _)| *holds).map(|(_, bit)| bit).sum();
        // SAFETY: not null, and writable as the crate's contract says.
        unsafe { out.write(health) };
        Ok(())
    };
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe { run_on(agent, err, body) }
}
