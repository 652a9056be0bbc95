//! Small meshes in virtual time: join, crash, partition, leave, metadata.

use std::time::Duration;

use hyperscale_tests::World;
use mesh_gossip_proto::{
    Command, Config, Detector, Event, Instant, LeftReason, Lifecycle, MemberTable, Metadata, State,
};

const SEEDS: [u64; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn formed(seed: u64, nodes: usize) -> World {
    let mut world: World = World::seeded(seed).nodes(nodes);
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

/// Rule J-1: everybody finds everybody through one seed.
#[test]
fn two_three_five_and_sixteen_nodes_discover_each_other() {
    for nodes in [2, 3, 5, 16] {
        for seed in SEEDS {
            let mut world = formed(seed, nodes);
            world.run_for(secs(30));
            let doubts = world.told().iter().filter(|t| matches!(t.event, Event::Suspected { .. }));
            assert_eq!(doubts.count(), 0, "{}: a false suspicion", world.replay());
            assert!(world.node(nodes - 1).is_joined());
        }
    }
}

/// Rules F-6 and D-5 to D-8: for 3 ≤ N ≤ 16 a killed member is gone from every view within the promise,
/// in every seed, and nobody was doubted before; where there is nobody to ask, within nine seconds. A larger
/// mesh keeps to the same five seconds once its observers have found their turns (rule D-2); in its first
/// seconds, when those of one member may come right after each other, to the eight of H2.
#[test]
fn a_crash_is_known_to_all_within_the_suspicion_interval() {
    for nodes in [2, 3, 4, 5, 8, 9, 10, 16, 32] {
        for seed in 0..40 {
            let mut world = formed(seed, nodes);
            // Some are very young, and some have learned what there is to learn.
            let age = [secs(1), secs(3), secs(10), secs(60)][seed as usize % 4];
            world.run_for(age + Duration::from_millis(seed * 37));
            let doubted = |told: &hyperscale_tests::Told| {
                matches!(told.event, Event::Suspected { .. } | Event::Left { .. })
            };
            assert!(!world.told().iter().any(doubted), "{}: a false doubt", world.replay());
            let victim = nodes - 1;
            world.crash(victim);
            let killed = world.now();
            let promise = match nodes {
                2 => secs(9),
                3..=16 => secs(5),
                _ if age >= secs(10) => secs(5),
                _ => secs(8),
            };
            world.run_for(promise + secs(3));
            let times = removal_times(&world, victim, killed);
            assert_eq!(times.len(), nodes - 1, "{}: one removal a survivor", world.replay());
            let slowest = times.iter().max().copied().unwrap_or_default();
            assert!(slowest <= promise, "{}: N = {nodes}, {slowest:?}", world.replay());
            assert!(world.converged(), "{}: the survivors keep each other", world.replay());
        }
    }
}

/// Rules F-6 and D-5: a member that is killed as soon as it was found is gone as soon as any other,
/// although nobody has measured the way to it, or knows how often the living answer.
#[test]
fn a_crash_right_after_the_join_is_removed_within_the_promise() {
    let mut slowest = Duration::ZERO;
    for nodes in [3, 5, 8, 16] {
        for seed in 0..40 {
            let mut world = formed(seed, nodes);
            world.crash(nodes - 1);
            let killed = world.now();
            world.run_for(secs(20));
            let times = removal_times(&world, nodes - 1, killed);
            assert_eq!(times.len(), nodes - 1, "{}: one removal a survivor", world.replay());
            let last = times.iter().max().copied().unwrap_or_default();
            assert!(last <= secs(5), "{}: N = {nodes}, {last:?}", world.replay());
            slowest = slowest.max(last);
        }
    }
    println!("at the worst {slowest:?}");
}

/// Rule F-6 under another budget: the promise follows the configuration.
#[test]
fn the_promise_follows_the_configured_interval() {
    for (interval_ms, promise_ms) in [(500, 3_000), (1_000, 12_000)] {
        for seed in SEEDS {
            let mut world: World = World::seeded(seed)
                .configured(|config| {
                    config.interval = Duration::from_millis(interval_ms);
                    config.suspicion_interval = Duration::from_millis(promise_ms);
                })
                .nodes(3);
            world.run_until(secs(3), World::converged);
            world.run_for(secs(5));
            world.crash(2);
            let killed = world.now();
            world.run_for(secs(20));
            let times = removal_times(&world, 2, killed);
            let promise = Duration::from_millis(promise_ms);
            assert_eq!(times.len(), 2, "{}", world.replay());
            assert!(times.iter().all(|t| *t <= promise), "{}: {times:?}", world.replay());
            // A grace of 1.5 s and of 2.05 s: a pause as long is forgiven under either.
            let grace = Duration::from_millis(if promise_ms == 3_000 { 1_500 } else { 2_050 });
            assert!(times.iter().all(|t| *t >= grace), "{}: {times:?}", world.replay());
        }
    }
}

/// Rules M-2 and J-1: a restart supersedes its past at once.
#[test]
fn a_restarted_node_is_back_under_a_higher_incarnation() {
    for seed in SEEDS {
        let mut world = formed(seed, 3);
        world.run_for(secs(5));
        let before = world.node(2).local().record().incarnation;
        world.crash(2);
        world.run_for(secs(6));
        assert_eq!(world.sees(0, 2), Some(State::Dead), "{}", world.replay());
        world.restart(2);
        let back = world.run_until(secs(2), World::converged);
        let after = world.node(0).member(world.id(2)).map(|member| member.incarnation());
        assert!(after > Some(before), "{}: back after {back:?}", world.replay());
    }
}

/// Rule M-2: also when it comes back before anybody noticed.
#[test]
fn a_quick_restart_is_no_death() {
    for seed in SEEDS {
        let mut world = formed(seed, 5);
        world.run_for(secs(5));
        world.crash(3);
        world.run_for(Duration::from_millis(300));
        world.restart(3);
        let restarted = world.now();
        world.run_until(secs(2), World::converged);
        world.run_for(secs(10));
        assert!(removal_times(&world, 3, restarted).is_empty(), "{}", world.replay());
    }
}

/// Rules H-1, H-2, A-2 and D-9: both sides bury each other, and heal without an operator.
#[test]
fn a_partition_splits_the_mesh_and_heals_by_itself() {
    for (nodes, left) in [(3, 1), (5, 2), (16, 8)] {
        for seed in SEEDS {
            let mut world = formed(seed, nodes);
            world.run_for(secs(5));
            let sides: (Vec<usize>, Vec<usize>) = (0..nodes).partition(|index| *index < left);
            world.network.part(&sides.0, &sides.1);
            world.run_for(secs(30));
            // One or two cannot tell who is dead: they are no quorum, and keep their doubts.
            let verdict = if left <= 2 { State::Suspect } else { State::Dead };
            assert_eq!(world.sees(0, nodes - 1), Some(verdict), "{}", world.replay());
            assert_eq!(world.sees(nodes - 1, 0), Some(State::Dead), "{}", world.replay());
            assert_eq!(world.sees(0, left - 1), Some(State::Alive), "{}", world.replay());
            assert!(world.fired().withheld > 0, "{}: the fault never fired", world.replay());
            world.network.heal();
            let healed = world.run_until(secs(60), World::converged);
            assert!(healed < secs(60), "{}: {healed:?}", world.replay());
        }
    }
}

/// Rule H-3: when a partition ends, neither side spreads that it buried the other: nobody leaves
/// any view again, neither who was together all the time nor who has just come back.
#[test]
fn after_a_partition_the_returned_bury_nobody() {
    for (nodes, left) in [(3, 1), (5, 2), (16, 1), (16, 8)] {
        for seed in SEEDS {
            let mut world = formed(seed, nodes);
            world.run_for(secs(5));
            let sides: (Vec<usize>, Vec<usize>) = (0..nodes).partition(|index| *index < left);
            world.network.part(&sides.0, &sides.1);
            world.run_for(secs(8 + 3 * seed));
            let healed = world.now();
            world.network.heal();
            world.run_until(secs(60), World::converged);
            world.run_for(secs(5));
            for member in 0..nodes {
                let removed = removal_times(&world, member, healed);
                assert!(removed.is_empty(), "{}: {member} {removed:?}", world.replay());
            }
        }
    }
}

/// Rules F-3 and D-8: a third one vouches for a member that one other cannot reach. Relays leave no
/// doubt at all; observers doubt by themselves, and remove nobody.
#[test]
fn a_cut_between_two_is_bridged_by_the_third() {
    for detector in [Detector::Lifeguard, Detector::Observers] {
        for seed in SEEDS {
            let configured = World::seeded(seed).configured(|config| config.detector = detector);
            let mut world: World = configured.nodes(3);
            world.run_until(secs(2), World::converged);
            world.network.part(&[1], &[2]);
            world.run_for(secs(60));
            assert!(world.fired().withheld > 0, "{}: the fault never fired", world.replay());
            for (a, b) in [(0, 1), (0, 2)] {
                assert_eq!(world.sees(a, b), Some(State::Alive), "{}: {a} {b}", world.replay());
            }
            for (a, b) in [(1, 2), (2, 1)] {
                let doubted = detector == Detector::Observers;
                let expected = if doubted { State::Suspect } else { State::Alive };
                assert_eq!(world.sees(a, b), Some(expected), "{}: {a} {b}", world.replay());
            }
            let left = |told: &hyperscale_tests::Told| matches!(told.event, Event::Left { .. });
            assert!(!world.told().iter().any(left), "{}", world.replay());
        }
    }
}

/// Rules: a metadata upgrade at run time reaches every view, once, in order.
#[test]
fn changed_metadata_reaches_every_view() {
    for nodes in [3, 5, 16] {
        for seed in SEEDS {
            let mut world = formed(seed, nodes);
            let upgraded = Metadata {
                mesh_version: "2".into(),
                http3_support: true,
                cluster_id: "sim".into(),
                ..world.metadata(1)
            };
            world.command(1, Command::SetMetadata(upgraded));
            let id = world.id(1);
            let seen = |world: &World, index: usize| {
                let member = world.node(index).member(id).cloned();
                member.map(|member| member.record.record().metadata.clone())
            };
            let everywhere = |world: &World| {
                (0..nodes).all(|index| {
                    seen(world, index).is_some_and(|m| m.mesh_version == "2" && m.http3_support)
                })
            };
            let took = world.run_until(secs(3), everywhere);
            assert!(took < secs(3), "{}: {took:?}", world.replay());
            assert_eq!(seen(&world, 0).map(|m| m.metadata_version), Some(2));
        }
    }
}

/// Rule L-1: a leave is signed, acknowledged and told with its reason; nobody suspects.
#[test]
fn a_leave_is_acknowledged_and_no_failure() {
    for nodes in [2, 3, 16] {
        for seed in SEEDS {
            let mut world = formed(seed, nodes);
            world.run_for(secs(2));
            world.command(1, Command::Leave);
            world.run_for(secs(3));
            let acknowledged = world.told().iter().find_map(|told| match told.event {
                Event::LeaveComplete { acknowledged } => Some(acknowledged),
                _ => None,
            });
            let wanted = 3.min(nodes - 1);
            assert!(acknowledged >= Some(wanted), "{}: {acknowledged:?}", world.replay());
            for index in (0..nodes).filter(|index| *index != 1) {
                assert_eq!(world.sees(index, 1), Some(State::Left), "{}", world.replay());
            }
            let failed = world
                .told()
                .iter()
                .any(|told| matches!(&told.event, Event::Left { reason: LeftReason::Failed, .. }));
            assert!(!failed, "{}: a leave is no failure", world.replay());
        }
    }
}

/// Rule L-1: whoever left may come back at once.
#[test]
fn a_member_rejoins_after_its_leave() {
    for seed in SEEDS {
        let mut world = formed(seed, 3);
        world.command(2, Command::Leave);
        world.run_for(secs(2));
        world.crash(2);
        world.restart(2);
        world.run_until(secs(2), World::converged);
    }
}

/// Rule R-6: cordon and drain reach every view and survive refutations.
#[test]
fn a_drain_is_seen_by_all() {
    for seed in SEEDS {
        let mut world = formed(seed, 5);
        world.command(4, Command::SetLifecycle(Lifecycle::Draining));
        let id = world.id(4);
        world.run_until(secs(3), |world| {
            (0..5).all(|index| {
                let member = world.node(index).member(id);
                member.is_some_and(|m| m.record.record().lifecycle == Lifecycle::Draining)
            })
        });
    }
}

/// Rule F-7: with loss, `lifeguard` has doubts, which are refuted; nobody without fault dies.
#[test]
fn doubts_under_loss_are_refuted() {
    let mut lost = 0;
    let mut refuted = 0;
    for seed in 0..20 {
        let lifeguard = |config: &mut Config| config.detector = Detector::Lifeguard;
        let mut world: World = World::seeded(seed).configured(lifeguard).nodes(8);
        world.run_until(secs(2), World::converged);
        world.network.loss = 0.15;
        world.run_for(secs(120));
        lost += world.fired().lost;
        refuted += world.told().iter().filter(|t| matches!(t.event, Event::Refuted(_))).count();
        let died = world.told().iter().find(|told| matches!(told.event, Event::Left { .. }));
        assert!(died.is_none(), "{}: {died:?}", world.replay());
    }
    assert!(lost > 0, "the fault never fired");
    assert!(refuted > 0, "nobody was doubted, so that nothing was refuted");
    println!("{lost} datagrams lost, {refuted} doubts refuted");
}

/// Rules D-4 and D-7: with loss, observers doubt what is lost and tell nobody; nobody dies.
#[test]
fn doubts_under_loss_are_nobody_elses_business() {
    let mut lost = 0;
    for seed in 0..20 {
        let mut world: World = World::seeded(seed).nodes(8);
        world.run_until(secs(2), World::converged);
        world.network.loss = 0.15;
        world.run_for(secs(120));
        lost += world.fired().lost;
        let told = |event: &Event| matches!(event, Event::Left { .. } | Event::Refuted(_));
        let told = world.told().iter().find(|t| told(&t.event));
        assert!(told.is_none(), "{}: {told:?}", world.replay());
    }
    assert!(lost > 0, "the fault never fired");
}

/// One seed, one history: the trace covers every delivery and every event.
#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| {
        let mut world: World = World::seeded(seed).nodes(5);
        world.network.loss = 0.05;
        world.network.duplication = 0.05;
        world.run_for(secs(20));
        world.crash(4);
        world.run_for(secs(20));
        assert!(world.fired().lost > 0 && world.fired().duplicated > 0);
        world.trace_hash()
    };
    assert_eq!(run(42), run(42));
    assert_ne!(run(42), run(43));
}

