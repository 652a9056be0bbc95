//! Families that are copied at a scrape from what the protocol, the links and the shard count.
//!
//! Invariant: no family here is touched outside a scrape, so the totals stand in one place.

use mesh_gossip_proto::{Stats, View};
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::families::{counter, counters, gauge, gauges, raise, raise_by, real_gauge, zeroed};
use super::floods::Floods;
use super::identity::Identity;
use super::lifecycles::Lifecycles;
use super::shard::Shard;
use crate::io::IoStats;
use crate::link::stats::LinkStats;
use crate::orders::Inspection;

/// Everything that is copied.
pub(super) struct Scraped {
    identity: Identity,
    members: IntGaugeVec,
    lifecycles: Lifecycles,
    view_size: IntGauge,
    fanout: IntGauge,
    agreement: IntGauge,
    leading: IntGaugeVec,
    terms: IntGaugeVec,
    queue_age: Gauge,
    messages: IntCounterVec,
    protocol: Protocol,
    hosts: Hosts,
    links: Links,
    io: IntCounterVec,
    receive_drops: IntCounter,
    shard: Shard,
}

impl Scraped {
    /// A limit outside the protocol was reached.
    pub(super) fn limit_reached(&self, limit: &str) {
        self.protocol.limit_reached(limit);
    }

    pub(super) fn new(r: &Registry) -> Self {
        Self {
            identity: Identity::new(r),
            members: gauges(r, "mesh_gossip_members", "Members by status.", "mesh_status"),
            lifecycles: Lifecycles::new(r),
            view_size: gauge(r, "mesh_gossip_view_size", "Members present in our view."),
            fanout: gauge(r, "mesh_gossip_fanout", "Members that one gossip tick reaches."),
            agreement: gauge(r, "mesh_gossip_view_agreement", "1: the last digest equals ours."),
            leading: gauges(
                r,
                "mesh_gossip_leader",
                "1: this member leads the scope, advice only; 0: another, or nobody.",
                "mesh_scope",
            ),
            terms: gauges(
                r,
                "mesh_gossip_leader_term",
                "The highest term of the scope that was told here.",
                "mesh_scope",
            ),
            messages: counters(
                r,
                "mesh_gossip_messages_total",
                "Sealed datagrams by direction and outcome.",
                &["mesh_direction", "mesh_outcome"],
            ),
            queue_age: real_gauge(
                r,
                "mesh_gossip_queue_age_seconds",
                "How long the oldest update or broadcast has waited to be sent for the first time.",
            ),
            protocol: Protocol::new(r),
            hosts: Hosts::new(r),
            links: Links::new(r),
            io: counters(
                r,
                "mesh_gossip_io_total",
                "The shard's datagram counters; agents of one shard share them.",
                &["mesh_io"],
            ),
            receive_drops: counter(
                r,
                "mesh_gossip_receive_drops_total",
                "Datagrams that the kernel dropped because our socket's buffer was full.",
            ),
            shard: Shard::new(r),
        }
    }

    pub(super) fn copy(&self, view: &View, inspection: &Inspection) {
        let counts = view.counts();
        for (status, count) in [
            ("alive", counts.alive),
            ("suspect", counts.suspect),
            ("left", counts.dead + counts.left),
        ] {
            self.members.with_label_values(&[status]).set(count as i64);
        }
        self.identity.copy(view);
        self.lifecycles.copy(view);
        self.view_size.set(counts.present() as i64);
        self.fanout.set(inspection.fanout as i64);
        self.agreement.set(i64::from(inspection.agrees));
        for leader in view.leaders() {
            let scope = [leader.scope.name.as_str()];
            let ours = leader.leader == Some(view.local());
            self.leading.with_label_values(&scope).set(i64::from(ours));
            self.terms.with_label_values(&scope).set(leader.term as i64);
        }
        self.queue_age.set(inspection.queue_age.as_secs_f64());
        self.protocol.copy(&inspection.stats);
        self.hosts.copy(&inspection.stats);
        self.links.copy(&inspection.links);
        self.copy_messages(&inspection.links, &inspection.io);
        self.copy_io(&inspection.io);
        raise(&self.receive_drops, inspection.receive_drops);
        self.shard.copy(&inspection.recorded);
    }

