//! What an agent's own exchanges with others showed.
//!
//! It changes with every ping, and stands apart from the view for that: a view changes when a
//! member does.

use std::time::Duration;

use engine::{Agent, Inspection};

use crate::agent::MeshGossipAgent;
use crate::code::MeshGossipResult;
use crate::error::{Failure, MeshGossipError};
use crate::fixed::Fixed;
use crate::guard::{self, run_on};

/// Our own exchanges with one member.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshGossipContact {
    /// With whom.
    pub id: [u8; 16],
    /// When a datagram of it came last, Unix milliseconds.
    pub last_unix_ms: u64,
    /// Smoothed round-trip time, microseconds; 0: none was measured.
    pub rtt_us: u64,
}

const _: () = assert!(size_of::<MeshGossipContact>() == 32);

/// Contacts as of one moment, in no order: of the members that this agent has exchanged anything
/// with, which in a large mesh are some. Owned by the caller; freed with
/// `mesh_gossip_contacts_free`, before or after the agent.
pub struct MeshGossipContacts(Fixed<MeshGossipContact>);

fn contacts(inspection: &Inspection) -> Vec<MeshGossipContact> {
    let all = inspection.contacts.iter().map(|(id, contact)| {
        let ago = inspection.now.since(contact.last).as_millis();
        let ago = u64::try_from(ago).unwrap_or(u64::MAX);
        // Something was measured where there is a time, however short.
        let rtt = contact.rtt().map_or(0, |(smoothed, _)| smoothed.as_micros().max(1));
        MeshGossipContact {
            id: id.0,
            last_unix_ms: inspection.wall.0.saturating_sub(ago),
            rtt_us: u64::try_from(rtt).unwrap_or(u64::MAX),
        }
    });
    all.collect()
}

/// Round-trip times and last contacts, waiting up to `timeout_ms` for the agent.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_contacts(
    agent: *const MeshGossipAgent,
    timeout_ms: u64,
    out: *mut *mut MeshGossipContacts,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = |agent: &MeshGossipAgent| {
        if out.is_null() {
            return Err(Failure::argument("out", "is NULL"));
        }
        let timeout = Duration::from_millis(timeout_ms);
        let inspection = agent.with(|agent: &Agent| agent.inspect(timeout))?;
        let made = MeshGossipContacts(Fixed::of(contacts(&inspection)));
        // SAFETY: not null, and writable as the crate's contract says.
        unsafe { out.write(Box::into_raw(Box::new(made))) };
        Ok(())
    };
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe { run_on(agent, err, body) }
}

/// How many there are; 0 for NULL.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_contacts_len(contacts: *const MeshGossipContacts) -> usize {
    // SAFETY: null or live, as the crate's contract says.
    unsafe { guard::look_at(contacts, 0, |contacts| contacts.0.len()) }
}

/// The contact at `index`, borrowed from the contacts; NULL where there is none.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_contacts_at(
    contacts: *const MeshGossipContacts,
    index: usize,
) -> *const MeshGossipContact {
    // SAFETY: null or live, as the crate's contract says.
    unsafe { guard::look_at(contacts, std::ptr::null(), |contacts| contacts.0.at(index)) }
}

/// Bytes from one contact to the next: the first is `mesh_gossip_contacts_at(contacts, 0)`.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub extern "C" fn mesh_gossip_contacts_stride() -> usize {
    size_of::<MeshGossipContact>()
}

/// Frees contacts; NULL is fine.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_contacts_free(contacts: *mut MeshGossipContacts) {
    // SAFETY: it was made by `Box::into_raw` and is freed once.
    unsafe { guard::free(contacts) };
}
