//! What agents have counted, added up over all of them, the killed ones included.

use std::time::Duration;

use mesh_gossip::{Agent, AgentError, Inspection};
use serde::{Deserialize, Serialize};

use crate::ledger::UDP_IP;

/// A shard answers within microseconds; on a busy machine within this.
pub(super) const ANSWER: Duration = Duration::from_secs(30);

/// Counts of one agent or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counters {
    /// Datagrams of the protocol sent.
    pub(super) datagrams: u64,
    /// Their bytes, with seal, UDP and IP headers.
    pub(super) bytes: u64,
    /// Handshakes begun.
    pub(super) handshakes: u64,
    /// Bytes of handshake datagrams, headers included.
    pub(super) handshake_bytes: u64,
    /// Suspicions begun.
    pub(super) suspicions: u64,
    /// Sessions that an exchanged certificate made again.
    pub(super) rekeys: u64,
    /// Handshakes that failed.
    pub(super) handshakes_failed: u64,
    /// Sessions that ended because a certificate fell.
    pub(super) fallen: u64,
    /// Datagrams that came on sessions which were gone.
    pub(super) left: u64,
    /// Datagrams that the kernel dropped because a socket was full.
    pub(super) receive_drops: u64,
    /// Joiners answered (rule J-3), and granted the whole state (rule J-4).
    pub(super) tickets: u64,
    pub(super) states_granted: u64,
}

/// Gauges of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gauges {
    pub(super) sessions: usize,
    pub(super) hot: usize,
}

impl Counters {
    /// Of one agent, as of this moment.
    pub(super) fn of(agent: &Agent) -> Result<(Self, Gauges), AgentError> {
        Ok(Self::read(&agent.inspect(ANSWER)?))
    }

    fn read(inspection: &Inspection) -> (Self, Gauges) {
        let Inspection { stats, links, .. } = inspection;
        let counters = Self {
            datagrams: links.sealed,
            bytes: links.bytes_out - links.handshake_bytes_out + UDP_IP * links.sealed,
            handshakes: links.dials,
            handshake_bytes: links.handshake_bytes_out + UDP_IP * links.handshake_datagrams_out,
            suspicions: stats.suspicions,
            rekeys: links.rekeys,
            handshakes_failed: links.handshake_failures.values().sum(),
            fallen: links.fallen.values().sum(),
            left: links.dropped.get("unknown-session").copied().unwrap_or(0),
            receive_drops: inspection.receive_drops,
            tickets: stats.tickets,
            states_granted: stats.states_granted,
        };
        let gauge = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        (counters, Gauges { sessions: gauge(links.sessions), hot: gauge(links.hot) })
    }

    /// Takes in the counts of another.
    pub(super) fn add(&mut self, other: &Self) {
        self.each(other, |mine, theirs| *mine += theirs);
    }

    /// What was counted since `before`.
    pub(super) fn since(mut self, before: &Self) -> Self {
        self.each(before, |mine, earlier| *mine = mine.saturating_sub(earlier));
        self
    }

    fn each(&mut self, other: &Self, act: impl Fn(&mut u64, u64)) {
        for (mine, theirs) in [
            (&mut self.datagrams, other.datagrams),
            (&mut self.bytes, other.bytes),
            (&mut self.handshakes, other.handshakes),
            (&mut self.handshake_bytes, other.handshake_bytes),
            (&mut self.suspicions, other.suspicions),
            (&mut self.rekeys, other.rekeys),
            (&mut self.handshakes_failed, other.handshakes_failed),
            (&mut self.fallen, other.fallen),
            (&mut self.left, other.left),
            (&mut self.receive_drops, other.receive_drops),
            (&mut self.tickets, other.tickets),
            (&mut self.states_granted, other.states_granted),
        ] {
            act(mine, theirs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_a_window_is_a_difference() {
        let one = Counters { datagrams: 3, bytes: 300, handshakes: 2, ..Counters::default() };
        let mut both = one;
        both.add(&one);
        assert_eq!((both.datagrams, both.bytes, both.handshakes), (6, 600, 4));
        assert_eq!(both.since(&one), one);
    }
}