    fn copy_messages(&self, links: &LinkStats, io: &IoStats) {
        let dropped: u64 = links.dropped.values().sum();
        for (direction, outcome, total) in [
            ("inbound", "success", links.opened),
            ("inbound", "failure", dropped),
            ("outbound", "success", links.sealed),
            ("outbound", "failure", links.unsent + io.send_failed),
        ] {
            raise(&self.messages.with_label_values(&[direction, outcome]), total);
        }
    }

    fn copy_io(&self, io: &IoStats) {
        for (name, total) in [
            ("received", io.received),
            ("sent", io.sent),
            ("send_failed", io.send_failed),
            ("truncated", io.truncated),
            ("runs", io.runs),
            ("run_datagrams", io.run_datagrams),
            ("joined", io.joined),
            ("runs_refused", io.runs_refused),
            ("syscalls", io.syscalls),
            ("out_of_buffers", io.out_of_buffers),
            ("overflows", io.overflows),
            ("spins", io.spins),
            ("spins_paid", io.spins_paid),
        ] {
            raise(&self.io.with_label_values(&[name]), total);
        }
    }
}

/// The protocol's own counters.
struct Protocol {
    awareness: IntGauge,
    rounds: IntCounter,
    queue_depth: IntGauge,
    probes: IntCounterVec,
    indirect_pings: IntCounter,
    nacks: IntCounter,
    stalls: IntCounter,
    suspicions: IntCounter,
    refutations: IntCounter,
    declared_dead: IntCounter,
    queue_dropped: IntCounter,
    updates: IntCounter,
    pulls: IntCounter,
    tickets: IntCounterVec,
    rejected: IntCounterVec,
    limits: IntCounterVec,
    views: Views,
    observers: Observers,
}

impl Protocol {
    fn new(r: &Registry) -> Self {
        let outcome = &["mesh_outcome"];
        let total = |name, help| counter(r, name, help);
        Self {
            awareness: gauge(r, "mesh_gossip_awareness", "Local health: 0 best, 8 worst."),
            rounds: total("mesh_gossip_probe_rounds_total", "Rounds of probes whose time came."),
            queue_depth: gauge(r, "mesh_gossip_queue_depth", "Updates waiting for gossip."),
            probes: counters(r, "mesh_gossip_probes_total", "Probes by outcome.", outcome),
            indirect_pings: total("mesh_gossip_indirect_pings_total", "Relays asked."),
            nacks: total("mesh_gossip_nacks_total", "Nacks received."),
            stalls: total("mesh_gossip_stalls_total", "Stalls of our own that were forgiven."),
            suspicions: total("mesh_gossip_suspicions_total", "Suspicions begun here."),
            refutations: total(
                "mesh_gossip_refutations_total",
                "Claims about ourselves that we refuted.",
            ),
            declared_dead: total(
                "mesh_gossip_declared_dead_total",
                "Members declared failed by our own verdict.",
            ),
            queue_dropped: total(
                "mesh_gossip_queue_dropped_total",
                "Updates dropped because the queue was full.",
            ),
            updates: total("mesh_gossip_updates_total", "Updates sent."),
            pulls: total("mesh_gossip_pulls_total", "Records pulled."),
            tickets: counters(
                r,
                "mesh_gossip_tickets_total",
                "Joiners answered: granted our state, or pointed elsewhere.",
                outcome,
            ),
            rejected: zeroed(
                r,
                "mesh_gossip_rejected_total",
                "Messages and records rejected, by reason.",
                ("mesh_reason", &["decode"]),
            ),
            limits: counters(
                r,
                "mesh_gossip_limit_reached_total",
                "What was refused, dropped or displaced because a limit was reached, by limit.",
                &["mesh_limit"],
            ),
            views: Views::new(r),
            observers: Observers::new(r),
        }
    }

    fn limit_reached(&self, limit: &str) {
        self.limits.with_label_values(&[limit]).inc();
    }

