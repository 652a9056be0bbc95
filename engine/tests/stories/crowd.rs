//! Many agents in one process.

use std::sync::Mutex;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use mesh_gossip::options::{Delivery, EngineOptions};
use mesh_gossip::proto::Stats;
use mesh_gossip::{Agent, Engine};

use crate::mesh::agents::{
    Tally, every_join_is_told, is_at_rest, nobody_was_lost, sees, stats, tally,
};
use crate::mesh::{Authority, Stage, alone_on_both_backends, until, within};

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

/// So many start at one moment and know the seed alone.
const STORM: usize = 128;
/// Without optimisation, and beside other tests, their eight thousand handshakes take their time.
const STORM_PATIENCE: Duration = Duration::from_secs(180);
/// What starts them.
const STARTERS: usize = 4;
/// Rule J-4: states that a member grants at once, and in each second after that.
const GRANTS: (u64, u64) = (8, 4);

/// Rules J-3 and J-4, ringpop-node#168 and ringpop-node#143: everybody sees all, and the seed gave its
/// state to few. How long it took is printed: on two cores that nobody else uses less than five seconds. What
/// is not the machine's own is asserted in virtual time (`a_crowd_that_joins_one_seed_needs_few_exchanges`).
#[test]
fn a_hundred_and_twenty_eight_join_through_one_seed() {
    alone_on_both_backends(|stage| {
        let authority = Authority::of("storm");
        let options =
            EngineOptions { backend: stage.backend, shards: Some(2), ..EngineOptions::default() };
        let engine = Engine::start(options).unwrap();
        let papers = |number: usize| {
            let mut options = authority.options(&format!("member-{number}"), "worker");
            options.control = None;
            options
        };
        let seed = Agent::start(&engine, papers(0)).unwrap();
        let mut joiners: Vec<_> = (1..STORM).map(papers).collect();
        for options in &mut joiners {
            options.seeds = vec![seed.local_address().to_string()];
        }

        let begun = Instant::now();
        let (engine, joiners) = (&engine, Mutex::new(joiners));
        let next = || joiners.lock().unwrap().pop();
        let started = || {
            let options = std::iter::from_fn(next);
            options.map(|options| Agent::start(engine, options).unwrap()).collect::<Vec<_>>()
        };
        let mut agents: Vec<Agent> = thread::scope(|scope| {
            let starters = [(); STARTERS].map(|()| scope.spawn(started));
            starters.into_iter().flat_map(|starter| starter.join().unwrap()).collect()
        });
        let all = begun.elapsed();
        agents.push(seed);
        let gathered = || agents.iter().all(|agent| sees(agent, STORM)).then_some(());
        within(STORM_PATIENCE, "all see all", gathered);
        let took = begun.elapsed();

        let (seed, joiners) = agents.split_last().unwrap();
        let (seed, granted) = (stats(seed), |agent: &Agent| stats(agent).states_granted);
        let others: u64 = joiners.iter().map(granted).sum();
        println!(
            "{:?}: {STORM} started within {all:?} and saw each other after {took:?}; the seed \
             answered {} times and gave its state {} times, the others theirs {others} times",
            stage.backend, seed.tickets, seed.states_granted
        );
        assert!(seed.tickets >= seed.states_granted && seed.states_granted > 0, "{seed:?}");
        // Whoever lost an answer gets it again, beyond the bucket.
        let joiners = STORM as u64 - 1;
        let again = seed.tickets.saturating_sub(joiners);
        let most = GRANTS.0 + GRANTS.1 * (took.as_secs() + 1) + again;
        assert!(seed.states_granted <= most, "{seed:?}");
        assert!(others > 0 || most >= joiners, "joiners serve joiners");
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
