//! Round-trip times, by peer while there are few.
//!
//! A label per peer is what a person wants in a small mesh and what a time-series database cannot
//! bear in a large one. Without labels everything goes to the series whose label is empty, which
//! Prometheus treats as having none.
//!
//! The shard owns the recorder; a scrape sees the same histograms through the registry. Only
//! naming a peer takes the family's lock, and peers are named when they come.
//!
//! Invariant: a labelled series exists only for members in `named`, and those are bounded.

use std::collections::HashMap;
use std::time::Duration;

use mesh_gossip_proto::{Event, MemberId, SignedRecord, View};
use prometheus::{Histogram, HistogramOpts, HistogramVec, Registry};

use super::families::register;
use crate::options::PeerLabels;

/// `auto` names peers up to here.
const AUTO_AT_MOST: usize = 100;
/// Having stopped, `auto` names peers again only below this, lest a mesh of 100 flip with each
/// change.
const AUTO_AGAIN: usize = 80;
/// `on` names this many; later ones share the empty label. 10,000 series of 18 lines are about
/// 15 MB of text, more than any scrape should carry.
const ON_AT_MOST: usize = 10_000;

/// Milliseconds: loopback to a lost continent.
const BUCKETS_MS: [f64; 17] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0,
    5_000.0, 10_000.0,
];

struct Named {
    node_id: String,
    histogram: Histogram,
}

/// The histogram and whom its labels name.
pub(crate) struct RoundTrips {
    family: HistogramVec,
    everybody: Histogram,
    policy: PeerLabels,
    naming: bool,
    named: HashMap<MemberId, Named>,
}

impl RoundTrips {
    /// The family, registered.
    pub(super) fn family(registry: &Registry) -> HistogramVec {
        let options = HistogramOpts::new("mesh_gossip_rtt_ms", "Round-trip time of probes, ms.")
            .buckets(BUCKETS_MS.to_vec());
        let family = HistogramVec::new(options, &["mesh_peer"]).expect("the name is well formed");
        let family = register(registry, family);
        // A family shows only once it has a series.
        let _everybody = family.with_label_values(&[""]);
        family
    }

    pub(super) fn new(family: HistogramVec, policy: PeerLabels) -> Self {
        let naming = match policy {
            PeerLabels::Auto | PeerLabels::On => true,
            PeerLabels::Off => false,
        };
        let everybody = family.with_label_values(&[""]);
        Self { family, everybody, policy, naming, named: HashMap::new() }
    }

    /// Records a round trip, and follows who comes and goes.
    pub(crate) fn observe(&mut self, event: &Event) {
        match event {
            Event::RoundTrip { peer, rtt } => self.measured(*peer, *rtt),
            Event::Joined(record) | Event::Recovered { record, previous: _ } => self.known(record),
            Event::Left { record, reason: _ } => self.gone(record.record().id),
            Event::Forgotten(member) => self.gone(*member),
            Event::Updated(_)
            | Event::Suspected { record: _, last_contact: _ }
            | Event::Unreachable(_)
            | Event::LeaderChanged { scope: _, leader: _, term: _, previous: _ }
            | Event::Refuted(_)
            | Event::Conflict(_)
            | Event::Alarm(_)
            | Event::RecordRejected { from: _, error: _ }
            | Event::ProbeFailed(_)
            | Event::JoinComplete
            | Event::LeaveComplete { acknowledged: _ }
            | Event::Broadcast { .. }
            | Event::Message { .. }
            | Event::Missed(_)
            | Event::Overflow(_) => {}
        }
    }

    /// Names peers by another rule, and at once.
    pub(crate) fn set_policy(&mut self, policy: PeerLabels, view: &View) {
        if self.policy == policy {
            return;
        }
        self.stop_naming();
        self.policy = policy;
        self.naming = match policy {
            PeerLabels::Auto => view.counts().present() <= AUTO_AT_MOST,
            PeerLabels::On => true,
            PeerLabels::Off => false,
        };
        self.name_all(view);
    }

    /// Names peers again once they are few enough.
    pub(crate) fn resume_naming(&mut self, view: &View) {
        let few = view.counts().present() <= AUTO_AGAIN;
        if self.naming || self.policy != PeerLabels::Auto || !few {
            return;
        }
        self.naming = true;
        self.name_all(view);
    }

    fn name_all(&mut self, view: &View) {
        for member in view.members() {
            if member.state.is_present() && member.id() != view.local() {
                self.known(&member.record);
            }
        }
    }

    /// A member is present under this record.
    fn known(&mut self, record: &SignedRecord) {
        if !self.naming || self.named.contains_key(&record.record().id) {
            return;
        }
        match self.policy {
            PeerLabels::Auto if self.named.len() == AUTO_AT_MOST => self.stop_naming(),
            PeerLabels::On if self.named.len() == ON_AT_MOST => {}
            PeerLabels::Auto | PeerLabels::On => self.name(record),
            PeerLabels::Off => {}
        }
    }

    /// A member is present no longer.
    fn gone(&mut self, member: MemberId) {
        if let Some(named) = self.named.remove(&member) {
            self.forget(&named);
        }
    }

    /// A probe of `peer` took `rtt`.
    fn measured(&mut self, peer: MemberId, rtt: Duration) {
        let histogram = self.named.get(&peer).map_or(&self.everybody, |named| &named.histogram);
        histogram.observe(rtt.as_secs_f64() * 1_000.0);
    }

    fn name(&mut self, record: &SignedRecord) {
        let node_id = record.record().metadata.node_id.clone();
        let histogram = self.family.with_label_values(&[&node_id]);
        self.named.insert(record.record().id, Named { node_id, histogram });
    }

    fn stop_naming(&mut self) {
        self.naming = false;
        for named in std::mem::take(&mut self.named).into_values() {
            self.forget(&named);
        }
    }

    fn forget(&self, named: &Named) {
        // It exists: it was made when the member was named.
        let _ = self.family.remove_label_values(&[&named.node_id]);
    }
}
