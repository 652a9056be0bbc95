//! What the control server counts of its clients.

use prometheus::{IntCounterVec, IntGauge, Registry};

use super::families::{counters, gauge};

/// Counters of the control server.
pub(super) struct ControlCounts {
    pub(super) dropped: IntCounterVec,
    pub(super) watchers: IntGauge,
}

impl ControlCounts {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            dropped: counters(
                r,
                "mesh_gossip_control_dropped_total",
                "Connections and requests that the control server ended or refused, by reason: \
                 slow, idle, watchers, forbidden, late, large, handshake, crowded, revoked.",
                &["mesh_reason"],
            ),
            watchers: gauge(
                r,
                "mesh_gossip_control_watchers",
                "Who watches the members over the control server.",
            ),
        }
    }
}