/// Rules G-1, D-2 and F-1: an idle mesh stays silent but for its probes: one ping an interval and
/// its ack. `lifeguard` probes four members an interval to keep its promise.
#[test]
fn an_idle_mesh_sends_probes_and_nothing_else() {
    for (detector, expected) in [(Detector::Observers, 2.0), (Detector::Lifeguard, 8.0)] {
        let configured = World::seeded(9).configured(|config| config.detector = detector);
        let mut world: World = configured.nodes(16);
        world.run_until(secs(2), World::converged);
        world.run_for(secs(60));
        let before = world.datagrams();
        world.run_for(secs(100));
        let per_node_second = (world.datagrams() - before) as f64 / 16.0 / 100.0;
        let off = (per_node_second - expected).abs();
        assert!(off <= expected / 16.0, "{detector:?}: {per_node_second} datagrams");
        let stats = |index: usize| world.node(index).stats();
        let depth: u64 = world.running().iter().map(|index| stats(*index).queue_depth).sum();
        assert_eq!(depth, 0, "nothing waits to be gossiped");
    }
}

/// Rule L-2: a departed member is listed for its retention and then forgotten.
#[test]
fn the_departed_are_forgotten_after_their_retention() {
    let mut world: World = World::seeded(3)
        .configured(|config: &mut Config| {
            config.left_retention = secs(30);
            config.dead_retention = secs(60);
        })
        .nodes(3);
    world.run_until(secs(2), World::converged);
    world.crash(2);
    world.run_for(secs(60));
    assert_eq!(world.sees(0, 2), Some(State::Dead));
    world.run_for(secs(60));
    assert_eq!(world.sees(0, 2), None);
    assert_eq!(world.node(0).table().len(), 2);
}

