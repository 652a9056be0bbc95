//! Metrics of one agent: a Prometheus registry fed by events as they happen and by counters when
//! somebody looks.
//!
//! Invariant: every counter only rises. Totals that the protocol keeps already are copied at
//! [`Metrics::render`], never counted a second time here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use mesh_gossip_proto::{Event, LeftReason, State, View, WallTime};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder};

use crate::io::Backend;
use crate::options::PeerLabels;
use crate::orders::Inspection;

mod families;
mod round_trips;

use families::{counter, counters, gauge, gauges, raise, raise_by};
use round_trips::RoundTrips;

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
    round_trips: Mutex<RoundTrips>,
    transitions: IntCounterVec,
    conflicts: IntCounter,
    events_lost: IntCounter,
    syncs: IntCounterVec,
    certificate_expiry: IntGauge,
    /// Milliseconds since the epoch; zero: not known.
    certificate_not_after: AtomicU64,
    scraped: Scraped,
}

/// What is copied at a scrape.
struct Scraped {
    members: IntGaugeVec,
    messages: IntCounterVec,
    view_size: IntGauge,
    fanout: IntGauge,
    agreement: IntGauge,
    awareness: IntGauge,
    queue_depth: IntGauge,
    sessions: IntGauge,
    half_open: IntGauge,
    probes: IntCounterVec,
    indirect_pings: IntCounter,
    nacks: IntCounter,
    suspicions: IntCounter,
    refutations: IntCounter,
    declared_dead: IntCounter,
    queue_dropped: IntCounter,
    updates: IntCounter,
    pulls: IntCounter,
    digests: IntCounterVec,
    handshakes: IntCounterVec,
    dials: IntCounter,
    dropped: IntCounterVec,
    rejected: IntCounterVec,
    bytes: IntCounterVec,
    handshake_bytes: IntCounter,
    io: IntCounterVec,
}

impl Metrics {
    /// A registry of its own, with everything at zero.
    pub(crate) fn new(backend: Backend, labels: PeerLabels) -> Self {
        let registry = Registry::new();
        let r = &registry;
        gauges(r, "mesh_gossip_io_backend_info", "The datagram backend in use.", "backend")
            .with_label_values(&[backend.as_str()])
            .set(1);
        // Targets of a round are drawn without replacement, so none can come twice.
        gauge(r, "mesh_gossip_duplicate_targets", "Targets drawn twice in one gossip round.")
            .set(0);
        Self {
            rendering: Mutex::new(()),
            round_trips: Mutex::new(RoundTrips::new(r, labels)),
            transitions: counters(
                r,
                "mesh_gossip_transitions_total",
                "Transitions of members as seen here.",
                &["mesh_transition"],
            ),
            conflicts: counter(
                r,
                "mesh_gossip_conflicts_total",
                "Two different records that claim one incarnation.",
            ),
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
            certificate_expiry: IntGauge::new(
                "mesh_gossip_certificate_expiry_seconds",
                "Seconds until our certificate expires.",
            )
            .expect("the name is well formed"),
            certificate_not_after: AtomicU64::new(0),
            scraped: Scraped::new(r),
            registry,
        }
    }

