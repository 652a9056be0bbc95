//! What `GET /omnirelay/control/lease-health` answers: who may be given work, as gossip knows it,
//! beside the leases that the host reports.
//!
//! Invariant: whether a peer is healthy follows from the view alone, so that one that came back is
//! healthy again without anybody's doing.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use mesh_gossip_proto::detector::contacts::Contact;
use mesh_gossip_proto::{Lifecycle, Member, MemberId, State, View};
use serde::Serialize;

use crate::orders::Inspection;
use crate::wall::{Moment, rfc3339};

/// Peers with leases, and leases of one, at most.
const MOST_PEERS: usize = 100_000;
const MOST_LEASES: usize = 10_000;
/// Longest name of a peer or a lease, bytes: the report is kept until the host says otherwise.
const LONGEST_NAME: usize = 1_024;

/// One lease, in the words of the host's queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// Place in the queue.
    pub sequence_id: i64,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// Its id.
    pub lease_id: String,
}

/// What a host knows of the work of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseReport {
    /// Assignments that the peer works on.
    pub active_assignments: u64,
    /// Those that have to be given to somebody else.
    pub pending_reassignments: u64,
    /// The leases that it holds.
    pub active_leases: Vec<Lease>,
}

/// The report was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseError {
    /// More peers than this have leases already.
    TooManyPeers(usize),
    /// More leases of one peer than this.
    TooManyLeases(usize),
    /// The peer's name is longer than this.
    TooLongName(usize),
    /// A lease's id is longer than this.
    TooLongLease(usize),
}

impl fmt::Display for LeaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyPeers(most) => write!(f, "{most} peers have reports, which is the limit"),
            Self::TooManyLeases(most) => write!(f, "a report holds {most} leases at most"),
            Self::TooLongName(most) => write!(f, "a peer's name has {most} bytes at most"),
            Self::TooLongLease(most) => write!(f, "a lease's id has {most} bytes at most"),
        }
    }
}

impl std::error::Error for LeaseError {}

/// The newest report of each peer.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<BTreeMap<String, LeaseReport>>);

impl Leases {
    /// Takes the place of what was said of this peer before; a report of nothing forgets it.
    pub(crate) fn report(&self, node_id: &str, report: LeaseReport) -> Result<(), LeaseError> {
        if report.active_leases.len() > MOST_LEASES {
            return Err(LeaseError::TooManyLeases(MOST_LEASES));
        }
        if node_id.len() > LONGEST_NAME {
            return Err(LeaseError::TooLongName(LONGEST_NAME));
        }
        if report.active_leases.iter().any(|lease| lease.lease_id.len() > LONGEST_NAME) {
            return Err(LeaseError::TooLongLease(LONGEST_NAME));
        }
        let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if report == LeaseReport::default() {
            reports.remove(node_id);
            return Ok(());
        }
        if reports.len() >= MOST_PEERS && !reports.contains_key(node_id) {
            return Err(LeaseError::TooManyPeers(MOST_PEERS));
        }
        reports.insert(node_id.to_owned(), report);
        Ok(())
    }

