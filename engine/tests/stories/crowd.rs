//! Many agents in one process.

use std::thread::sleep;
use std::time::{Duration, Instant};

use mesh_gossip::options::EngineOptions;
use mesh_gossip::proto::{Event, State};
use mesh_gossip::{Agent, Engine, HostEvent};

use crate::mesh::host::ANSWER;
use crate::mesh::{Authority, on_both_backends, until};

const AGENTS: usize = 32;
/// Long enough for every member to be probed ten times.
const QUIET: Duration = Duration::from_secs(10);

/// They converge on each other, and nobody doubts anybody (rules F-2 and F-4).
#[test]
fn thirty_two_agents_on_one_engine_never_doubt_each_other() {
    on_both_backends(|stage| {
        let authority = Authority::of("crowd");
        let options = EngineOptions { backend: stage.backend, shards: Some(2), pin: false };
        let engine = Engine::start(options).unwrap();
        let begun = Instant::now();
        let mut agents: Vec<Agent> = Vec::new();
        for number in 0..AGENTS {
            let mut options = authority.options(&format!("member-{number}"), "worker");
            options.control = None;
            options.seeds = agents.iter().take(2).map(|a| a.local_address().to_string()).collect();
            agents.push(Agent::start(&engine, options).unwrap());
        }
        let sees_all = |agent: &Agent| {
            let published = agent.view();
            let counts = published.view.counts();
            counts.alive == AGENTS && counts.present() == AGENTS
        };
        until("32 of 32 in every view", || agents.iter().all(sees_all));
        println!("{:?}: converged after {} ms", stage.backend, begun.elapsed().as_millis());

        sleep(QUIET);
        for agent in &agents {
            let stats = agent.inspect(ANSWER).unwrap().stats;
            assert_eq!(stats.suspicions, 0, "{}: {stats:?}", agent.node_id());
            assert!(stats.probes_acked >= 5, "{}: {stats:?}", agent.node_id());
            let view = &agent.view().view;
            assert!(view.members().all(|member| member.state == State::Alive));
            let events = || agent.next_event(Duration::ZERO);
            let (mut joined, mut doubts) = (0, 0);
            while let Some(HostEvent { event, .. }) = events() {
                joined += usize::from(matches!(event, Event::Joined(_)));
                doubts += usize::from(matches!(
                    event,
                    Event::Suspected { .. } | Event::Left { .. } | Event::Overflow(_)
                ));
            }
            assert_eq!((joined, doubts), (AGENTS - 1, 0), "{}", agent.node_id());
        }
    });
}
