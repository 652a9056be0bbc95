//! What `GET /control/peers` answers, made from a view and an inspection.
//!
//! Invariant: the field order, the casing and the order of peers (ourselves first, then ordinal
//! by node id) are a contract with readers of the reference; our own fields come after theirs.

use std::collections::{BTreeMap, HashMap};

use mesh_gossip_proto::detector::contacts::Contact;
use mesh_gossip_proto::{LeftReason, Member, MemberId, State, View};
use serde::Serialize;

use super::selection::{Page, Selection};
use crate::orders::Inspection;
use crate::wall::{Moment, rfc3339};

/// The version of this document.
const SCHEMA_VERSION: &str = "v1";

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PeersDocument {
    /// Version of the document's schema.
    pub(crate) schema_version: &'static str,
    /// When the answer was made, RFC 3339.
    pub(crate) generated_at: String,
    /// Who answers.
    pub(crate) local_node_id: String,
    /// Every listed member that was asked for, the local one first.
    pub(crate) peers: Vec<Peer>,
    /// Where the next page begins: after this node id. There is none without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Peer {
    /// Name within the cluster.
    pub(crate) node_id: String,
    /// `Alive`, `Suspect` or `Left`.
    pub(crate) status: &'static str,
    /// The view's time for an alive member, else our own last contact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_seen: Option<String>,
    /// Smoothed round-trip time, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rtt_ms: Option<f64>,
    /// What the member says of itself.
    pub(crate) metadata: PeerMetadata,
    /// Readiness.
    pub(crate) lifecycle: &'static str,
    /// Life and version: generation and counter.
    pub(crate) incarnation: String,
    /// Why it is no longer a member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'static str>,
    /// When we last heard from it ourselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_contact: Option<String>,
}

/// A member's metadata document.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PeerMetadata {
    /// Role within the mesh.
    pub(crate) role: String,
    /// Cluster.
    pub(crate) cluster_id: String,
    /// Region.
    pub(crate) region: String,
    /// Version of the mesh software.
    pub(crate) mesh_version: String,
    /// Whether the host serves HTTP/3.
    pub(crate) http3_support: bool,
    /// Address that the host advertises.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// Rises with every change.
    pub(crate) metadata_version: u64,
    /// Free labels.
    pub(crate) labels: BTreeMap<String, String>,
}

/// The document for `view`, with the contacts of `inspection`, of the members and the page that are
/// asked for. `is_revoked` judges a record's envelope: a member that is gone by a revocation list
/// bears that reason.
pub(crate) fn peers_document(
    view: &View,
    inspection: &Inspection,
    asked: (&Selection, &Page),
    is_revoked: impl Fn(&[u8]) -> bool,
) -> PeersDocument {
    let (selection, page) = asked;
    let node_id = |member: &Member| member.record.record().metadata.node_id.clone();
    let mut members: Vec<&Member> =
        view.listed().filter(|member| selection.admits(member)).collect();
    members.sort_unstable_by_key(|member| place(view, member));
    let local = view.member(view.local());
    if let Some(after) = &page.after {
        let is_local = |local: &Member| local.record.record().metadata.node_id == *after;
        let place_before = (!local.is_some_and(is_local), after.as_str());
        members.retain(|member| place(view, member) > place_before);
    }
    let rest = page.limit.map_or(0, |limit| members.len().saturating_sub(limit));
    members.truncate(members.len() - rest);
    let next = if rest > 0 { members.last().copied().map(node_id) } else { None };
    PeersDocument {
        schema_version: SCHEMA_VERSION,
        generated_at: rfc3339(inspection.wall),
        local_node_id: local.map(node_id).unwrap_or_default(),
        peers: peers(members.into_iter(), inspection, is_revoked),
        next,
    }
}

/// These members as readers are told of them.
pub(crate) fn peers<'a>(
    members: impl Iterator<Item = &'a Member>,
    inspection: &Inspection,
    is_revoked: impl Fn(&[u8]) -> bool,
) -> Vec<Peer> {
    let moment = Moment { instant: inspection.now, wall: inspection.wall };
    let contacts: HashMap<MemberId, Contact> = inspection.contacts.iter().copied().collect();
    members
        .map(|member| {
            let reason = reason(member.state, || is_revoked(member.record.envelope()));
            peer(member, contacts.get(&member.id()).copied(), moment, reason)
        })
        .collect()
}