    fn copy(&self, stats: &Stats) {
        self.awareness.set(i64::from(stats.awareness));
        self.queue_depth.set(stats.queue_depth as i64);
        for (outcome, total) in [("acked", stats.probes_acked), ("failed", stats.probes_failed)] {
            raise(&self.probes.with_label_values(&[outcome]), total);
        }
        let (granted, elsewhere) = (stats.states_granted, stats.states_elsewhere);
        for (outcome, total) in [("granted", granted), ("elsewhere", elsewhere)] {
            raise(&self.tickets.with_label_values(&[outcome]), total);
        }
        for (counter, total) in [
            (&self.rounds, stats.probe_rounds),
            (&self.indirect_pings, stats.indirect_pings),
            (&self.nacks, stats.nacks),
            (&self.stalls, stats.stalls),
            (&self.suspicions, stats.suspicions),
            (&self.refutations, stats.refutations),
            (&self.declared_dead, stats.declared_dead),
            (&self.queue_dropped, stats.queue_dropped),
            (&self.updates, stats.updates_out),
            (&self.pulls, stats.pulls),
        ] {
            raise(counter, total);
        }
        for (limit, total) in [
            ("members", stats.members_refused),
            ("departed", stats.members_displaced),
            ("queue", stats.queue_dropped),
            ("outbox", stats.outbox_refused),
            ("pulls", stats.pulls_refused),
            ("relays", stats.relays_refused),
            ("tests", stats.tests_refused),
            ("proofs", stats.proofs_dropped),
            ("events", stats.events_lost),
        ] {
            raise(&self.limits.with_label_values(&[limit]), total);
        }
        raise_by(&self.rejected, &stats.rejected);
        self.views.copy(stats);
        self.observers.copy(stats);
    }
}

/// How far views agree, and what is done about it.
struct Views {
    digests: IntCounterVec,
    sketches: IntCounterVec,
    syncs_avoided: IntCounter,
    reconciliations: IntCounter,
    storms: IntCounter,
    unexplained: IntCounter,
}

impl Views {
    fn new(r: &Registry) -> Self {
        let outcome = &["mesh_outcome"];
        let total = |name, help| counter(r, name, help);
        Self {
            digests: counters(
                r,
                "mesh_gossip_digests_total",
                "Digests received: equal to ours, or different.",
                outcome,
            ),
            sketches: counters(
                r,
                "mesh_gossip_sketches_total",
                "Sketches of views: sent, and those of others that told the differences or failed to.",
                outcome,
            ),
            syncs_avoided: total(
                "mesh_gossip_syncs_avoided_total",
                "Lasting differences that were settled without a bulk exchange.",
            ),
            reconciliations: total(
                "mesh_gossip_reconciliations_total",
                "Rounds begun to settle a lasting difference.",
            ),
            storms: total(
                "mesh_gossip_storms_total",
                "Times that so much changed that rounds were begun twice a second.",
            ),
            unexplained: total(
                "mesh_gossip_differences_unexplained_total",
                "Digests whose difference from ours none of our latest changes explained.",
            ),
        }
    }

    fn copy(&self, stats: &Stats) {
        for (outcome, total) in [("equal", stats.digests_equal), ("differ", stats.digests_differ)] {
            raise(&self.digests.with_label_values(&[outcome]), total);
        }
        for (outcome, total) in [
            ("sent", stats.sketches),
            ("decoded", stats.sketches_decoded),
            ("failed", stats.sketches_failed),
        ] {
            raise(&self.sketches.with_label_values(&[outcome]), total);
        }
        for (counter, total) in [
            (&self.syncs_avoided, stats.syncs_avoided),
            (&self.reconciliations, stats.rounds),
            (&self.storms, stats.storms),
            (&self.unexplained, stats.unexplained),
        ] {
            raise(counter, total);
        }
    }
}

/// What hosts say to each other.
struct Hosts {
    broadcasts: IntCounterVec,
    copies: IntCounter,
    waiting: IntGauge,
    messages: IntCounterVec,
    missed: IntCounter,
}

