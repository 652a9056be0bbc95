//! How the shard keeps time, copied at a scrape from its records.

use prometheus::{GaugeVec, Registry};

use super::families::real_gauges;
use crate::shard::records::{Quantiles, Recorded};

/// Quantiles of the last one to two minutes; agents of one shard share them.
pub(super) struct Shard {
    lag: GaugeVec,
    turns: GaugeVec,
    acks: GaugeVec,
}

impl Shard {
    pub(super) fn new(r: &Registry) -> Self {
        let quantiles = |name, help| real_gauges(r, name, help, "mesh_quantile");
        Self {
            lag: quantiles(
                "mesh_gossip_loop_lag_seconds",
                "How late the shard acted on deadlines, over the last minute or two.",
            ),
            turns: quantiles(
                "mesh_gossip_turn_datagrams",
                "Datagrams of a turn of the shard that brought any, over the last minute or two.",
            ),
            acks: quantiles(
                "mesh_gossip_send_to_ack_seconds",
                "From the system call that sent a ping until its ack was read, over the last \
                 minute or two.",
            ),
        }
    }

    pub(super) fn copy(&self, recorded: &Recorded) {
        const SECONDS: f64 = 1e-6;
        let Recorded { lag_us, turn_datagrams, send_to_ack_us } = recorded;
        set(&self.lag, lag_us, SECONDS);
        set(&self.turns, turn_datagrams, 1.0);
        set(&self.acks, send_to_ack_us, SECONDS);
    }
}

fn set(family: &GaugeVec, quantiles: &Quantiles, unit: f64) {
    let Quantiles { count: _, p50, p99, p999, max } = *quantiles;
    for (quantile, value) in [("0.5", p50), ("0.99", p99), ("0.999", p999), ("1", max)] {
        family.with_label_values(&[quantile]).set(value as f64 * unit);
    }
}
