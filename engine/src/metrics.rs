//! Metrics of one agent: a Prometheus registry fed by events as they happen and by counters when
//! somebody looks.
//!
//! Invariant: every counter only rises. Totals that the protocol keeps already are copied at
//! [`Metrics::render`], never counted a second time here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use mesh_gossip_proto::{Event, LeftReason, State, View, WallTime};
use prometheus::{Gauge, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry, TextEncoder};

use crate::io::Backend;
use crate::options::PeerLabels;
use crate::orders::Inspection;
use crate::tls::trust::Trust;

mod control;
mod families;
mod floods;
mod identity;
mod lifecycles;
mod round_trips;
mod scraped;
mod shard;

use control::ControlCounts;
use families::{counter, counters, from_zero, gauge, gauges, real_gauge};
pub(crate) use round_trips::RoundTrips;
use scraped::Scraped;

/// Which side of a bulk exchange we were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncRole {
    /// We dialled.
    Requester,
    /// We answered.
    Responder,
}

impl SyncRole {
    fn as_str(self) -> &'static str {
        match self {
            Self::Requester => "requester",
            Self::Responder => "responder",
        }
    }
}

/// Metrics of one agent.
pub(crate) struct Metrics {
    registry: Registry,
    /// Held while totals are copied: two copies at a time would count twice.
    rendering: Mutex<()>,
    round_trip_family: HistogramVec,
    labels: PeerLabels,
    interval: Gauge,
    transitions: IntCounterVec,
    conflicts: IntCounter,
    alarms: IntCounterVec,
    leader_changes: IntCounterVec,
    events_lost: IntCounter,
    syncs: IntCounterVec,
    reloads: IntCounterVec,
    fetched_lists: IntCounterVec,
    #[cfg(feature = "bootstrap")]
    renewals: IntCounterVec,
    trust_epoch: IntGauge,
    revoked: IntGauge,
    list_age: IntGauge,
    list_due: IntGauge,
    /// Seconds since the epoch; zero: there is no list.
    oldest_list: AtomicU64,
    first_due: AtomicU64,
    certificate_expiry: IntGauge,
    /// Milliseconds since the epoch; zero: not known.
    certificate_not_after: AtomicU64,
    control: ControlCounts,
    scraped: Scraped,
}

impl Metrics {
    /// A registry of its own, with everything at zero.
    pub(crate) fn new(backend: Backend, labels: PeerLabels) -> Self {
        let registry = Registry::new();
        let r = &registry;
        constants(r, backend);
        Self {
            rendering: Mutex::new(()),
            round_trip_family: RoundTrips::family(r),
            labels,
            interval: real_gauge(
                r,
                "mesh_gossip_interval_seconds",
                "Time between probe rounds, as configured.",
            ),
            transitions: transitions(r),
            conflicts: counter(
                r,
                "mesh_gossip_conflicts_total",
                "Two different records that claim one incarnation.",
            ),
            alarms: alarms(r),
            leader_changes: leader_changes(r),
            events_lost: counter(
                r,
                "mesh_gossip_events_lost_total",
                "Events lost because an event queue was full.",
            ),
            syncs: counters(
                r,
                "mesh_gossip_syncs_total",
                "Bulk exchanges by side and outcome.",
                &["mesh_role", "mesh_outcome"],
            ),
            reloads: reloads(r),
            fetched_lists: fetched_lists(r),
            #[cfg(feature = "bootstrap")]
            renewals: renewals(r),
            trust_epoch: gauge(
                r,
                "mesh_gossip_trust_epoch",
                "Rises when anchors, thumbprints or revocation lists change.",
            ),
            revoked: gauge(r, "mesh_gossip_crl_entries", "Certificates revoked by lists in force."),
            list_age: gauge(
                r,
                "mesh_gossip_crl_age_seconds",
                "Age of the oldest revocation list in force; 0 without one.",
            ),
            list_due: gauge(
                r,
                "mesh_gossip_crl_due_seconds",
                "Seconds until the next revocation list is due, negative when overdue.",
            ),
            oldest_list: AtomicU64::new(0),
            first_due: AtomicU64::new(0),
            certificate_expiry: IntGauge::new(
                "mesh_gossip_certificate_expiry_seconds",
                "Seconds until our certificate expires.",
            )
            .expect("the name is well formed"),
            certificate_not_after: AtomicU64::new(0),
            control: ControlCounts::new(r),
            scraped: Scraped::new(r),
            registry,
        }
    }