impl Hosts {
    fn new(r: &Registry) -> Self {
        Self {
            broadcasts: counters(
                r,
                "mesh_gossip_broadcasts_total",
                "Broadcasts of hosts: said, heard, duplicate, superseded, dropped, held.",
                &["mesh_outcome"],
            ),
            copies: counter(r, "mesh_gossip_broadcast_copies_total", "Copies of broadcasts sent."),
            waiting: gauge(r, "mesh_gossip_broadcasts_waiting", "Broadcasts waiting for gossip."),
            messages: counters(
                r,
                "mesh_gossip_direct_messages_total",
                "Messages of hosts to single members, by direction.",
                &["mesh_direction"],
            ),
            missed: counter(
                r,
                "mesh_gossip_host_missed_total",
                "Broadcasts and messages lost in the protocol because nobody took them.",
            ),
        }
    }

    fn copy(&self, stats: &Stats) {
        for (outcome, total) in [
            ("said", stats.broadcasts_said),
            ("heard", stats.broadcasts_heard),
            ("duplicate", stats.broadcasts_duplicate),
            ("superseded", stats.broadcasts_superseded),
            ("dropped", stats.broadcasts_dropped),
            ("held", stats.broadcasts_held),
        ] {
            raise(&self.broadcasts.with_label_values(&[outcome]), total);
        }
        for (direction, total) in
            [("outbound", stats.messages_said), ("inbound", stats.messages_heard)]
        {
            raise(&self.messages.with_label_values(&[direction]), total);
        }
        raise(&self.copies, stats.broadcasts_out);
        raise(&self.missed, stats.broadcasts_missed);
        self.waiting.set(stats.broadcasts_waiting as i64);
    }
}

/// What the detector `observers` counts.
struct Observers {
    baseline: Gauge,
    tests: IntCounterVec,
    cases: IntCounter,
    verifies: IntCounter,
    votes: IntCounter,
    unreachable: IntCounter,
    proofs: IntCounter,
}

impl Observers {
    fn new(r: &Registry) -> Self {
        let total = |name, help| counter(r, name, help);
        Self {
            baseline: real_gauge(
                r,
                "mesh_gossip_baseline_ratio",
                "Share of pings to living members that are answered in time, estimated.",
            ),
            tests: counters(
                r,
                "mesh_gossip_tests_total",
                "Tests of doubted members: begun, or refused because too many were open.",
                &["mesh_outcome"],
            ),
            cases: total("mesh_gossip_cases_total", "Cases opened: others were to be asked."),
            verifies: total("mesh_gossip_verifies_total", "Questions sent to other observers."),
            votes: total("mesh_gossip_votes_total", "Votes sent to who asked."),
            unreachable: total("mesh_gossip_unreachable_total", "Members marked unreachable here."),
            proofs: total("mesh_gossip_proofs_pulled_total", "Proofs of death asked for."),
        }
    }

    fn copy(&self, stats: &Stats) {
        self.baseline.set(f64::from(stats.baseline_permille) / 1_000.0);
        for (outcome, total) in [("begun", stats.tests), ("refused", stats.tests_refused)] {
            raise(&self.tests.with_label_values(&[outcome]), total);
        }
        for (counter, total) in [
            (&self.cases, stats.cases),
            (&self.verifies, stats.verifies),
            (&self.votes, stats.votes),
            (&self.unreachable, stats.unreachable),
            (&self.proofs, stats.proofs_pulled),
        ] {
            raise(counter, total);
        }
    }
}

/// The links' sessions.
struct Sessions {
    sessions: IntGauge,
    hot: IntGauge,
    dehydrated: IntGauge,
    outdated: IntGauge,
    idled: IntCounter,
    evicted: IntCounter,
    rehydrated: IntCounter,
    fallen: IntCounterVec,
    doubts: IntCounterVec,
    rekeys: IntCounter,
}

