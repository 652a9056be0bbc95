//! What a mesh survives without an operator: partitions, lost seeds, restarts of many, rotations,
//! members that come and go for ever. Each test names what it answers; `docs/peers.md` lists them.

use std::net::SocketAddr;
use std::time::Duration;

use hyperscale_tests::{Fault, World};
use mesh_gossip_proto::{
    Command, Config, Event, LeftReason, Lifecycle, MemberTable, Metadata, State,
};

const SEEDS: [u64; 4] = [1, 2, 3, 4];

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A mesh that has found itself and settled, with the checkers on.
fn settled(seed: u64, nodes: usize, edit: impl FnOnce(&mut Config)) -> World {
    let mut world: World = World::seeded(seed).configured(edit).checked().nodes(nodes);
    world.run_until(secs(3), World::converged);
    world.run_for(secs(10));
    world
}

/// Nobody lives there.
fn nowhere() -> Vec<SocketAddr> {
    vec![SocketAddr::from(([10, 200, 0, 1], 17_421))]
}

fn halves(world: &mut World) {
    let (left, right): (Vec<usize>, Vec<usize>) =
        (0..world.len()).partition(|index| *index < world.len() / 2);
    world.network.part(&left, &right);
}

fn heals(world: &mut World, limit: Duration) -> Duration {
    let took = world.run_until(limit, World::converged);
    assert_eq!(world.check(), Ok(()), "{}", world.replay());
    took
}

fn failures(world: &World, of: usize) -> usize {
    let id = world.id(of);
    let failed = |event: &Event| match event {
        Event::Left { record, reason: LeftReason::Failed } => record.record().id == id,
        _ => false,
    };
    world.told().iter().filter(|told| failed(&told.event)).count()
}

/// Rules H-2 and J-2, memberlist#222, metallb#589, weaviate#10698, serf#605 and ringpop-node#42: six
/// hours are no longer than a minute to either side.
#[test]
fn a_partition_of_six_hours_heals_by_itself() {
    let mut world = settled(1, 6, |_| {}).recording(false);
    halves(&mut world);
    world.run_for(secs(6 * 3_600));
    assert_eq!(world.sees(5, 0), Some(State::Dead), "{}", world.replay());
    assert!(world.fired().withheld > 0);
    world.network.heal();
    let took = heals(&mut world, secs(60));
    assert!(took <= secs(10), "{}: {took:?}", world.replay());
}

/// Rules H-1, H-2 and L-2: however long it lasted. Both sides have forgotten each other, down to the
/// stones of lives that are over; the seeds are known by their addresses.
#[test]
fn who_has_forgotten_each_other_finds_each_other() {
    for (seed, nodes) in SEEDS.into_iter().flat_map(|seed| [(seed, 10), (seed, 2)]) {
        let forgetful = |config: &mut Config| {
            (config.left_retention, config.dead_retention) = (secs(30), secs(30));
        };
        let mut world = settled(seed, nodes, forgetful);
        halves(&mut world);
        world.run_for(secs(300));
        let far = nodes - 1;
        assert_eq!((world.sees(0, far), world.sees(far, 0)), (None, None), "{}", world.replay());
        world.network.heal();
        let took = heals(&mut world, secs(900));
        assert!(took <= secs(600), "{}: {took:?}", world.replay());
    }
}

/// Rules H-2 and D-14: a seed list in which everybody has moved away does not matter to a mesh that has
/// found itself; its dead are its seeds.
#[test]
fn a_stale_seed_list_heals_through_the_dead() {
    for seed in SEEDS {
        let mut world = settled(seed, 12, |_| {});
        for node in 0..12 {
            world.command(node, Command::Join(nowhere()));
        }
        halves(&mut world);
        world.run_for(secs(120));
        assert_eq!(world.sees(0, 11), Some(State::Dead), "{}", world.replay());
        world.network.heal();
        heals(&mut world, secs(60));
    }
}

/// Rules H-2 and H-1: also whoever starts again with such a list is found, where it was before.
#[test]
fn who_restarts_with_a_stale_seed_list_is_found_by_the_others() {
    for seed in SEEDS {
        let mut world = settled(seed, 8, |_| {});
        world.crash(5);
        world.run_for(secs(20));
        assert_eq!(world.sees(0, 5), Some(State::Dead), "{}", world.replay());
        // Its list names a machine that was never there.
        let mut world = world.seeds(&[1_000_000]);
        world.restart(5);
        heals(&mut world, secs(120));
    }
}