    /// Counts what happened. Called on the shard's thread for every event.
    pub(crate) fn observe(&self, event: &Event) {
        match event {
            Event::Joined(record) => {
                self.transition("joined");
                self.with_round_trips(|trips| trips.known(record));
            }
            Event::Recovered { record, previous } => {
                self.transition(match previous {
                    State::Alive | State::Suspect => "recovered",
                    State::Dead | State::Left => "returned",
                });
                self.with_round_trips(|trips| trips.known(record));
            }
            Event::Suspected { record: _, last_contact: _ } => self.transition("suspected"),
            Event::Left { record, reason } => {
                self.transition(match reason {
                    LeftReason::Left => "left",
                    LeftReason::Failed => "failed",
                });
                self.with_round_trips(|trips| trips.gone(record.record().id));
            }
            Event::Updated(record) => self.with_round_trips(|trips| trips.known(record)),
            Event::Forgotten(member) => self.with_round_trips(|trips| trips.gone(*member)),
            Event::RoundTrip { peer, rtt } => {
                self.with_round_trips(|trips| trips.observe(*peer, *rtt));
            }
            Event::Conflict(_) => self.conflicts.inc(),
            Event::Overflow(lost) => self.events_lost(*lost),
            // Their totals are in the protocol's own counters and copied from there.
            Event::Refuted(_)
            | Event::RecordRejected { from: _, error: _ }
            | Event::ProbeFailed(_)
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
        self.with_round_trips(|trips| trips.reconcile(view));
        self.scraped.copy(view, inspection);
        let not_after = self.certificate_not_after.load(Ordering::Relaxed);
        let left_ms = i128::from(not_after) - i128::from(inspection.wall.0);
        self.certificate_expiry.set(i64::try_from(left_ms / 1_000).unwrap_or(i64::MAX));
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("gathered families have names and values")
    }

    fn transition(&self, name: &str) {
        self.transitions.with_label_values(&[name]).inc();
    }

    fn with_round_trips(&self, act: impl FnOnce(&mut RoundTrips)) {
        act(&mut self.round_trips.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Scraped {
    fn new(r: &Registry) -> Self {
        let outcome = &["mesh_outcome"];
        let reason = &["mesh_reason"];
        Self {
            members: gauges(r, "mesh_gossip_members", "Members by status.", "mesh_status"),
            messages: counters(
                r,
                "mesh_gossip_messages_total",
                "Sealed datagrams by direction and outcome.",
                &["mesh_direction", "mesh_outcome"],
            ),
            view_size: gauge(r, "mesh_gossip_view_size", "Members present in our view."),
            fanout: gauge(r, "mesh_gossip_fanout", "Members that one gossip tick reaches."),
            agreement: gauge(r, "mesh_gossip_view_agreement", "1: the last digest equals ours."),
            awareness: gauge(r, "mesh_gossip_awareness", "Local health: 0 best, 8 worst."),
            queue_depth: gauge(r, "mesh_gossip_queue_depth", "Updates waiting for gossip."),
            sessions: gauge(r, "mesh_gossip_sessions", "Live sessions."),
            half_open: gauge(r, "mesh_gossip_sessions_half_open", "Handshakes under way."),
            probes: counters(r, "mesh_gossip_probes_total", "Probes by outcome.", outcome),
            indirect_pings: counter(r, "mesh_gossip_indirect_pings_total", "Relays asked."),
            nacks: counter(r, "mesh_gossip_nacks_total", "Nacks received."),
            suspicions: counter(r, "mesh_gossip_suspicions_total", "Suspicions begun here."),
            refutations: counter(
                r,
                "mesh_gossip_refutations_total",
                "Claims about ourselves that we refuted.",
            ),
            declared_dead: counter(
                r,
                "mesh_gossip_declared_dead_total",
                "Members declared failed by our own timer.",
            ),
            queue_dropped: counter(
                r,
                "mesh_gossip_queue_dropped_total",
                "Updates dropped because the queue was full.",
            ),
            updates: counter(r, "mesh_gossip_updates_total", "Updates sent."),
            pulls: counter(r, "mesh_gossip_pulls_total", "Records pulled."),
            digests: counters(
                r,
                "mesh_gossip_digests_total",
                "Digests received: equal to ours, or different.",
                outcome,
            ),
            handshakes: counters(
                r,
                "mesh_gossip_handshakes_total",
                "Handshakes by outcome and reason.",
                &["mesh_outcome", "mesh_reason"],
            ),
            dials: counter(r, "mesh_gossip_handshakes_dialled_total", "Handshakes begun by us."),
            dropped: counters(
                r,
                "mesh_gossip_datagrams_dropped_total",
                "Datagrams dropped on arrival, by reason.",
                reason,
            ),
            rejected: counters(
                r,
                "mesh_gossip_rejected_total",
                "Messages and records rejected, by reason.",
                reason,
            ),
            bytes: counters(
                r,
                "mesh_gossip_bytes_total",
                "Bytes of UDP payload by direction.",
                &["mesh_direction"],
            ),
            handshake_bytes: counter(
                r,
                "mesh_gossip_handshake_bytes_total",
                "Bytes of UDP payload sent for handshakes.",
            ),
            io: counters(
                r,
                "mesh_gossip_io_total",
                "The shard's datagram counters; agents of one shard share them.",
                &["mesh_io"],
            ),
        }
    }

    fn copy(&self, view: &View, inspection: &Inspection) {
        let counts = view.counts();
        for (status, count) in [
            ("alive", counts.alive),
            ("suspect", counts.suspect),
            ("left", counts.dead + counts.left),
        ] {
            self.members.with_label_values(&[status]).set(count as i64);
        }
        self.view_size.set(counts.present() as i64);
        self.fanout.set(inspection.fanout as i64);
        self.agreement.set(i64::from(inspection.agrees));
        self.copy_protocol(inspection);
        self.copy_links(inspection);
        let io = &inspection.io;
        for (name, total) in [
            ("received", io.received),
            ("sent", io.sent),
            ("send_failed", io.send_failed),
            ("truncated", io.truncated),
            ("syscalls", io.syscalls),
            ("out_of_buffers", io.out_of_buffers),
        ] {
            raise(&self.io.with_label_values(&[name]), total);
        }
    }

    fn copy_protocol(&self, inspection: &Inspection) {
        let stats = &inspection.stats;
        self.awareness.set(i64::from(stats.awareness));
        self.queue_depth.set(stats.queue_depth as i64);
        for (outcome, total) in [("acked", stats.probes_acked), ("failed", stats.probes_failed)] {
            raise(&self.probes.with_label_values(&[outcome]), total);
        }
        for (outcome, total) in [("equal", stats.digests_equal), ("differ", stats.digests_differ)] {
            raise(&self.digests.with_label_values(&[outcome]), total);
        }
        for (counter, total) in [
            (&self.indirect_pings, stats.indirect_pings),
            (&self.nacks, stats.nacks),
            (&self.suspicions, stats.suspicions),
            (&self.refutations, stats.refutations),
            (&self.declared_dead, stats.declared_dead),
            (&self.queue_dropped, stats.queue_dropped),
            (&self.updates, stats.updates_out),
            (&self.pulls, stats.pulls),
        ] {
            raise(counter, total);
        }
        raise_by(&self.rejected, &stats.rejected);
    }

    fn copy_links(&self, inspection: &Inspection) {
        let (links, io) = (&inspection.links, &inspection.io);
        let dropped: u64 = links.dropped.values().sum();
        for (direction, outcome, total) in [
            ("inbound", "success", links.opened),
            ("inbound", "failure", dropped),
            ("outbound", "success", links.sealed),
            ("outbound", "failure", links.unsent + io.send_failed),
        ] {
            raise(&self.messages.with_label_values(&[direction, outcome]), total);
        }
        for (direction, total) in [("inbound", links.bytes_in), ("outbound", links.bytes_out)] {
            raise(&self.bytes.with_label_values(&[direction]), total);
        }
        self.sessions.set(links.sessions as i64);
        self.half_open.set(links.half_open as i64);
        raise(&self.dials, links.dials);
        raise(&self.handshake_bytes, links.handshake_bytes_out);
        raise(&self.handshakes.with_label_values(&["success", "confirmed"]), links.confirmed);
        let failures: &BTreeMap<&'static str, u64> = &links.handshake_failures;
        for (reason, total) in failures {
            raise(&self.handshakes.with_label_values(&["failure", *reason]), *total);
        }
        raise_by(&self.dropped, &links.dropped);
    }
}

#[cfg(test)]
mod tests;
