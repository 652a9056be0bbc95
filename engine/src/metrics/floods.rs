//! What the flood control counts (rule S-7).

use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

use super::families::{counter, counters, gauge, raise};
use crate::link::stats::LinkStats;

/// Its counters.
pub(super) struct Floods {
    half_open_peak: IntGauge,
    retries: IntCounterVec,
    tokens: IntCounterVec,
    answering: IntCounter,
}

impl Floods {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            half_open_peak: gauge(
                r,
                "mesh_gossip_sessions_half_open_peak",
                "The most handshakes under way at once since the start.",
            ),
            retries: counters(
                r,
                "mesh_gossip_retries_total",
                "Requests for a cookie: sent to others, and obeyed by us.",
                &["mesh_direction"],
            ),
            tokens: counters(
                r,
                "mesh_gossip_handshake_tokens_total",
                "Cookies and proofs of sessions that others began handshakes with.",
                &["mesh_token", "mesh_outcome"],
            ),
            answering: counter(
                r,
                "mesh_gossip_answering_microseconds_total",
                "Processor time granted to answering handshakes, by the model of rule S-7.",
            ),
        }
    }

    pub(super) fn copy(&self, links: &LinkStats) {
        self.half_open_peak.set(links.half_open_peak as i64);
        raise(&self.answering, links.answering_us);
        for (direction, total) in [("outbound", links.retries_out), ("inbound", links.retries_in)] {
            raise(&self.retries.with_label_values(&[direction]), total);
        }
        for (token, total) in [("cookie", links.cookies), ("proof", links.proofs)] {
            raise(&self.tokens.with_label_values(&[token, "success"]), total);
        }
        for (token, total) in &links.worthless_tokens {
            raise(&self.tokens.with_label_values(&[*token, "failure"]), *total);
        }
    }
}