/// Rule M-2, memberlist#311 and memberlist#345: half of a mesh restarts at once, with clocks that lie
/// behind, and is back at once.
#[test]
fn half_of_a_mesh_restarts_with_its_clocks_behind() {
    for seed in SEEDS {
        let mut world = settled(seed, 16, |_| {});
        let half: Vec<usize> = (1..16).step_by(2).collect();
        world.apply(&Fault::Skew { nodes: half.clone(), by_ms: -60_000 });
        world.apply(&Fault::Crash(half.clone()));
        world.run_for(secs(1 + 4 * seed));
        world.apply(&Fault::Restart(half));
        assert!(world.fired().skewed > 0);
        let took = heals(&mut world, secs(30));
        assert!(took <= secs(5), "{}: {took:?}", world.replay());
    }
}

/// Rule M-2, memberlist#311: all at once, nobody remembers anybody, and all find each other.
#[test]
fn a_whole_mesh_restarts_at_once() {
    for seed in SEEDS {
        let mut world = settled(seed, 16, |_| {});
        let all: Vec<usize> = (0..16).collect();
        world.apply(&Fault::Crash(all.clone()));
        world.run_for(secs(1));
        world.apply(&Fault::Restart(all));
        let took = heals(&mut world, secs(10));
        assert!(took <= secs(3), "{}: {took:?}", world.replay());
    }
}

/// Rules D-9 and D-13, foca#15: a member that lost everybody, for ten minutes, comes back by itself, and
/// has lost nobody for good.
#[test]
fn who_lost_everybody_finds_them_again() {
    for seed in SEEDS {
        let mut world = settled(seed, 10, |_| {});
        world.network.part(&[4], &[0, 1, 2, 3, 5, 6, 7, 8, 9]);
        world.run_for(secs(600));
        assert_eq!(world.sees(0, 4), Some(State::Dead), "{}", world.replay());
        world.network.heal();
        let took = heals(&mut world, secs(120));
        assert!(took <= secs(60), "{}: {took:?}", world.replay());
    }
}

/// Rules R-5 and W-1, memberlist#191: four thousand bytes of metadata reach every view, although no
/// datagram holds them.
#[test]
fn four_thousand_bytes_of_metadata_reach_every_view() {
    for seed in SEEDS {
        let mut world = settled(seed, 8, |_| {});
        let labels = (0..8).map(|n| (format!("label-{n}"), "v".repeat(480))).collect();
        let large = Metadata { labels, cluster_id: "sim".into(), ..world.metadata(3) };
        world.command(3, Command::SetMetadata(large.clone()));
        let id = world.id(3);
        let seen = |world: &World, by: usize| {
            let member = world.node(by).member(id);
            member.is_some_and(|member| member.record.record().metadata.labels == large.labels)
        };
        world.run_until(secs(10), |world| (0..8).all(|by| seen(world, by)));
    }
}

/// Rule A-2, consul#1062, consul#3705, consul#7960, consul#14200, consul#18078 and serf#557: a queue
/// that overflows loses nothing for good. What was dropped is counted, and reconciled.
#[test]
fn a_queue_that_overflows_loses_nothing_for_good() {
    for seed in SEEDS {
        let mut world = settled(seed, 24, |config| config.limits.queue_entries = 2);
        world.network.loss = 0.1;
        for node in 0..24 {
            let metadata = Metadata {
                mesh_version: "2".into(),
                cluster_id: "sim".into(),
                ..world.metadata(node)
            };
            world.command(node, Command::SetMetadata(metadata));
        }
        let upgraded = |world: &World| {
            (0..24).all(|by| {
                let table = world.node(by).table();
                table.digest() == world.node(0).table().digest()
                    && (0..24).all(|of| {
                        let member = table.get(world.id(of));
                        member.is_some_and(|m| m.record.record().metadata.mesh_version == "2")
                    })
            })
        };
        world.run_until(secs(60), upgraded);
        let dropped: u64 = (0..24).map(|node| world.node(node).stats().queue_dropped).sum();
        assert!(dropped > 0, "{}: the queue never overflowed", world.replay());
    }
}