    /// The recorder of round-trip times, which the shard owns: nobody shares a lock with it.
    pub(crate) fn round_trips(&self) -> RoundTrips {
        RoundTrips::new(self.round_trip_family.clone(), self.labels)
    }

    /// How often a round of probes begins: the measure of round-trip times and of lateness.
    pub(crate) fn interval_is(&self, interval: std::time::Duration) {
        self.interval.set(interval.as_secs_f64());
    }

    /// Counts what happened. Called on the shard's thread for every event.
    pub(crate) fn observe(&self, event: &Event) {
        match event {
            Event::Joined(_) => self.transition("joined"),
            Event::Recovered { record: _, previous } => {
                self.transition(match previous {
                    State::Alive | State::Suspect => "recovered",
                    State::Dead | State::Left => "returned",
                });
            }
            Event::Suspected { record: _, last_contact: _ } => self.transition("suspected"),
            Event::Left { record: _, reason } => {
                self.transition(match reason {
                    LeftReason::Left => "left",
                    LeftReason::Failed => "failed",
                    LeftReason::Revoked => "revoked",
                });
            }
            Event::Unreachable(_) => self.transition("unreachable"),
            Event::LeaderChanged { scope, leader: _, term: _, previous: _ } => {
                self.leader_changes.with_label_values(&[scope.name.as_str()]).inc();
            }
            Event::Conflict(_) => self.conflicts.inc(),
            Event::Alarm(alarm) => self.alarms.with_label_values(&[alarm.as_str()]).inc(),
            Event::Overflow(lost) | Event::Missed(lost) => self.events_lost(*lost),
            // Their totals are in the protocol's own counters and copied from there.
            Event::Updated(_)
            | Event::Forgotten(_)
            | Event::RoundTrip { peer: _, rtt: _ }
            | Event::Refuted(_)
            | Event::RecordRejected { from: _, error: _ }
            | Event::ProbeFailed(_)
            | Event::Broadcast { .. }
            | Event::Message { .. }
            | Event::JoinComplete
            | Event::LeaveComplete { acknowledged: _ } => {}
        }
    }

    /// So many events did not reach the host.
    pub(crate) fn events_lost(&self, lost: u64) {
        self.events_lost.inc_by(lost);
    }

    /// A bulk exchange ended; `outcome` is `complete`, or the reason of its failure.
    pub(crate) fn sync_ended(&self, role: SyncRole, outcome: &'static str) {
        self.syncs.with_label_values(&[role.as_str(), outcome]).inc();
    }

    /// A state was sent without some of the departed, for its size.
    pub(crate) fn state_cut(&self) {
        self.scraped.limit_reached("state");
    }

    /// Certificates, trust and revocation lists were read again.
    pub(crate) fn reloaded(&self, outcome: &'static str) {
        self.reloads.with_label_values(&[outcome]).inc();
    }

    /// A revocation list was asked of a member, or came along with its state.
    pub(crate) fn list_fetched(&self, outcome: &'static str) {
        self.fetched_lists.with_label_values(&[outcome]).inc();
    }

    /// The authority was asked for another certificate.
    #[cfg(feature = "bootstrap")]
    pub(crate) fn renewal_ended(&self, outcome: &'static str) {
        self.renewals.with_label_values(&[outcome]).inc();
    }

    /// The control server dropped a connection, or refused a request: why.
    pub(crate) fn control_dropped(&self, why: &'static str) {
        self.control.dropped.with_label_values(&[why]).inc();
    }

    /// So many more watch the members.
    pub(crate) fn control_watchers(&self, more: i64) {
        self.control.watchers.add(more);
    }

    /// What is trusted changed, or is looked at again.
    pub(crate) fn trust_is(&self, trust: &Trust) {
        self.trust_epoch.set(i64::try_from(trust.epoch()).unwrap_or(i64::MAX));
        let lists = trust.revocations().lists();
        let oldest = lists.map(|list| list.this_update().as_secs()).min();
        self.oldest_list.store(oldest.unwrap_or_default(), Ordering::Relaxed);
        let lists = trust.revocations().lists();
        let due = lists.map(|list| list.next_update().as_secs()).min();
        self.first_due.store(due.unwrap_or_default(), Ordering::Relaxed);
        self.revoked.set(trust.revocations().lists().map(|list| list.len() as i64).sum());
    }