/// Where a member stands in the document: ourselves first, then ordinal by node id.
pub(crate) fn place<'a>(view: &View, member: &'a Member) -> (bool, &'a str) {
    (member.id() != view.local(), &member.record.record().metadata.node_id)
}

fn peer(
    member: &Member,
    contact: Option<Contact>,
    now: Moment,
    reason: Option<&'static str>,
) -> Peer {
    let record = member.record.record();
    let last_contact = contact.map(|contact| rfc3339(now.wall_of(contact.last)));
    let last_seen = match member.state {
        State::Alive => Some(rfc3339(now.wall)),
        State::Suspect | State::Dead | State::Left => last_contact.clone(),
    };
    let metadata = &record.metadata;
    Peer {
        node_id: metadata.node_id.clone(),
        status: status(member.state),
        last_seen,
        rtt_ms: contact.and_then(|contact| contact.rtt()).map(|(smoothed, _)| {
            // Microseconds: digits below them would be noise.
            smoothed.as_micros() as f64 / 1_000.0
        }),
        metadata: PeerMetadata {
            role: metadata.role.clone(),
            cluster_id: metadata.cluster_id.clone(),
            region: metadata.region.clone(),
            mesh_version: metadata.mesh_version.clone(),
            http3_support: metadata.http3_support,
            endpoint: Some(metadata.endpoint.clone()).filter(|endpoint| !endpoint.is_empty()),
            metadata_version: metadata.metadata_version,
            labels: metadata.labels.clone(),
        },
        lifecycle: record.lifecycle.as_str(),
        incarnation: record.incarnation.to_string(),
        reason,
        last_contact,
    }
}

/// The word for a state in JSON and logs; judged failed and left by its own word look alike to
/// the reference's readers.
pub(crate) fn status(state: State) -> &'static str {
    match state {
        State::Alive => "Alive",
        State::Suspect => "Suspect",
        State::Dead | State::Left => "Left",
    }
}