/// Rule S-15, consul#719 and serf#579: there is no key of the mesh that could be missed. Whoever was
/// away while all others exchanged certificate and CA comes back with its own, as long as that holds.
#[test]
fn who_was_away_during_a_rotation_comes_back() {
    const BOTH: u8 = 0b11;
    for seed in SEEDS {
        let mut world = settled(seed, 8, |_| {});
        world.apply(&Fault::Crash(vec![5]));
        world.run_for(secs(10));
        let others: Vec<usize> = (0..8).filter(|node| *node != 5).collect();
        world.apply(&Fault::Trust { nodes: others.clone(), roots: BOTH });
        for turn in 0..3 {
            world.apply(&Fault::Certify { nodes: others.clone(), root: turn % 2 });
            world.run_for(secs(60));
        }
        assert!(world.fired().rekeyed > 0, "{}", world.replay());
        world.apply(&Fault::Trust { nodes: vec![5], roots: BOTH });
        world.apply(&Fault::Restart(vec![5]));
        let took = heals(&mut world, secs(30));
        assert!(took <= secs(5), "{}: {took:?}", world.replay());
    }
}

/// Rule R-6: cordon, drain and resume reach every view, whatever is lost on the way, also of whoever was
/// behind a cut or came later.
#[test]
fn every_lifecycle_reaches_every_view() {
    for seed in SEEDS {
        let mut world = settled(seed, 8, |_| {});
        world.network.loss = 0.2;
        let id = world.id(4);
        let seen = |world: &World, by: usize, wanted: Lifecycle| {
            let member = world.node(by).member(id);
            member.is_some_and(|member| member.record.record().lifecycle == wanted)
        };
        for (turn, wanted) in (0..).zip([
            Lifecycle::Cordoned,
            Lifecycle::Draining,
            Lifecycle::Drained,
            Lifecycle::Active,
            Lifecycle::Cordoned,
        ]) {
            let cut = turn == 2;
            if cut {
                world.network.part(&[7], &[0, 1, 2, 3, 4, 5, 6]);
            }
            world.command(4, Command::SetLifecycle(wanted));
            if cut {
                world.run_for(secs(30));
                world.network.heal();
            }
            world.run_until(secs(90), |world| {
                world.running().iter().all(|by| seen(world, *by, wanted))
            });
        }
        let late = world.join_cold();
        world.run_until(secs(20), |world| seen(world, late, Lifecycle::Cordoned));
    }
}

/// Rules L-1 and L-3, memberlist#140 and memberlist#217: leave and come back, again and again; each
/// leave is acknowledged by three, each life is new, and nobody is taken for failed.
#[test]
fn who_left_comes_back_again_and_again() {
    for seed in SEEDS {
        let mut world = settled(seed, 6, |_| {});
        for turn in 0..10 {
            let before = world.node(3).local().record().incarnation;
            world.command(3, Command::Leave);
            world.run_for(Duration::from_millis(100 + 300 * turn));
            let told = world.told().iter().rev();
            let acknowledged = told.clone().find_map(|told| match told.event {
                Event::LeaveComplete { acknowledged } => Some(acknowledged),
                _ => None,
            });
            assert!(acknowledged >= Some(3), "{}: {acknowledged:?}", world.replay());
            world.crash(3);
            world.restart(3);
            let took = heals(&mut world, secs(10));
            assert!(took <= secs(3), "{}: {took:?}", world.replay());
            assert!(world.node(3).local().record().incarnation > before);
        }
        assert_eq!(failures(&world, 3), 0, "{}: a leave is no failure", world.replay());
    }
}

/// Rule L-3, foca#31, foca#32 and foca#19: hundreds that come under new names and leave or die are
/// welcome, although the table has room for few, and every view stays bounded and right.
#[test]
fn a_mesh_outlives_hundreds_of_short_lives() {
    const PLACES: usize = 24;
    for seed in [1, 2] {
        let mut world = settled(seed, 6, |config| config.limits.members = PLACES).recording(false);
        let mut guests: Vec<usize> = Vec::new();
        for turn in 0..300 {
            guests.push(world.join_cold());
            world.run_for(Duration::from_millis(700));
            if guests.len() > 6 {
                let gone = guests.remove(0);
                if turn % 3 > 0 {
                    world.command(gone, Command::Leave);
                    world.run_for(Duration::from_millis(500));
                }
                world.crash(gone);
            }
            for node in 0..6 {
                assert!(world.node(node).table().len() <= PLACES, "{}", world.replay());
            }
        }
        heals(&mut world, secs(20));
        let displaced: u64 = (0..6).map(|node| world.node(node).stats().members_displaced).sum();
        assert!(displaced >= 6 * 200, "{}: {displaced}", world.replay());
        let refused: u64 = (0..6).map(|node| world.node(node).stats().members_refused).sum();
        assert_eq!(refused, 0, "{}", world.replay());
    }
}