    /// When our certificate expires.
    pub(crate) fn certificate_expires(&self, not_after: WallTime) {
        if self.certificate_not_after.swap(not_after.0, Ordering::Relaxed) == 0 {
            // A second registration is refused by the registry, which is what is wanted.
            let _ = self.registry.register(Box::new(self.certificate_expiry.clone()));
        }
    }

    /// The text that Prometheus scrapes, as of `inspection`.
    pub(crate) fn render(&self, view: &View, inspection: &Inspection) -> String {
        let _one_at_a_time = self.rendering.lock().unwrap_or_else(PoisonError::into_inner);
        self.scraped.copy(view, inspection);
        let not_after = self.certificate_not_after.load(Ordering::Relaxed);
        let left_ms = i128::from(not_after) - i128::from(inspection.wall.0);
        self.certificate_expiry.set(i64::try_from(left_ms / 1_000).unwrap_or(i64::MAX));
        let now = i64::try_from(inspection.wall.0 / 1_000).unwrap_or(i64::MAX);
        for (gauge, at, sign) in
            [(&self.list_age, &self.oldest_list, 1), (&self.list_due, &self.first_due, -1)]
        {
            let at = i64::try_from(at.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
            gauge.set(if at == 0 { 0 } else { sign * (now - at) });
        }
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("gathered families have names and values")
    }

    fn transition(&self, name: &str) {
        self.transitions.with_label_values(&[name]).inc();
    }
}

fn transitions(registry: &Registry) -> IntCounterVec {
    let name = "mesh_gossip_transitions_total";
    let family =
        counters(registry, name, "Transitions of members as seen here.", &["mesh_transition"]);
    from_zero(
        family,
        &[
            "joined",
            "recovered",
            "returned",
            "suspected",
            "left",
            "failed",
            "revoked",
            "unreachable",
        ],
    )
}

fn alarms(registry: &Registry) -> IntCounterVec {
    let family = counters(
        registry,
        "mesh_gossip_alarms_total",
        "What somebody has to look at: future-life, clock-off, two-certificates, ordered-out.",
        &["mesh_alarm"],
    );
    from_zero(family, &["future-life", "clock-off", "two-certificates", "ordered-out"])
}

fn reloads(registry: &Registry) -> IntCounterVec {
    let family = counters(
        registry,
        "mesh_gossip_credential_reloads_total",
        "Looks at certificate files and lists by outcome: renewed, unchanged, refused.",
        &["mesh_outcome"],
    );
    from_zero(family, &["renewed", "unchanged", "refused"])
}

fn leader_changes(registry: &Registry) -> IntCounterVec {
    counters(
        registry,
        "mesh_gossip_leader_changes_total",
        "Changes of a scope's leader, or of its term, as seen here.",
        &["mesh_scope"],
    )
}

fn fetched_lists(registry: &Registry) -> IntCounterVec {
    let family = counters(
        registry,
        "mesh_gossip_crl_fetches_total",
        "Revocation lists asked of members, by what came of it: fresh, known, or why not.",
        &["mesh_outcome"],
    );
    from_zero(family, &["fresh", "known", "failed"])
}

#[cfg(feature = "bootstrap")]
fn renewals(registry: &Registry) -> IntCounterVec {
    let family = counters(
        registry,
        "mesh_gossip_certificate_renewals_total",
        "Certificates asked of the authority: renewed, or why not.",
        &["mesh_outcome"],
    );
    from_zero(family, &["renewed"])
}

/// What never changes while an agent lives.
fn constants(registry: &Registry, backend: Backend) {
    gauges(registry, "mesh_gossip_io_backend_info", "The datagram backend in use.", "backend")
        .with_label_values(&[backend.as_str()])
        .set(1);
    // Targets of a round are drawn without replacement, so none can come twice.
    gauge(registry, "mesh_gossip_duplicate_targets", "Targets drawn twice in one gossip round.")
        .set(0);
}

#[cfg(test)]
mod tests;
