//! The detector `observers` in small meshes.

use std::time::Duration;

use hyperscale_tests::World;
use mesh_gossip_proto::{Detector, Event, Instant};

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

/// Rules D-5 to D-8: for 3 ≤ N ≤ 16 a killed member is gone from every view within the promise of
/// five seconds, in every seed, and nobody was doubted before. With N = 2 nobody can be asked, and it takes nine.
#[test]
fn a_crash_is_known_to_all_within_the_suspicion_interval() {
    for nodes in [2, 3, 4, 5, 8, 9, 10, 16, 32] {
        let budget = if nodes == 2 { secs(9) } else { secs(5) };
        for seed in 0..20 {
            let mut world = formed(seed, nodes);
            world.run_for(secs(60) + Duration::from_millis(seed * 37));
            let doubted = |told: &hyperscale_tests::Told| {
                matches!(told.event, Event::Suspected { .. } | Event::Left { .. })
            };
            assert!(!world.told().iter().any(doubted), "{}: a false doubt", world.replay());
            let victim = nodes - 1;
            world.crash(victim);
            let killed = world.now();
            world.run_for(secs(12));
            let times = removal_times(&world, victim, killed);
            assert_eq!(times.len(), nodes - 1, "{}: one removal a survivor", world.replay());
            let slowest = times.iter().max().copied().unwrap_or_default();
            assert!(slowest <= budget, "{}: N = {nodes}, {slowest:?}", world.replay());
            assert!(world.converged(), "{}: the survivors keep each other", world.replay());
        }
    }
}
