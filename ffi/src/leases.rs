//! The leases of a peer, as its host's queue counts them.
//!
//! Invariant: a report is taken whole, or a mistake changes nothing.

use std::ffi::c_char;

use engine::{Lease, LeaseReport};
use serde_json::Value;

use crate::agent::MeshGossipAgent;
use crate::code::{MESH_GOSSIP_ERR_ARGUMENT, MeshGossipResult};
use crate::documents::hand_out;
use crate::error::{Failure, MeshGossipError};
use crate::guard::run_on;
use crate::text::{self, MeshGossipText};

fn wrong(field: &str, why: std::fmt::Arguments<'_>) -> Failure {
    Failure::new(MESH_GOSSIP_ERR_ARGUMENT, format_args!("{field} {why}")).about(field)
}

/// A whole number that is not below zero.
fn count(field: &str, value: &Value) -> Result<u64, Failure> {
    let number = value.as_u64();
    number.ok_or_else(|| wrong(field, format_args!("is {value}, and no count")))
}

/// `path` names the lease among those of the report.
fn lease(path: &str, value: Value) -> Result<Lease, Failure> {
    let Value::Object(keys) = value else {
        return Err(wrong(path, format_args!("is no object")));
    };
    let (mut sequence_id, mut attempt, mut lease_id) = (None, None, None);
    for (key, value) in keys {
        let field = format!("{path}.{key}");
        match (key.as_str(), value) {
            ("sequenceId", value) => {
                let number = value.as_i64();
                let why = || wrong(&field, format_args!("is {value}, and no whole number"));
                sequence_id = Some(number.ok_or_else(why)?);
            }
            ("attempt", value) => {
                let number = u32::try_from(count(&field, &value)?);
                let why = |_| wrong(&field, format_args!("is {value}, which is too much"));
                attempt = Some(number.map_err(why)?);
            }
            ("leaseId", Value::String(id)) => lease_id = Some(id),
            ("leaseId", other) => {
                return Err(wrong(&field, format_args!("is {other}, and no string")));
            }
            (_, _) => {
                let known = "sequenceId, attempt and leaseId";
                return Err(wrong(&field, format_args!("is none of {known}")));
            }
        }
    }
    let missing = |key: &str| wrong(&format!("{path}.{key}"), format_args!("is missing"));
    Ok(Lease {
        sequence_id: sequence_id.ok_or_else(|| missing("sequenceId"))?,
        attempt: attempt.ok_or_else(|| missing("attempt"))?,
        lease_id: lease_id.ok_or_else(|| missing("leaseId"))?,
    })
}

fn parse(json: &str) -> Result<LeaseReport, Failure> {
    let value: Value = serde_json::from_str(json)
        .map_err(|error| wrong("json", format_args!("is no JSON: {error}")))?;
    let Value::Object(keys) = value else {
        return Err(wrong("json", format_args!("has to be an object")));
    };
    let mut report = LeaseReport::default();
    for (key, value) in keys {
        match (key.as_str(), value) {
            ("activeAssignments", value) => report.active_assignments = count(&key, &value)?,
            ("pendingReassignments", value) => report.pending_reassignments = count(&key, &value)?,
            ("activeLeases", Value::Array(leases)) => {
                for (index, value) in leases.into_iter().enumerate() {
                    let path = format!("activeLeases[{index}]");
                    report.active_leases.push(lease(&path, value)?);
                }
            }
            ("activeLeases", other) => {
                return Err(wrong(&key, format_args!("is {other}, and no array")));
            }
            (unknown, _) => {
                let known = "activeAssignments, pendingReassignments and activeLeases";
                return Err(wrong(unknown, format_args!("is none of {known}")));
            }
        }
    }
    Ok(report)
}

/// Tells what the host knows of the work of the peer with this name, in place of what it told
/// before: a JSON object with any of `activeAssignments`, `pendingReassignments` (counts) and
/// `activeLeases` (objects of `sequenceId`, `attempt` and `leaseId`, 10,000 at most). NULL, and a
/// report of nothing, forgets the peer. It stands in this agent's lease health and nowhere else.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_report_leases(
    agent: *const MeshGossipAgent,
    node_id: *const c_char,
    json: *const c_char,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = |agent: &MeshGossipAgent| {
        // SAFETY: null or a string, as the crate's contract says.
        let node_id = unsafe { text::required(node_id, "node_id") }?;
        // SAFETY: null or a string, as the crate's contract says.
        let json = unsafe { text::optional(json, "json") }?;
        if node_id.is_empty() {
            return Err(Failure::argument("node_id", "is empty"));
        }
        let report = json.as_deref().map(parse).transpose()?.unwrap_or_default();
        agent.with(|agent| agent.report_leases(&node_id, report))
    };
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe { run_on(agent, err, body) }
}

/// What `GET /control/lease-health` answers: who may be given work, and what was reported of whom.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_lease_health_json(
    agent: *const MeshGossipAgent,
    timeout_ms: u64,
    out: *mut *mut MeshGossipText,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let timeout = std::time::Duration::from_millis(timeout_ms);
    // SAFETY: handed on as the crate's contract says.
    unsafe { hand_out(agent, out, err, |agent| agent.lease_health_json(timeout)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> String {
        let error = parse(json).unwrap_err().into_object();
        // SAFETY: a live error.
        let field = unsafe { crate::error::mesh_gossip_error_field(&error) };
        // SAFETY: it has a field, which lives as long as the error.
        let field = unsafe { std::ffi::CStr::from_ptr(field) };
        field.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_report_is_read_whole_and_a_mistake_is_named() {
        let report = parse(
            r#"{"activeAssignments":2,"pendingReassignments":1,
                "activeLeases":[{"sequenceId":-7,"attempt":1,"leaseId":"l"}]}"#,
        );
        let report = report.unwrap();
        assert_eq!((report.active_assignments, report.pending_reassignments), (2, 1));
        let lease = Lease { sequence_id: -7, attempt: 1, lease_id: "l".into() };
        assert_eq!(report.active_leases, [lease]);
        assert_eq!(parse("{}").unwrap(), LeaseReport::default());
        for (json, field) in [
            ("[]", "json"),
            ("{", "json"),
            (r#"{"activeAssignments":-1}"#, "activeAssignments"),
            (r#"{"activeAssigments":1}"#, "activeAssigments"),
            (r#"{"activeLeases":{}}"#, "activeLeases"),
            (r#"{"activeLeases":[7]}"#, "activeLeases[0]"),
            (r#"{"activeLeases":[{"sequenceId":1,"attempt":1}]}"#, "activeLeases[0].leaseId"),
            (r#"{"activeLeases":[{"attempt":4294967296}]}"#, "activeLeases[0].attempt"),
            (r#"{"activeLeases":[{"sequenceId":1.5}]}"#, "activeLeases[0].sequenceId"),
            (r#"{"activeLeases":[{"leaseId":1}]}"#, "activeLeases[0].leaseId"),
            (r#"{"activeLeases":[{"id":1}]}"#, "activeLeases[0].id"),
        ] {
            assert_eq!(refused(json), field, "{json}");
        }
    }
}