impl Sessions {
    fn new(r: &Registry) -> Self {
        Self {
            sessions: gauge(r, "mesh_gossip_sessions", "Live sessions."),
            hot: gauge(
                r,
                "mesh_gossip_sessions_hot",
                "Live sessions whose keys are expanded, ready for use.",
            ),
            dehydrated: gauge(
                r,
                "mesh_gossip_sessions_dehydrated",
                "Live sessions at rest, which keep only their secrets.",
            ),
            outdated: gauge(
                r,
                "mesh_gossip_sessions_outdated",
                "Members whose session rests on an earlier certificate of ours.",
            ),
            idled: counter(
                r,
                "mesh_gossip_sessions_idled_total",
                "Sessions that ended because nobody used them.",
            ),
            evicted: counter(
                r,
                "mesh_gossip_sessions_evicted_total",
                "Sessions that ended because there were too many.",
            ),
            rehydrated: counter(
                r,
                "mesh_gossip_sessions_rehydrated_total",
                "Sessions at rest whose keys were expanded again for a datagram.",
            ),
            doubts: zeroed(
                r,
                "mesh_gossip_doubts_total",
                "Members doubted here, by what their sessions tell of the cause.",
                ("mesh_cause", &["silence", "no-session", "unknown-session", "refused"]),
            ),
            fallen: zeroed(
                r,
                "mesh_gossip_sessions_fallen_total",
                "Sessions that ended because the peer's certificate counts no longer, by reason.",
                ("mesh_reason", &["revoked", "expired"]),
            ),
            rekeys: counter(
                r,
                "mesh_gossip_sessions_rekeyed_total",
                "Handshakes begun because our certificate was exchanged.",
            ),
        }
    }

    fn copy(&self, links: &LinkStats) {
        self.sessions.set(links.sessions as i64);
        self.hot.set(links.hot as i64);
        self.dehydrated.set(links.dehydrated as i64);
        self.outdated.set(links.outdated as i64);
        raise(&self.idled, links.idled);
        raise(&self.evicted, links.evicted);
        raise(&self.rehydrated, links.rehydrated);
        raise(&self.rekeys, links.rekeys);
        raise_by(&self.fallen, &links.fallen);
        raise_by(&self.doubts, &links.doubts);
    }
}

/// The links' counters.
struct Links {
    sessions: Sessions,
    half_open: IntGauge,
    dials: IntCounter,
    looks: IntCounter,
    handshakes: IntCounterVec,
    handshake_bytes: IntCounter,
    dropped: IntCounterVec,
    bytes: IntCounterVec,
    floods: Floods,
}

impl Links {
    fn new(r: &Registry) -> Self {
        Self {
            sessions: Sessions::new(r),
            half_open: gauge(r, "mesh_gossip_sessions_half_open", "Handshakes under way."),
            looks: counter(
                r,
                "mesh_gossip_handshakes_beside_probes_total",
                "Handshakes with peers that did not answer a ping on their session.",
            ),
            dials: counter(r, "mesh_gossip_handshakes_dialled_total", "Handshakes begun by us."),
            handshakes: counters(
                r,
                "mesh_gossip_handshakes_total",
                "Handshakes by outcome and reason.",
                &["mesh_outcome", "mesh_reason"],
            ),
            handshake_bytes: counter(
                r,
                "mesh_gossip_handshake_bytes_total",
                "Bytes of UDP payload sent for handshakes.",
            ),
            dropped: zeroed(
                r,
                "mesh_gossip_datagrams_dropped_total",
                "Datagrams dropped on arrival, by reason.",
                ("mesh_reason", &["replay"]),
            ),
            bytes: counters(
                r,
                "mesh_gossip_bytes_total",
                "Bytes of UDP payload by direction.",
                &["mesh_direction"],
            ),
            floods: Floods::new(r),
        }
    }

    fn copy(&self, links: &LinkStats) {
        self.sessions.copy(links);
        self.half_open.set(links.half_open as i64);
        raise(&self.dials, links.dials);
        raise(&self.looks, links.looks);
        raise(&self.handshake_bytes, links.handshake_bytes_out);
        for (direction, total) in [("inbound", links.bytes_in), ("outbound", links.bytes_out)] {
            raise(&self.bytes.with_label_values(&[direction]), total);
        }
        raise(&self.handshakes.with_label_values(&["success", "confirmed"]), links.confirmed);
        for (reason, total) in &links.handshake_failures {
            raise(&self.handshakes.with_label_values(&["failure", *reason]), *total);
        }
        raise_by(&self.dropped, &links.dropped);
        self.floods.copy(links);
    }
}
