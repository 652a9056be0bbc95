//! What `GET /control/peers` answers, made from a view and an inspection.
//!
//! Invariant: the field order, the casing and the order of peers (ourselves first, then ordinal
//! by node id) are a contract with readers of the reference; our own fields come after theirs.

use std::collections::{BTreeMap, HashMap};

use mesh_gossip_proto::detector::contacts::Contact;
use mesh_gossip_proto::{Incarnation, LeftReason, Member, MemberId, State, View, WallTime};
use serde::{Serialize, Serializer};

use super::selection::{Page, Selection};
use crate::orders::Inspection;
use crate::wall::{Moment, rfc3339};

/// The version of this document.
const SCHEMA_VERSION: &str = "v1";

/// The whole answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PeersDocument<'a> {
    /// Version of the document's schema.
    pub(crate) schema_version: &'static str,
    /// When the answer was made, RFC 3339.
    #[serde(serialize_with = "stamp")]
    pub(crate) generated_at: WallTime,
    /// Who answers.
    pub(crate) local_node_id: &'a str,
    /// Every listed member that was asked for, the local one first.
    pub(crate) peers: Peers<'a>,
    /// Where the next page begins: after this node id. There is none without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<&'a str>,
}

/// Members as readers are told of them. Each is made when it is written: ten thousand beside each
/// other would be as much memory again as the answer.
pub(crate) struct Peers<'a> {
    members: Vec<&'a Member>,
    contacts: HashMap<MemberId, Contact>,
    now: Moment,
    is_revoked: &'a dyn Fn(&[u8]) -> bool,
}

impl<'a> Peers<'a> {
    /// With the contacts of `inspection`. `is_revoked` judges a record's envelope: a member that is
    /// gone by a revocation list bears that reason.
    pub(crate) fn new(
        members: Vec<&'a Member>,
        inspection: &Inspection,
        is_revoked: &'a dyn Fn(&[u8]) -> bool,
    ) -> Self {
        Self {
            members,
            contacts: inspection.contacts.iter().copied().collect(),
            now: Moment { instant: inspection.now, wall: inspection.wall },
            is_revoked,
        }
    }

    /// In the order of the members.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Peer<'a>> {
        self.members.iter().map(|member| {
            let contact = self.contacts.get(&member.id()).copied();
            let reason = reason(member.state, || (self.is_revoked)(member.record.envelope()));
            peer(member, contact, self.now, reason)
        })
    }
}

impl Serialize for Peers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// One member.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Peer<'a> {
    /// Name within the cluster.
    pub(crate) node_id: &'a str,
    /// `Alive`, `Suspect` or `Left`.
    pub(crate) status: &'static str,
    /// The view's time for an alive member, else our own last contact.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "stamps")]
    pub(crate) last_seen: Option<WallTime>,
    /// Smoothed round-trip time, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rtt_ms: Option<f64>,
    /// What the member says of itself.
    pub(crate) metadata: PeerMetadata<'a>,
    /// Readiness.
    pub(crate) lifecycle: &'static str,
    /// Life and version: generation and counter.
    #[serde(serialize_with = "text")]
    pub(crate) incarnation: Incarnation,
    /// Why it is no longer a member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'static str>,
    /// When we last heard from it ourselves.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "stamps")]
    pub(crate) last_contact: Option<WallTime>,
}

/// A member's metadata document.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PeerMetadata<'a> {
    /// Role within the mesh.
    pub(crate) role: &'a str,
    /// Cluster.
    pub(crate) cluster_id: &'a str,
    /// Region.
    pub(crate) region: &'a str,
    /// Version of the mesh software.
    pub(crate) mesh_version: &'a str,
    /// Whether the host serves HTTP/3.
    pub(crate) http3_support: bool,
    /// Address that the host advertises.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<&'a str>,
    /// Rises with every change.
    pub(crate) metadata_version: u64,
    /// Free labels.
    pub(crate) labels: &'a BTreeMap<String, String>,
}

fn text<S: Serializer>(incarnation: &Incarnation, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(incarnation)
}

fn stamp<S: Serializer>(wall: &WallTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*wall))
}

