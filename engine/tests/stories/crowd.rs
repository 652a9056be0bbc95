//! Many agents in one process.

use std::thread::sleep;
use std::time::{Duration, Instant};

use mesh_gossip::options::{Delivery, EngineOptions};
use mesh_gossip::proto::{State, Stats};
use mesh_gossip::{Agent, Engine};

use crate::mesh::agents::{Tally, is_at_rest, sees, stats, tally};
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
        until("32 of 32 in every view", || agents.iter().all(|agent| sees(agent, AGENTS)));
        println!("{:?}: converged after {} ms", stage.backend, begun.elapsed().as_millis());
        // A thousand handshakes on a busy machine take their time, and an answer among them may
        // come late: only what is doubted in peace is a false suspicion.
        until("all handshakes are over", || agents.iter().all(|agent| is_at_rest(agent, AGENTS)));
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
