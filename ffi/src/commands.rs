//! What a host asks of its agent.
//!
//! Invariant: success means that it is done and stands in the next snapshot.

use std::ffi::c_char;
use std::net::ToSocketAddrs;

use engine::proto::{Lifecycle, MemberId};

use crate::agent::MeshGossipAgent;
use crate::code::{MESH_GOSSIP_ERR_ARGUMENT, MESH_GOSSIP_ERR_IO, MeshGossipResult};
use crate::error::{Failure, MeshGossipError};
use crate::guard::run_on;
use crate::text;

/// Sets a label of this member; NULL as the value removes it. It stands in the next snapshot here;
/// other members take five changes of a member at once and then one a second, always the latest, so
/// that a long burst of changes settles there about a second after its end.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_set_label(
    agent: *const MeshGossipAgent,
    key: *const c_char,
    value: *const c_char,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = |agent: &MeshGossipAgent| {
        // SAFETY: null or a string, as the crate's contract says.
        let key = unsafe { text::required(key, "key") }?;
        // SAFETY: null or a string, as the crate's contract says.
        let value = unsafe { text::optional(value, "value") }?;
        agent.with(|agent| {
            agent.update_metadata(|metadata| {
                match &value {
                    Some(value) => metadata.labels.insert(key.clone(), value.clone()),
                    None => metadata.labels.remove(&key),
                };
            })
        })
    };
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe { run_on(agent, err, body) }
}

/// Publishes a lifecycle, `MESH_GOSSIP_LIFECYCLE_ACTIVE` to `_DRAINED`: cordon, drain, resume.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_set_lifecycle(
    agent: *const MeshGossipAgent,
    lifecycle: u32,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = |agent: &MeshGossipAgent| {
        let wanted = u8::try_from(lifecycle).ok().and_then(Lifecycle::from_wire);
        let wanted = wanted.filter(|wanted| *wanted != Lifecycle::Leaving);
        let wanted = wanted.ok_or_else(|| {
            let why =
                format_args!("{lifecycle} is no lifecycle that can be set; leave with _leave");
            Failure::new(MESH_GOSSIP_ERR_ARGUMENT, why).about("lifecycle")
        })?;
        agent.with(|agent| agent.set_lifecycle(wanted))
    };
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe { run_on(agent, err, body) }
}

/// Replaces the seeds, `count` strings `host:port`, that the host named before; those of the
/// settings stay beside them. Names are looked up here, which may take a while.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_join(
    agent: *const MeshGossipAgent,
    seeds: *const *const c_char,
    count: usize,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = |agent: &MeshGossipAgent| {
        if seeds.is_null() && count > 0 {
            return Err(Failure::argument("seeds", "is NULL"));
        }
        let mut addresses = Vec::new();
        for index in 0..count {
            // SAFETY: the crate's contract says that there are `count` of them.
            let seed = unsafe { seeds.add(index) };
            // SAFETY: likewise.
            let seed = unsafe { seed.read() };
            // SAFETY: null or a string, as the crate's contract says.
            let seed = unsafe { text::required(seed, "seeds") }?;
            let found = seed.to_socket_addrs().map_err(|error| {
                let why = format_args!("seed {seed:?}: {error}");
                Failure::new(MESH_GOSSIP_ERR_IO, why).about("seeds")
            })?;
            addresses.extend(found);
        }
        agent.with(|agent| agent.join(addresses))
    };
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe { run_on(agent, err, body) }
}

/// Obeys an operator's signed order that a member's life is over, and passes it on.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_force_leave(
    agent: *const MeshGossipAgent,
    order: *const u8,
    len: usize,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = |agent: &MeshGossipAgent| {
        // SAFETY: covers that many bytes, as the crate's contract says.
        let order = unsafe { text::bytes(order, len, "order") }?;
        agent.with(|agent| agent.force_leave(order))
    };
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe { run_on(agent, err, body) }
}

/// Reads certificate, key, trust and revocation lists again; returns once they are in force. What
/// cannot be read or does not hold changes nothing. A certificate of ours that peers would refuse is
/// `MESH_GOSSIP_ERR_CREDENTIALS` too: the one before stays, but new trust and lists are in force.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_reload(
    agent: *const MeshGossipAgent,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe {
        run_on(agent, err, |agent: &MeshGossipAgent| {
            agent.with(engine::Agent::reload).and_then(in_force)
        })
    }
}

/// Takes revocation lists, PEM or DER, beside those of the files. A list that does not count changes
/// nothing. Where our own certificate does not hold under them, they are in force and the call fails with
/// `MESH_GOSSIP_ERR_CREDENTIALS`.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_add_revocation_lists(
    agent: *const MeshGossipAgent,
    lists: *const u8,
    len: usize,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = |agent: &MeshGossipAgent| {
        // SAFETY: covers that many bytes, as the crate's contract says.
        let lists = unsafe { text::bytes(lists, len, "lists") }?;
        agent.with(|agent| agent.add_revocation_lists(&lists)).and_then(in_force)
    };
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe { run_on(agent, err, body) }
}

/// A certificate that peers would refuse is a failure, although new trust is in force.
pub(crate) fn in_force(renewed: engine::Renewed) -> Result<(), Failure> {
    match renewed.refused {
        None => Ok(()),
        Some(error) => Err(engine::RenewError::from(error).into()),
    }
}

/// Says something to every member: an EVENT_BROADCAST at each of their hosts. About 1,024 bytes
/// at most, 128 at once and 100 a second.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_broadcast(
    agent: *const MeshGossipAgent,
    topic: u16,
    data: *const u8,
    len: usize,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = |agent: &MeshGossipAgent| {
        // SAFETY: covers that many bytes, as the crate's contract says.
        let said = unsafe { text::bytes(data, len, "data") }?;
        agent.with(|agent| agent.broadcast(topic, &said))
    };
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe { run_on(agent, err, body) }
}

/// The same, in place of what this member said before under the same topic and `key`, where that
/// is still on its way: who has not heard it yet is spared it.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_broadcast_latest(
    agent: *const MeshGossipAgent,
    topic: u16,
    key: u64,
    data: *const u8,
    len: usize,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = |agent: &MeshGossipAgent| {
        // SAFETY: covers that many bytes, as the crate's contract says.
        let said = unsafe { text::bytes(data, len, "data") }?;
        agent.with(|agent| agent.broadcast_latest(topic, key, &said))
    };
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe { run_on(agent, err, body) }
}

/// Says something to the member with this id of 16 bytes: one datagram, which may be lost.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_send_to(
    agent: *const MeshGossipAgent,
    id: *const u8,
    topic: u16,
    data: *const u8,
    len: usize,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = |agent: &MeshGossipAgent| {
        if id.is_null() {
            return Err(Failure::argument("id", "is NULL"));
        }
        // SAFETY: not null, and 16 bytes as the crate's contract says.
        let to = MemberId(unsafe { id.cast::<[u8; 16]>().read() });
        // SAFETY: covers that many bytes, as the crate's contract says.
        let said = unsafe { text::bytes(data, len, "data") }?;
        agent.with(|agent| agent.send_to(to, topic, &said))
    };
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe { run_on(agent, err, body) }
}
