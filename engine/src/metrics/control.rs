//! What the control server counts of its clients.

use prometheus::{IntCounterVec, IntGauge, Registry};

use super::families::{gauge, zeroed};

/// Counters of the control server.
pub(super) struct ControlCounts {
    pub(super) dropped: IntCounterVec,
    pub(super) watchers: IntGauge,
}

impl ControlCounts {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            dropped: zeroed(
                r,
                "mesh_gossip_control_dropped_total",
                "Connections and requests that the control server ended or refused, by reason: \
                 slow, idle, watchers, forbidden, late, large.",
                ("mesh_reason", &["slow", "idle", "watchers", "forbidden", "late", "large"]),
            ),
            watchers: gauge(
                r,
                "mesh_gossip_control_watchers",
                "Who watches the members over the control server.",
            ),
        }
    }
}
