//! One log line a transition.
//!
//! The names of the fields and the event ids are those that operators of the reference already
//! search for; `NodeId` tells apart the agents of one process.
//!
//! Invariant: what a peer can repeat at will (refused records, conflicts) is told once per member
//! and reason above TRACE, so that nobody can fill a disk.

use std::collections::HashSet;
use std::net::SocketAddr;

use mesh_gossip_proto::{
    Alarm, Event, LeftReason, MemberId, PeerError, Scope, SignedRecord, State,
};

use tracing::Dispatch;
use tracing::dispatcher::DefaultGuard;
use tracing::subscriber::NoSubscriber;

use crate::control::peers::status;
use crate::io::Backend;
use crate::link::LinkEvent;
use crate::snapshot::Published;
use crate::wall::{Moment, rfc3339};

/// Members and reasons remembered as told; beyond it everything repeatable goes to TRACE.
const TOLD: usize = 1_024;

// Event ids of the reference.
const LISTENING: u32 = 1;
const SCHEMA_REJECTED: u32 = 2;
const JOINED: u32 = 3;
const RECOVERED: u32 = 4;
const SUSPECT: u32 = 5;
const LEFT: u32 = 6;
const REQUEST_FAILED: u32 = 7;

/// Makes a thread log where its starter logs. A process-wide subscriber, set before or after,
/// needs no help.
pub(crate) fn follow(dispatch: &Dispatch) -> Option<DefaultGuard> {
    (!dispatch.is::<NoSubscriber>()).then(|| tracing::dispatcher::set_default(dispatch))
}

/// The control socket is not there: changes need another way in.
pub(crate) fn no_socket(node_id: &str, path: &std::path::Path, error: &std::io::Error) {
    tracing::warn!(
        target: "mesh_gossip",
        NodeId = node_id,
        Path = %path.display(),
        Reason = %error,
        "no control socket: nobody can cordon or drain this agent from outside"
    );
}

/// An agent listens.
pub(crate) fn listening(node_id: &str, address: SocketAddr, fanout: usize, backend: Backend) {
    tracing::info!(
        target: "mesh_gossip",
        EventId = LISTENING,
        NodeId = node_id,
        Address = %address.ip(),
        Port = address.port(),
        Fanout = fanout,
        Backend = backend.as_str(),
        "mesh gossip listening"
    );
}

/// An exchange with a member did not come about.
pub(crate) fn request_failed(node_id: &str, target: &str, why: &dyn std::fmt::Display) {
    tracing::debug!(
        target: "mesh_gossip",
        EventId = REQUEST_FAILED,
        NodeId = node_id,
        Target = target,
        Reason = %why,
        "mesh gossip request failed"
    );
}

