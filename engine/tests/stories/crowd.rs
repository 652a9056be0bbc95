//! Many agents in one process.

use std::thread::sleep;
use std::time::{Duration, Instant};

use mesh_gossip::options::{Delivery, EngineOptions};
use mesh_gossip::proto::Stats;
use mesh_gossip::{Agent, Engine};

use crate::mesh::agents::{
    Tally, every_join_is_told, is_at_rest, nobody_was_lost, sees, stats, tally,
};
use crate::mesh::{Authority, Stage, alone_on_both_backends, until};

const AGENTS: usize = 32;
/// Long enough for every member to be probed ten times.
const QUIET: Duration = Duration::from_secs(10);

/// They converge on each other, and nobody loses anybody (rules F-2 and F-4). How often one is doubted
/// is printed (decision 59).
#[test]
fn thirty_two_agents_on_one_engine_never_lose_each_other() {
    alone_on_both_backends(|stage| {
        let begun = Instant::now();
        let agents = crowd(stage);
        until("32 of 32 in every view", || agents.iter().all(|agent| sees(agent, AGENTS)));
        println!("{:?}: converged after {} ms", stage.backend, begun.elapsed().as_millis());
        until("all handshakes are over", || agents.iter().all(|agent| is_at_rest(agent, AGENTS)));
        every_join_is_told(&agents);
        let before: Vec<Stats> = agents.iter().map(stats).collect();
        let doubted: u64 = before.iter().map(|stats| stats.suspicions).sum();
        println!("{:?}: doubted while they joined: {doubted}", stage.backend);

        sleep(QUIET);
        let doubted = nobody_was_lost(&agents, &before);
        println!("{:?}: doubted in peace: {doubted}", stage.backend);
        for agent in &agents {
            let told = Tally { doubted: 0, ..tally(agent) };
            assert_eq!(told, Tally::default(), "{}: nothing happens", agent.node_id());
        }
    });
}

/// Agents on two shards; the first two are everybody's seeds.
fn crowd(stage: &Stage) -> Vec<Agent> {
    let authority = Authority::of("crowd");
    let options =
        EngineOptions { backend: stage.backend, shards: Some(2), ..EngineOptions::default() };
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