#[expect(clippy::ref_option, reason = "the form that serde asks for")]
fn stamps<S: Serializer>(wall: &Option<WallTime>, serializer: S) -> Result<S::Ok, S::Error> {
    wall.map(rfc3339).serialize(serializer)
}

/// The document for `view`, with the contacts of `inspection`, of the members and the page that are
/// asked for. `is_revoked` as in [`Peers::new`].
pub(crate) fn peers_document<'a>(
    view: &'a View,
    inspection: &Inspection,
    asked: (&Selection, &Page),
    is_revoked: &'a dyn Fn(&[u8]) -> bool,
) -> PeersDocument<'a> {
    let (selection, page) = asked;
    let mut members: Vec<&Member> =
        view.listed().filter(|member| selection.admits(member)).collect();
    // Each key is fetched once: the members lie all over the memory.
    members.sort_by_cached_key(|member| place(view, member));
    let local = view.member(view.local());
    if let Some(after) = &page.after {
        let is_local = |local: &Member| node_id(local) == *after;
        let place_before = (!local.is_some_and(is_local), after.as_str());
        members.retain(|member| place(view, member) > place_before);
    }
    let rest = page.limit.map_or(0, |limit| members.len().saturating_sub(limit));
    members.truncate(members.len() - rest);
    let next = if rest > 0 { members.last().copied().map(node_id) } else { None };
    PeersDocument {
        schema_version: SCHEMA_VERSION,
        generated_at: inspection.wall,
        local_node_id: local.map(node_id).unwrap_or_default(),
        peers: Peers::new(members, inspection, is_revoked),
        next,
    }
}

fn node_id(member: &Member) -> &str {
    &member.record.record().metadata.node_id
}

/// Where a member stands in the document: ourselves first, then ordinal by node id.
pub(crate) fn place<'a>(view: &View, member: &'a Member) -> (bool, &'a str) {
    (member.id() != view.local(), node_id(member))
}

fn peer<'a>(
    member: &'a Member,
    contact: Option<Contact>,
    now: Moment,
    reason: Option<&'static str>,
) -> Peer<'a> {
    let record = member.record.record();
    let last_contact = contact.map(|contact| now.wall_of(contact.last));
    let last_seen = match member.state {
        State::Alive => Some(now.wall),
        State::Suspect | State::Dead | State::Left => last_contact,
    };
    let metadata = &record.metadata;
    Peer {
        node_id: &metadata.node_id,
        status: status(member.state),
        last_seen,
        rtt_ms: contact.and_then(|contact| contact.rtt()).map(|(smoothed, _)| {
            // Microseconds: digits below them would be noise.
            smoothed.as_micros() as f64 / 1_000.0
        }),
        metadata: PeerMetadata {
            role: &metadata.role,
            cluster_id: &metadata.cluster_id,
            region: &metadata.region,
            mesh_version: &metadata.mesh_version,
            http3_support: metadata.http3_support,
            endpoint: Some(&*metadata.endpoint).filter(|endpoint| !endpoint.is_empty()),
            metadata_version: metadata.metadata_version,
            labels: &metadata.labels,
        },
        lifecycle: record.lifecycle.as_str(),
        incarnation: record.incarnation,
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

    fn all<'a>(
        view: &'a View,
        inspection: &Inspection,
        is_revoked: &'a dyn Fn(&[u8]) -> bool,
    ) -> PeersDocument<'a> {
        peers_document(view, inspection, (&Selection::default(), &Page::default()), is_revoked)
    }

    fn asked(view: &View, query: &[(&str, &str)]) -> (Vec<String>, Option<String>) {
        let query: Vec<_> =
            query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (wanted, page) = selection(&query, true).unwrap();
        let document = peers_document(view, &inspection(), (&wanted, &page), &|_| false);
        assert_eq!(document.local_node_id, "m", "whoever is selected");
        let names = document.peers.iter().map(|peer| peer.node_id.to_owned());
        (names.collect(), document.next.map(str::to_owned))
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
        let document = all(&view, &inspection, &|_| false);
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
        let document = all(&view, &inspection(), &is_revoked);
        let reasons: Vec<_> =
            document.peers.iter().map(|peer| (peer.node_id, peer.reason)).collect();
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