    fn all(&self) -> BTreeMap<String, LeaseReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The whole answer.
#[derive(Debug, Serialize)]
pub(crate) struct LeaseDocument {
    peers: Vec<LeasePeer>,
    summary: Summary,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LeasePeer {
    peer_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_heartbeat: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_disconnect: Option<String>,
    is_healthy: bool,
    active_assignments: u64,
    pending_reassignments: u64,
    active_leases: Vec<Lease>,
    metadata: BTreeMap<String, String>,
    /// Whether it may be given new work.
    #[serde(skip)]
    is_eligible: bool,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    eligible_peers: usize,
    unhealthy_peers: usize,
    pending_reassignments: u64,
}

/// The document for `view` and the host's reports. A peer that only the host knows is unhealthy.
pub(crate) fn lease_document(
    view: &View,
    inspection: &Inspection,
    leases: &Leases,
) -> LeaseDocument {
    let now = Moment { instant: inspection.now, wall: inspection.wall };
    let contacts: HashMap<MemberId, Contact> = inspection.contacts.iter().copied().collect();
    let mut reports = leases.all();
    let mut peers: Vec<LeasePeer> = Vec::new();
    for member in view.listed() {
        let report = reports.remove(&member.record.record().metadata.node_id).unwrap_or_default();
        peers.push(peer(member, contacts.get(&member.id()).copied(), now, report));
    }
    for (peer_id, report) in reports {
        let metadata = [("disconnect.reason".to_owned(), "gossip-unknown".to_owned())].into();
        peers.push(LeasePeer {
            peer_id,
            last_heartbeat: None,
            last_disconnect: None,
            is_healthy: false,
            active_assignments: report.active_assignments,
            pending_reassignments: report.pending_reassignments,
            active_leases: report.active_leases,
            metadata,
            is_eligible: false,
        });
    }
    peers.sort_unstable_by(|a, b| a.peer_id.cmp(&b.peer_id));
    let summary = Summary {
        eligible_peers: peers.iter().filter(|peer| peer.is_eligible).count(),
        unhealthy_peers: peers.iter().filter(|peer| !peer.is_healthy).count(),
        pending_reassignments: peers.iter().map(|peer| peer.pending_reassignments).sum(),
    };
    LeaseDocument { peers, summary }
}

fn peer(member: &Member, contact: Option<Contact>, now: Moment, report: LeaseReport) -> LeasePeer {
    let (record, is_healthy) = (member.record.record(), member.state == State::Alive);
    let said = &record.metadata;
    let mut metadata: BTreeMap<String, String> = [
        ("mesh.role", said.role.clone()),
        ("mesh.cluster", said.cluster_id.clone()),
        ("mesh.region", said.region.clone()),
        ("mesh.version", said.mesh_version.clone()),
        ("mesh.http3", said.http3_support.to_string()),
        ("mesh.lifecycle", record.lifecycle.as_str().to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    metadata
        .extend(said.labels.iter().map(|(name, value)| (format!("label.{name}"), value.clone())));
    let (heard, parted) =
        (contact.map(|contact| now.wall_of(contact.last)), now.wall_of(member.since));
    let (last_heartbeat, last_disconnect, why) = match member.state {
        State::Alive => (Some(now.wall), None, None),
        State::Suspect => (heard, Some(parted), Some("gossip-suspect")),
        State::Dead | State::Left => (heard, Some(parted), Some("gossip-left")),
    };
    metadata.extend(why.map(|why| ("disconnect.reason".to_owned(), why.to_owned())));
    LeasePeer {
        peer_id: said.node_id.clone(),
        last_heartbeat: last_heartbeat.map(rfc3339),
        last_disconnect: last_disconnect.map(rfc3339),
        is_healthy,
        active_assignments: report.active_assignments,
        pending_reassignments: report.pending_reassignments,
        active_leases: report.active_leases,
        metadata,
        is_eligible: is_healthy && record.lifecycle == Lifecycle::Active,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_bounded_and_an_empty_one_forgets() {
        let leases = Leases::default();
        let lease = Lease { sequence_id: 1, attempt: 1, lease_id: "l".into() };
        let of = |count| LeaseReport {
            active_leases: vec![lease.clone(); count],
            ..LeaseReport::default()
        };
        let refused = leases.report("a", of(MOST_LEASES + 1));
        assert_eq!(refused, Err(LeaseError::TooManyLeases(MOST_LEASES)));
        for number in 0..MOST_PEERS {
            leases.report(&number.to_string(), of(1)).unwrap();
        }
        assert_eq!(leases.report("a", of(1)), Err(LeaseError::TooManyPeers(MOST_PEERS)));
        let long = "l".repeat(LONGEST_NAME + 1);
        assert_eq!(leases.report(&long, of(1)), Err(LeaseError::TooLongName(LONGEST_NAME)));
        let mut report = of(2);
        report.active_leases[1].lease_id = long;
        assert_eq!(leases.report("7", report), Err(LeaseError::TooLongLease(LONGEST_NAME)));
        leases.report("7", of(2)).unwrap();
        leases.report("7", LeaseReport::default()).unwrap();
        assert_eq!(leases.report("a", of(1)), Ok(()));
    }
}