/// Rules J-3 to J-5, ringpop-node#168 and ringpop-node#143: 128 that start at one instant and know one
/// seed have one view within a second, whatever time their processors take on top, because the exchanges
/// that each of them needs are few, and the seed's share of them is bounded.
#[test]
fn a_crowd_that_joins_one_seed_needs_few_exchanges() {
    const CROWD: usize = 128;
    for seed in 1..=4 {
        let mut world: World = World::seeded(seed).asleep(CROWD);
        world.run_for(secs(5));
        (1..CROWD).for_each(|node| world.begin(node));
        let took = world.run_until(secs(30), World::converged);
        let each = || (1..CROWD).map(|node| world.node(node).stats());
        let first = world.node(0).stats();
        println!(
            "{}: {took:?}, {} datagrams; the seed answered {} times and gave its state {} times",
            world.replay(),
            world.datagrams(),
            first.tickets,
            first.states_granted
        );
        assert!(took <= secs(1), "{}: {took:?}", world.replay());
        assert!(each().all(|stats| stats.syncs == 1), "{}: one state each", world.replay());
        let granted = each().map(|stats| stats.states_granted).sum::<u64>() + first.states_granted;
        assert!(first.states_granted <= 12, "{}: {first:?}", world.replay());
        assert!(granted <= CROWD as u64 * 5 / 4, "{}: {granted} states", world.replay());
        assert!(first.tickets < CROWD as u64 * 5 / 4, "{}: {first:?}", world.replay());
        let datagrams = world.datagrams() / CROWD as u64;
        assert!(datagrams <= 32, "{}: {datagrams} datagrams a member", world.replay());
    }
}
