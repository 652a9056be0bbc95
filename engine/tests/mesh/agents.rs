//! Agents that share an engine: whether they are at rest, and what they told their host.

use std::time::Duration;

use mesh_gossip::link::stats::LinkStats;
use mesh_gossip::proto::{Event, State, Stats};
use mesh_gossip::{Agent, HostEvent};

use super::host::ANSWER;
use super::until;

/// Whether the agent holds `count` members alive and nobody else.
pub(crate) fn sees(agent: &Agent, count: usize) -> bool {
    let counts = agent.view().view.counts();
    counts.alive == count && counts.present() == count
}

/// Nothing is under way: all agree, nothing waits for gossip or for a handshake, and every suspect
/// has refuted.
pub(crate) fn is_at_rest(agent: &Agent, count: usize) -> bool {
    let inspection = agent.inspect(ANSWER).unwrap();
    let (links, stats) = (inspection.links, inspection.stats);
    inspection.agrees && links.half_open == 0 && stats.queue_depth == 0 && sees(agent, count)
}

/// The protocol's counters.
pub(crate) fn stats(agent: &Agent) -> Stats {
    agent.inspect(ANSWER).unwrap().stats
}

/// The links' counters.
pub(crate) fn links(agent: &Agent) -> LinkStats {
    agent.inspect(ANSWER).unwrap().links
}

/// Events that the host was told since it last asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) joined: usize,
    pub(crate) doubted: usize,
    pub(crate) left: usize,
    pub(crate) lost: usize,
}

impl Tally {
    /// What was told since.
    pub(crate) fn add(&mut self, more: &Self) {
        self.joined += more.joined;
        self.doubted += more.doubted;
        self.left += more.left;
        self.lost += more.lost;
    }
}

/// Waits until every agent of a crowd was told of every other.
pub(crate) fn every_join_is_told(agents: &[Agent]) {
    let mut joined = vec![0; agents.len()];
    until("every join is told", || {
        for (sum, agent) in joined.iter_mut().zip(agents) {
            *sum += tally(agent).joined;
        }
        joined.iter().all(|joined| *joined >= agents.len() - 1)
    });
}

/// Nobody was lost since `before`, and every agent had answers to its probes; returns how often one
/// doubted another. That is the machine's affair and decides nothing (decision 59).
pub(crate) fn nobody_was_lost(agents: &[Agent], before: &[Stats]) -> u64 {
    let mut doubted = 0;
    for (agent, before) in agents.iter().zip(before) {
        let view = || agent.view();
        until("all are alive", || view().view.members().all(|member| member.state == State::Alive));
        let stats = stats(agent);
        let lost = |stats: &Stats| (stats.declared_dead, stats.unreachable);
        assert_eq!(lost(&stats), lost(before), "{}: {stats:?}", agent.node_id());
        assert!(stats.probes_acked > before.probes_acked, "{}: {stats:?}", agent.node_id());
        doubted += stats.suspicions - before.suspicions;
    }
    doubted
}

/// Counts them.
pub(crate) fn tally(agent: &Agent) -> Tally {
    let mut tally = Tally::default();
    let batches = std::iter::from_fn(|| agent.next_events(Duration::ZERO));
    for HostEvent { event, .. } in batches.flatten() {
        tally.joined += usize::from(matches!(event, Event::Joined(_)));
        tally.doubted += usize::from(matches!(event, Event::Suspected { .. }));
        tally.left += usize::from(matches!(event, Event::Left { .. }));
        tally.lost += usize::from(matches!(event, Event::Overflow(_)));
    }
    tally
}
