//! Regions far from each other, and a cut between two of them: who hears a member keeps it.

use std::time::Duration;

use hyperscale_tests::World;
use mesh_gossip_proto::{Event, MemberId, MemberTable, State};

const NODES: usize = 64;
/// The member in question: on one side of the cut with one of its observers. On the other side are four
/// observers and two of those who are asked next. All others reach both, from far away.
const MEMBER: usize = 1;
const NEAR: [usize; 1] = [4];
const ACROSS: [usize; 6] = [0, 1, 2, 3, 8, 9];

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Indices of those who are asked about `MEMBER`, in the order of the rings: observers first.
fn asked(world: &World) -> Vec<usize> {
    let (table, rings) = (world.node(0).table(), world.config().rings);
    let mut walks: Vec<_> = (0..rings).map(|ring| table.before(ring, world.id(MEMBER))).collect();
    let mut found: Vec<MemberId> = Vec::new();
    for turn in 0..16 {
        let next = walks[turn % usize::from(rings)].find(|id| !found.contains(id));
        found.push(next.expect("there are more members than that"));
    }
    let observers = world.node(MEMBER).observed_by();
    assert_eq!(&found[..8], observers, "the first of them observe it");
    found.into_iter().map(|id| world.roll().index(id).expect("it is known")).collect()
}

/// Rule D-8: four observers and those beside them who do not hear a member bury it in none of their
/// cases, however often they ask and however long the answers of all others take.
#[test]
fn a_cut_between_regions_evicts_nobody_whom_others_hear() {
    let mut plain: World = World::seeded(1).warm(NODES);
    plain.run_for(Duration::from_secs(5));
    let asked = asked(&plain);
    let [near, across] = [&NEAR[..], &ACROSS[..]]
        .map(|turns| turns.iter().map(|turn| asked[*turn]).collect::<Vec<usize>>());
    let near = [&[MEMBER], &near[..]].concat();
    let region = |node: usize| match node {
        node if near.contains(&node) => 0,
        node if across.contains(&node) => 1,
        _ => 2,
    };
    let (here, far) = ((ms(1), ms(2)), (ms(140), ms(180)));
    let between = |a: usize, b: usize| if a == b { here } else { far };
    let latency: Vec<Vec<_>> = (0..3).map(|a| (0..3).map(|b| between(a, b)).collect()).collect();
    for seed in 1..=4 {
        let mut world: World = World::seeded(seed);
        world.network.set_regions((0..NODES).map(region).collect(), &latency);
        world.network.loss = 0.01;
        let mut world = world.warm(NODES);
        world.run_for(Duration::from_secs(20));
        world.network.part(&near, &across);
        world.run_for(Duration::from_secs(60));
        assert!(world.fired().withheld > 0, "{}: the fault never fired", world.replay());
        for observer in &across[..4] {
            let seen = world.sees(*observer, MEMBER);
            assert_eq!(seen, Some(State::Suspect), "{}: {observer}", world.replay());
        }
        world.network.heal();
        world.run_for(Duration::from_secs(20));
        let buried = world.told().iter().filter(|told| matches!(told.event, Event::Left { .. }));
        assert_eq!(buried.count(), 0, "{}", world.replay());
        assert!(world.converged(), "{}", world.replay());
    }
}
