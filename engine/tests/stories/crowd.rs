//! Many agents in one process.

use std::thread::sleep;
use std::time::{Duration, Instant};

use mesh_gossip::options::{Delivery, EngineOptions};
use mesh_gossip::proto::{Event, State, Stats};
use mesh_gossip::{Agent, Engine, HostEvent};

use crate::mesh::host::ANSWER;
use crate::mesh::{Authority, Stage, on_both_backends, until};

const AGENTS: usize = 32;
/// Long enough for every member to be probed ten times.
const QUIET: Duration = Duration::from_secs(10);

/// They converge on each other, and nobody doubts anybody (rules F-2 and F-4).
#[test]
fn thirty_two_agents_on_one_engine_never_doubt_each_other() {
    on_both_backends(|stage| {
        let begun = Instant::now();
        let agents = crowd(stage);
        until("32 of 32 in every view", || agents.iter().all(sees_all));
        println!("{:?}: converged after {} ms", stage.backend, begun.elapsed().as_millis());
        // A thousand handshakes on a busy machine take their time, and an answer among them may
        // come late: only what is doubted in peace is a false suspicion.
        until("all handshakes are over", || agents.iter().all(is_at_rest));
        let joined: Vec<Tally> = agents.iter().map(tally).collect();
        assert!(joined.iter().all(|tally| tally.joined >= AGENTS - 1), "{joined:?}");
        let before: Vec<Stats> = agents.iter().map(stats).collect();
        let doubted: u64 = before.iter().map(|stats| stats.suspicions).sum();
        println!("{:?}: doubted while they joined: {doubted}", stage.backend);

        sleep(QUIET);
        for (agent, before) in agents.iter().zip(before) {
            let stats = stats(agent);
            assert_eq!(stats.suspicions, before.suspicions, "{}: {stats:?}", agent.node_id());
            assert!(stats.probes_acked > before.probes_acked, "{}: {stats:?}", agent.node_id());
            assert_eq!(tally(agent), Tally::default(), "{}: nothing happens", agent.node_id());
            let view = &agent.view().view;
            assert!(view.members().all(|member| member.state == State::Alive));
        }
    });
}

/// Agents on two shards; the first two are everybody's seeds.
fn crowd(stage: &Stage) -> Vec<Agent> {
    let authority = Authority::of("crowd");
    let options = EngineOptions { backend: stage.backend, shards: Some(2), pin: false };
    let engine = Engine::start(options).unwrap();
    let mut agents: Vec<Agent> = Vec::new();
    for number in 0..AGENTS {
        let mut options = authority.options(&format!("member-{number}"), "worker");
        options.control = None;
        // Counted when all is quiet: nothing may be on its way by then.
        options.events = Delivery::Immediate;
        options.seeds = agents.iter().take(2).map(|a| a.local_address().to_string()).collect();
        agents.push(Agent::start(&engine, options).unwrap());
    }
    agents
}

fn sees_all(agent: &Agent) -> bool {
    let counts = agent.view().view.counts();
    counts.alive == AGENTS && counts.present() == AGENTS
}

/// Nothing is under way: all agree, nothing waits for gossip or for a handshake, and every suspect
/// has refuted.
fn is_at_rest(agent: &Agent) -> bool {
    let inspection = agent.inspect(ANSWER).unwrap();
    let (links, stats) = (inspection.links, inspection.stats);
    inspection.agrees && links.half_open == 0 && stats.queue_depth == 0 && sees_all(agent)
}

fn stats(agent: &Agent) -> Stats {
    agent.inspect(ANSWER).unwrap().stats
}

/// Events that the host was told since it last asked.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    joined: usize,
    doubted: usize,
    left: usize,
    lost: usize,
}

fn tally(agent: &Agent) -> Tally {
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
