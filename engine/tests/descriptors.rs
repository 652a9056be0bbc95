//! Agents that were dropped leave no descriptors behind.
//!
//! The only test of its process: whatever else opened a file meanwhile would be counted.

#[path = "mesh/authority.rs"]
mod authority;

use std::time::{Duration, Instant};

use mesh_gossip::options::{BackendChoice, EngineOptions};
use mesh_gossip::{Agent, Engine};

use authority::Authority;

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("Linux tells our descriptors").count()
}

/// Without what a thread holds for a moment, such as a file that it reads and closes.
fn resting_descriptors() -> usize {
    let looks = (0..20).map(|_| {
        std::thread::sleep(Duration::from_millis(5));
        open_descriptors()
    });
    looks.min().expect("twenty looks")
}

/// Waits for what the control thread closes after the agents' handles are gone.
fn settles_at(expected: usize) -> bool {
    let deadline = Instant::now() + Duration::from_secs(15);
    while open_descriptors() > expected {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// memberlist#71: who goes leaves nothing behind.
#[test]
fn twenty_agents_come_and_go_without_a_trace() {
    let authority = Authority::of("descriptors");
    for backend in [BackendChoice::Uring, BackendChoice::Mmsg] {
        // What a process opens once and for good (tokio's wake-up for signals) is there from here on.
        drop(Engine::start(EngineOptions { backend, ..EngineOptions::default() }));
        let before_engine = resting_descriptors();
        // A fixed number: shards that grow with the agents stay.
        let options = EngineOptions { backend, shards: Some(2), ..EngineOptions::default() };
        let engine = match Engine::start(options) {
            Ok(engine) => engine,
            Err(error) => {
                let may_skip = std::env::var_os("MESH_GOSSIP_BOTH_BACKENDS").is_none();
                assert!(may_skip, "{backend:?}: {error}");
                println!("SKIPPED: {backend:?}: {error}");
                continue;
            }
        };
        let before_agents = resting_descriptors();
        let mut agents: Vec<Agent> = Vec::new();
        for number in 0..20 {
            let mut options = authority.options(&format!("member-{number}"), "worker");
            options.seeds = agents.iter().take(1).map(|a| a.local_address().to_string()).collect();
            agents.push(Agent::start(&engine, options).expect("it starts"));
        }
        assert!(open_descriptors() >= before_agents + 60, "two sockets and a listener each");
        // Certificates that are exchanged again and again take none.
        let before_rotation = open_descriptors();
        for round in 0..3 {
            for agent in &agents {
                let issued = authority.issue(agent.node_id(), "worker");
                let renewed = agent.rotate(issued.tls_options(&authority.0)).expect("it holds");
                assert!(renewed.certificate, "round {round}");
            }
        }
        assert!(settles_at(before_rotation), "{} open", open_descriptors());
        // In the middle of their handshakes and exchanges.
        drop(agents);
        let settled = settles_at(before_agents);
        assert!(settled, "{backend:?}: {} open, {before_agents} before", open_descriptors());

        // A start that fails leaves nothing either.
        let holder = std::net::UdpSocket::bind(authority::ANY_PORT).expect("a free port");
        for _ in 0..20 {
            let mut options = authority.options("late", "worker");
            options.bind = holder.local_addr().expect("it is bound");
            Agent::start(&engine, options).expect_err("the port is taken");
        }
        drop(holder);
        let settled = settles_at(before_agents);
        assert!(settled, "{backend:?}: {} open, {before_agents} before", open_descriptors());
        drop(engine);
        let settled = settles_at(before_engine);
        assert!(settled, "{backend:?}: {} open, {before_engine} before", open_descriptors());
    }
}