fn reason(state: State, is_revoked: impl Fn() -> bool) -> Option<&'static str> {
    match state {
        State::Alive | State::Suspect => None,
        State::Dead if is_revoked() => Some(LeftReason::Revoked.as_str()),
        State::Dead => Some(LeftReason::Failed.as_str()),
        State::Left => Some(LeftReason::Left.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::control::selection::selection;
    use crate::control::stage_tests::{Person, inspection, view};

    fn all(
        view: &View,
        inspection: &Inspection,
        is_revoked: impl Fn(&[u8]) -> bool,
    ) -> PeersDocument {
        peers_document(view, inspection, (&Selection::default(), &Page::default()), is_revoked)
    }

    fn asked(view: &View, query: &[(&str, &str)]) -> (Vec<String>, Option<String>) {
        let query: Vec<_> =
            query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (wanted, page) = selection(&query, true).unwrap();
        let document = peers_document(view, &inspection(), (&wanted, &page), |_| false);
        assert_eq!(document.local_node_id, "m", "whoever is selected");
        (document.peers.into_iter().map(|peer| peer.node_id).collect(), document.next)
    }

    fn literal() -> &'static str {
        concat!(
            r#"{"schemaVersion":"v1","generatedAt":"2024-05-01T12:00:00.250+00:00","#,
            r#""localNodeId":"m","peers":["#,
            r#"{"nodeId":"m","status":"Alive","lastSeen":"2024-05-01T12:00:00.250+00:00","#,
            r#""metadata":{"role":"worker","clusterId":"test","region":"eu","meshVersion":"1.0","#,
            r#""http3Support":true,"endpoint":"m:17421","metadataVersion":1,"#,
            r#""labels":{"rack":"r1"}},"lifecycle":"active","incarnation":"1000.0"},"#,
            r#"{"nodeId":"B","status":"Suspect","lastSeen":"2024-05-01T11:59:58.250+00:00","#,
            r#""rttMs":0.42,"metadata":{"role":"worker","clusterId":"test","region":"eu","#,
            r#""meshVersion":"1.0","http3Support":true,"endpoint":"B:17421","#,
            r#""metadataVersion":1,"labels":{"rack":"r1"}},"lifecycle":"active","#,
            r#""incarnation":"1000.0","lastContact":"2024-05-01T11:59:58.250+00:00"},"#,
            r#"{"nodeId":"a","status":"Left","metadata":{"role":"worker","clusterId":"test","#,
            r#""region":"eu","meshVersion":"1.0","http3Support":true,"endpoint":"a:17421","#,
            r#""metadataVersion":1,"labels":{"rack":"r1"}},"lifecycle":"active","#,
            r#""incarnation":"1000.0","reason":"failed"}]}"#,
        )
    }

    #[test]
    fn the_document_is_the_contract_to_the_byte() {
        let view = view(&[
            Person { name: "m", state: State::Alive },
            Person { name: "a", state: State::Dead },
            Person { name: "B", state: State::Suspect },
        ]);
        let mut inspection = inspection();
        let mut contact = Contact::new(inspection.now - Duration::from_secs(2));
        contact.measured(Duration::from_micros(420));
        inspection.contacts.push((MemberId::derive("test", "B"), contact));
        let document = all(&view, &inspection, |_| false);
        assert_eq!(serde_json::to_string(&document).unwrap(), literal());
    }

    #[test]
    fn a_signed_leave_and_a_failure_differ_only_by_reason() {
        let good = |state| reason(state, || false);
        assert_eq!((status(State::Left), good(State::Left)), ("Left", Some("left")));
        assert_eq!((status(State::Dead), good(State::Dead)), ("Left", Some("failed")));
        assert_eq!((status(State::Alive), good(State::Alive)), ("Alive", None));
    }

    /// Rule S-16: whoever is gone by a revocation list is told from who failed.
    #[test]
    fn the_dead_whose_certificate_is_revoked_bear_that_reason() {
        let people =
            [("m", State::Alive), ("a", State::Dead), ("b", State::Dead), ("c", State::Left)];
        let view = view(&people.map(|(name, state)| Person { name, state }));
        let revoked = |name| crate::control::stage_tests::record(name).envelope().to_vec();
        let revoked = ["m", "a", "c"].map(revoked);
        let is_revoked = |envelope: &[u8]| revoked.iter().any(|revoked| revoked == envelope);
        let document = all(&view, &inspection(), is_revoked);
        let reasons: Vec<_> =
            document.peers.iter().map(|peer| (peer.node_id.as_str(), peer.reason)).collect();
        let expected =
            [("m", None), ("a", Some("revoked")), ("b", Some("failed")), ("c", Some("left"))];
        assert_eq!(reasons, expected);
    }

    #[test]
    fn filters_of_one_key_are_alternatives_and_different_keys_all_hold() {
        let view = view(&[
            Person { name: "m", state: State::Alive },
            Person { name: "a", state: State::Dead },
            Person { name: "b", state: State::Suspect },
            Person { name: "c", state: State::Alive },
        ]);
        let names = |query: &[(&str, &str)]| asked(&view, query).0.join("");
        assert_eq!(names(&[]), "mabc");
        assert_eq!(names(&[("status", "left")]), "a");
        assert_eq!(names(&[("status", "Left"), ("status", "Suspect")]), "ab");
        assert_eq!(names(&[("status", "Alive"), ("region", "eu")]), "mc");
        assert_eq!(names(&[("status", "Alive"), ("region", "us")]), "");
        assert_eq!(names(&[("label.rack", "r1"), ("role", "worker")]), "mabc");
        assert_eq!(names(&[("label.rack", "r2")]), "");
        assert_eq!(names(&[("label.row", "r1")]), "");
        assert_eq!(names(&[("lifecycle", "draining")]), "");
        assert_eq!(names(&[("cluster", "test"), ("lifecycle", "active")]), "mabc");
    }

    #[test]
    fn pages_follow_the_documents_order_and_hold_everybody_once() {
        let names = ["m", "z", "a", "q", "b"];
        let view = view(&names.map(|name| Person { name, state: State::Alive }));
        let (first, next) = asked(&view, &[("limit", "2")]);
        assert_eq!((first.join(""), next.as_deref()), ("ma".into(), Some("a")));
        let (second, next) = asked(&view, &[("limit", "2"), ("after", "a")]);
        assert_eq!((second.join(""), next.as_deref()), ("bq".into(), Some("q")));
        let (third, next) = asked(&view, &[("limit", "2"), ("after", "q")]);
        assert_eq!((third.join(""), next), ("z".into(), None));
        let (rest, _) = asked(&view, &[("after", "m")]);
        assert_eq!(rest.join(""), "abqz", "ourselves come before everybody");
        let (rest, _) = asked(&view, &[("after", "gone")]);
        assert_eq!(rest.join(""), "qz", "a cursor outlives the member that it names");
    }
}
