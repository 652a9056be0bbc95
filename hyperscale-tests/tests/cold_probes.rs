//! A probe of a member to whom no session leads is answered as often as any other.

use hyperscale_tests::World;
use mesh_gossip_proto::{Detector, Duration, Stats};

const NODES: usize = 64;
/// So few that most probes are the first ones between two nodes.
const ROUNDS: u64 = 15;
const SEEDS: u64 = 12;

/// Probes begun and failed, and handshakes begun, of nodes that probe each other in random order at
/// 5 % loss, without relays: these would hide what becomes of the ping.
fn probes(seed: u64, acquainted: bool) -> [u64; 3] {
    let world: World = World::seeded(seed).configured(|config| {
        config.detector = Detector::Lifeguard;
        config.indirect_pings = 0;
    });
    let mut world = if acquainted { world.acquainted() } else { world }.warm(NODES);
    world.network.loss = 0.05;
    world.run_for(Duration::from_secs(ROUNDS));
    let sum = |of: fn(&Stats) -> u64| (0..NODES).map(|node| of(&world.node(node).stats())).sum();
    [sum(|stats| stats.probes), sum(|stats| stats.probes_failed), world.ledger().total.handshakes]
}

/// Rules S-6 and S-9: the client repeats its flight within the probe's time, and the server's flight
/// is an answer: a handshake in the way of a probe costs no failed one.
#[test]
fn a_cold_probe_fails_no_more_often_than_a_warm_one() {
    let of = |acquainted| {
        let all = (0..SEEDS).map(|seed| probes(seed, acquainted));
        all.fold([0; 3], |sum: [u64; 3], one| std::array::from_fn(|at| sum[at] + one[at]))
    };
    let (warm, cold) = (of(true), of(false));
    println!("[probes, failed, handshakes]: warm {warm:?}, cold {cold:?}");
    // Where there are sessions, handshakes are looks beside pings that were lost, or their acks.
    let (lost, looks) = (1.0 - 0.95_f64.powi(2), warm[2] as f64 / warm[0] as f64);
    assert!((looks - lost).abs() < lost / 5.0, "{looks} looks a probe, {lost} lost: {warm:?}");
    assert!(cold[2] * 2 > cold[0], "handshakes are in the way: {cold:?}");
    let share = |[probes, failed, _]: [u64; 3]| failed as f64 / probes as f64;
    assert!(share(warm) < lost / 10.0, "the look answers in place of what was lost: {warm:?}");
    // Three standard deviations of the difference.
    let noise = 3.0 * (share(warm) * (1.0 / warm[0] as f64 + 1.0 / cold[0] as f64)).sqrt();
    assert!(share(cold) <= share(warm) + noise, "cold {cold:?}, warm {warm:?}");
}
