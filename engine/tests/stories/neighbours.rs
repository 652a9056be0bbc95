//! Agents that share a thread are no worse off for each other.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use mesh_gossip::options::EngineOptions;
use mesh_gossip::proto::Stats;
use mesh_gossip::{Agent, Engine};

use crate::mesh::agents::{is_at_rest, links, nobody_was_lost, sees, stats};
use crate::mesh::{Authority, alone_on_both_backends, until};

const RESIDENTS: usize = 4;
const GUESTS: usize = 12;
/// Datagrams without meaning that one agent gets meanwhile, at least,
const FLOOD: u64 = 20_000;
/// so many at a time.
const WAVE: usize = 64;
/// Probes that each resident has answered meanwhile, at least.
const PROBES: u64 = 10;

fn start(engine: &Engine, authority: &Authority, name: &str, seeds: Vec<String>) -> Agent {
    let mut options = authority.options(name, "worker");
    options.control = None;
    options.seeds = seeds;
    Agent::start(engine, options).unwrap()
}

/// Ends the flood when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One shard hosts a mesh, an agent of another mesh that is flooded, and guests of a third that come
/// and go. The mesh goes on probing, and nobody is lost.
#[test]
fn a_flooded_neighbour_and_passing_guests_disturb_nobody() {
    alone_on_both_backends(|stage| {
        let options =
            EngineOptions { backend: stage.backend, shards: Some(1), ..EngineOptions::default() };
        let engine = Engine::start(options).unwrap();
        let home = Authority::of("home");
        let mut residents: Vec<Agent> = Vec::new();
        for number in 0..RESIDENTS {
            let seeds = residents.iter().take(1).map(|a| a.local_address().to_string()).collect();
            residents.push(start(&engine, &home, &format!("resident-{number}"), seeds));
        }
        until("they are together", || {
            residents.iter().all(|agent| sees(agent, RESIDENTS) && is_at_rest(agent, RESIDENTS))
        });
        let before: Vec<Stats> = residents.iter().map(stats).collect();

        let elsewhere = Authority::of("elsewhere");
        let flooded = start(&engine, &elsewhere, "flooded", Vec::new());
        let garbage = |agent: &Agent| links(agent).dropped.values().sum::<u64>();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            // However this ends.
            let _over = Over(&is_over);
            scope.spawn(|| {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    for _ in 0..WAVE {
                        socket.send_to(&[0xEE; 200], flooded.local_address()).unwrap();
                    }
                    sleep(Duration::from_millis(1));
                }
            });
            let passing = Authority::of("passing");
            for number in 0..GUESTS {
                let guest = start(&engine, &passing, &format!("guest-{number}"), Vec::new());
                assert_eq!(guest.view().view.counts().alive, 1);
                if number % 2 == 0 {
                    guest.kill();
                }
            }
            until("the flood has been read and the mesh has probed on", || {
                let probed = residents.iter().zip(&before).all(|(agent, before)| {
                    stats(agent).probes_acked >= before.probes_acked + PROBES
                });
                probed && garbage(&flooded) >= FLOOD
            });
        });
        let doubted = nobody_was_lost(&residents, &before);
        println!("{:?}: doubted beside the flood: {doubted}", stage.backend);
        assert!(residents.iter().all(|agent| garbage(agent) == 0), "the flood is the other's");
    });
}
