//! What the control server counts of its clients.

use prometheus::{IntCounterVec, IntGauge, Registry};

use super::families::{gauge, zeroed};

/// Why the control server ends or refuses something.
const REASONS: &[&str] =
    &["slow", "idle", "watchers", "forbidden", "late", "large", "handshake", "crowded", "revoked"];

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
                 slow, idle, watchers, forbidden, late, large, handshake, crowded, revoked.",
                ("mesh_reason", REASONS),
            ),
            watchers: gauge(
                r,
                "mesh_gossip_control_watchers",
                "Who watches the members over the control server.",
            ),
        }
    }
}