/// The log of one agent.
pub(crate) struct Tracer {
    node_id: String,
    told: HashSet<(MemberId, &'static str)>,
    /// Paths and reasons of handshakes that came to nothing.
    failed: HashSet<(SocketAddr, &'static str)>,
}

impl Tracer {
    /// For the agent of this name.
    pub(crate) fn new(node_id: &str) -> Self {
        Self { node_id: node_id.to_owned(), told: HashSet::new(), failed: HashSet::new() }
    }

    /// Writes what `event` is worth; `published` maps the shard's clock to wall time.
    pub(crate) fn event(&mut self, event: &Event, published: &Published) {
        let node_id = self.node_id.as_str();
        match event {
            Event::Joined(record) => joined(node_id, record),
            Event::Recovered { record, previous } => recovered(node_id, record, *previous),
            Event::Suspected { record, last_contact } => {
                let moment = Moment { instant: published.view.taken(), wall: published.at };
                let last_seen = last_contact.map(|last| rfc3339(moment.wall_of(last)));
                suspected(node_id, record, last_seen.as_deref());
            }
            Event::Unreachable(record) => tracing::warn!(
                target: "mesh_gossip",
                NodeId = node_id,
                PeerId = record.record().metadata.node_id,
                "mesh peer unreachable from here: nobody else can tell whether it lives"
            ),
            Event::Left { record, reason } => left(node_id, record, *reason),
            Event::LeaderChanged { scope, leader, term, previous } => {
                let name = |id: &Option<MemberId>| id.map(|id| name(id, published));
                let (leader, previous) = (name(leader), name(previous));
                leader_changed(node_id, scope, leader.as_deref(), *term, previous.as_deref());
            }
            Event::Updated(record) => updated(node_id, record),
            Event::Refuted(record) => refuted(node_id, record),
            Event::RecordRejected { from, error } => self.rejected(*from, error, published),
            Event::Conflict(member) => self.conflict(*member, published),
            Event::Alarm(alarm) => self.alarm(*alarm, published),
            Event::ProbeFailed(member) => {
                if tracing::enabled!(target: "mesh_gossip", tracing::Level::DEBUG) {
                    request_failed(node_id, &name(*member, published), &"the probe failed");
                }
            }
            Event::RoundTrip { peer, rtt } => tracing::trace!(
                target: "mesh_gossip",
                NodeId = node_id,
                Member = %peer,
                RttMs = rtt.as_secs_f64() * 1_000.0,
                "mesh round trip"
            ),
            Event::Forgotten(member) => tracing::debug!(
                target: "mesh_gossip",
                NodeId = node_id,
                Member = %member,
                "mesh peer forgotten"
            ),
            Event::JoinComplete => tracing::info!(
                target: "mesh_gossip",
                NodeId = node_id,
                Members = published.view.counts().present(),
                "mesh joined"
            ),
            // Its host asked for it and tells the outcome.
            Event::LeaveComplete { acknowledged } => tracing::debug!(
                target: "mesh_gossip",
                NodeId = node_id,
                Acknowledged = acknowledged,
                "mesh left"
            ),
            // For the host alone, and as many as it likes.
            Event::Broadcast { .. } | Event::Message { .. } => {}
            Event::Missed(lost) => tracing::debug!(
                target: "mesh_gossip",
                NodeId = node_id,
                Lost = lost,
                "broadcasts and messages lost: the host does not take them"
            ),
            Event::Overflow(lost) => tracing::warn!(
                target: "mesh_gossip",
                NodeId = node_id,
                Lost = lost,
                "mesh events lost: the view is the truth"
            ),
        }
    }

    /// Writes what a handshake that came to nothing is worth. Why a member cannot join is told
    /// once a path and reason; `joined` ones have other ways to their peers.
    pub(crate) fn link(&mut self, event: &LinkEvent, joined: bool) {
        let node_id = self.node_id.clone();
        match event {
            LinkEvent::Proven { .. } | LinkEvent::Ourselves { .. } => {}
            LinkEvent::Rejected { peer } => tracing::warn!(
                target: "mesh_gossip",
                NodeId = node_id,
                Peer = %peer,
                "a peer does not confirm our handshakes; it may not accept our certificate"
            ),
            LinkEvent::Fallen { peer, path, serial, reason } => tracing::warn!(
                target: "mesh_gossip",
                NodeId = node_id,
                Peer = %peer,
                Target = %path,
                Serial = %serial,
                Reason = reason,
                "mesh session ended: the peer's certificate counts no longer"
            ),
            LinkEvent::Failed { path, reason } => {
                let fresh = self.failed.len() < TOLD && self.failed.insert((*path, reason));
                if fresh && !joined {
                    tracing::warn!(
                        target: "mesh_gossip",
                        NodeId = node_id,
                        Target = %path,
                        Reason = reason,
                        "not joined yet: a handshake came to nothing; it is tried again"
                    );
                } else {
                    request_failed(&node_id, &path.to_string(), reason);
                }
            }
        }
    }

    /// Whether this is worth a line: the first time for this member and reason.
    fn first(&mut self, member: MemberId, reason: &'static str) -> bool {
        self.told.len() < TOLD && self.told.insert((member, reason))
    }

    fn rejected(&mut self, from: MemberId, error: &PeerError, published: &Published) {
        if !self.first(from, error.reason()) {
            tracing::trace!(
                target: "mesh_gossip",
                NodeId = self.node_id,
                Member = %from,
                Reason = %error,
                "mesh record rejected again"
            );
            return;
        }
        let schema = match error {
            PeerError::MetadataMissing(field) | PeerError::MetadataMismatch(field) => Some(*field),
            PeerError::Decode(_)
            | PeerError::ForeignCluster
            | PeerError::WrongId
            | PeerError::Signature(_)
            | PeerError::UnknownSigner
            | PeerError::Incarnation => None,
        };
        let peer = name(from, published);
        match schema {
            Some(field) => tracing::warn!(
                target: "mesh_gossip",
                EventId = SCHEMA_REJECTED,
                NodeId = self.node_id,
                PeerId = peer,
                Schema = field,
                Reason = %error,
                "mesh gossip schema rejected"
            ),
            None => tracing::warn!(
                target: "mesh_gossip",
                NodeId = self.node_id,
                PeerId = peer,
                Reason = %error,
                "mesh record rejected"
            ),
        }
    }

    fn alarm(&mut self, alarm: Alarm, published: &Published) {
        let node_id = &self.node_id;
        match alarm {
            Alarm::FutureLife { member, generation } => tracing::error!(
                target: "mesh_gossip",
                NodeId = node_id,
                PeerId = name(member, published),
                Generation = generation,
                "a peer's life begins more than ten minutes from now: its clock is ahead or ours \
                 is behind; its record is held until then"
            ),
            Alarm::ClockOff { ahead_ms } => tracing::error!(
                target: "mesh_gossip",
                NodeId = node_id,
                AheadMs = ahead_ms,
                "our clock and that of most seeds are more than ten minutes apart: this node says \
                 nothing until they are not; set the clock and start it again"
            ),
            Alarm::TwoCertificates(member) => tracing::error!(
                target: "mesh_gossip",
                NodeId = node_id,
                PeerId = name(member, published),
                "two holders of one node id: its records are signed under two certificates in turns"
            ),
            Alarm::OrderedOut(member) => tracing::warn!(
                target: "mesh_gossip",
                NodeId = node_id,
                PeerId = name(member, published),
                "an operator ordered this member out of the mesh"
            ),
        }
    }

    fn conflict(&mut self, member: MemberId, published: &Published) {
        if self.first(member, "conflict") {
            tracing::error!(
                target: "mesh_gossip",
                NodeId = self.node_id,
                PeerId = name(member, published),
                "two holders of one node id: two different records claim one incarnation"
            );
        }
    }
}

fn joined(node_id: &str, record: &SignedRecord) {
    let peer = &record.record().metadata;
    tracing::info!(
        target: "mesh_gossip",
        EventId = JOINED,
        NodeId = node_id,
        PeerId = peer.node_id,
        ClusterId = peer.cluster_id,
        Role = peer.role,
        Region = peer.region,
        Version = peer.mesh_version,
        Http3 = peer.http3_support,
        "mesh peer joined"
    );
}

fn recovered(node_id: &str, record: &SignedRecord, previous: State) {
    let peer = &record.record().metadata;
    tracing::info!(
        target: "mesh_gossip",
        EventId = RECOVERED,
        NodeId = node_id,
        PeerId = peer.node_id,
        PreviousStatus = status(previous),
        ClusterId = peer.cluster_id,
        Role = peer.role,
        "mesh peer recovered"
    );
}

fn suspected(node_id: &str, record: &SignedRecord, last_seen: Option<&str>) {
    let peer = &record.record().metadata;
    tracing::warn!(
        target: "mesh_gossip",
        EventId = SUSPECT,
        NodeId = node_id,
        PeerId = peer.node_id,
        ClusterId = peer.cluster_id,
        Role = peer.role,
        LastSeen = last_seen,
        "mesh peer suspect"
    );
}

fn left(node_id: &str, record: &SignedRecord, reason: LeftReason) {
    let peer = &record.record().metadata;
    tracing::warn!(
        target: "mesh_gossip",
        EventId = LEFT,
        NodeId = node_id,
        PeerId = peer.node_id,
        ClusterId = peer.cluster_id,
        Role = peer.role,
        Reason = reason.as_str(),
        "mesh peer left"
    );
}

/// Leaders are known by name; without one the field is left out.
fn leader_changed(
    node_id: &str,
    scope: &Scope,
    leader: Option<&str>,
    term: u64,
    previous: Option<&str>,
) {
    tracing::info!(
        target: "mesh_gossip",
        NodeId = node_id,
        Scope = scope.name,
        ScopeKind = scope.kind().as_str(),
        LeaderId = leader,
        Term = term,
        PreviousLeaderId = previous,
        "mesh leader changed"
    );
}

fn updated(node_id: &str, record: &SignedRecord) {
    let peer = &record.record().metadata;
    tracing::debug!(
        target: "mesh_gossip",
        NodeId = node_id,
        PeerId = peer.node_id,
        ClusterId = peer.cluster_id,
        Role = peer.role,
        Region = peer.region,
        Version = peer.mesh_version,
        Http3 = peer.http3_support,
        Lifecycle = record.record().lifecycle.as_str(),
        "mesh peer updated"
    );
}

fn refuted(node_id: &str, record: &SignedRecord) {
    tracing::info!(
        target: "mesh_gossip",
        NodeId = node_id,
        Incarnation = %record.record().incarnation,
        "mesh suspicion of ourselves refuted"
    );
}

/// The node id of a known member, else its member id.
fn name(member: MemberId, published: &Published) -> String {
    match published.view.member(member) {
        Some(member) => member.record.record().metadata.node_id.clone(),
        None => member.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mesh_gossip_proto::WallTime;

    use super::*;
    use crate::control::stage_tests::{Lines, Person, published, record};

    fn lines(act: impl FnOnce(&mut Tracer, &Published)) -> String {
        let lines = Lines::default();
        let published = Published {
            at: WallTime(1_714_564_800_250),
            ..published(&[Person { name: "me", state: State::Alive }])
        };
        tracing::subscriber::with_default(lines.subscriber(), || {
            act(&mut Tracer::new("me"), &published);
        });
        lines.text()
    }

    #[test]
    fn a_join_carries_every_field_of_the_reference() {
        let text = lines(|tracer, published| {
            tracer.event(&Event::Joined(record("p")), published);
        });
        for field in [
            "INFO mesh_gossip",
            "EventId=3",
            "NodeId=\"me\"",
            "PeerId=\"p\"",
            "ClusterId=\"test\"",
            "Role=\"worker\"",
            "Region=\"eu\"",
            "Version=\"1.0\"",
            "Http3=true",
        ] {
            assert!(text.contains(field), "{field} is missing in {text}");
        }
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn suspicion_recovery_and_departure_have_their_levels_ids_and_reasons() {
        let text = lines(|tracer, published| {
            let last = published.view.taken() - Duration::from_secs(1);
            let record = record("p");
            tracer.event(
                &Event::Suspected { record: record.clone(), last_contact: Some(last) },
                published,
            );
            tracer.event(
                &Event::Recovered { record: record.clone(), previous: State::Suspect },
                published,
            );
            tracer.event(&Event::Left { record, reason: LeftReason::Failed }, published);
        });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        for (line, parts) in lines.iter().zip([
            ["WARN", "EventId=5", "LastSeen=\"2024-05-01T11:59:59.250+00:00\""],
            ["INFO", "EventId=4", "PreviousStatus=\"Suspect\""],
            ["WARN", "EventId=6", "Reason=\"failed\""],
        ]) {
            assert!(parts.iter().all(|part| line.contains(part)), "{parts:?} in {line}");
        }
    }

    /// Rule R-4: the field that is missing is named, once.
    #[test]
    fn a_rejected_schema_is_told_once_however_often_it_comes() {
        let text = lines(|tracer, published| {
            let error = PeerError::MetadataMissing("role");
            for _ in 0..50 {
                let event = Event::RecordRejected { from: MemberId([7; 16]), error: error.clone() };
                tracer.event(&event, published);
                tracer.event(&Event::Conflict(MemberId([7; 16])), published);
            }
        });
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("EventId=2") && text.contains("Schema=\"role\""), "{text}");
    }

    #[test]
    fn listening_and_failed_requests_name_their_ends() {
        let text = lines(|tracer, published| {
            listening("me", "127.0.0.1:17421".parse().unwrap(), 5, Backend::Mmsg);
            tracer.event(&Event::ProbeFailed(MemberId([7; 16])), published);
        });
        assert!(text.contains("EventId=1") && text.contains("Address=127.0.0.1"), "{text}");
        assert!(text.contains("Port=17421") && text.contains("Fanout=5"), "{text}");
        assert!(text.contains("EventId=7") && text.contains("Target=\"0707"), "{text}");
    }
}
