//! Leaders in virtual time: crashes, partitions, drains, restarts, cut links.

use std::time::Duration;

use hyperscale_tests::World;
use mesh_gossip_proto::leadership::{leader, succession};
use mesh_gossip_proto::{
    Command, Config, Event, Instant, Lifecycle, MemberId, Scope, Stats, Term, WallTime,
};

const NODES: usize = 16;
const SEEDS: [u64; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
/// A crash is known to all of 16 within five seconds (rule F-6), two intervals have to settle, and a
/// claim needs a moment to reach everybody.
const HANDED_OVER: Duration = Duration::from_secs(8);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn scopes() -> Vec<Scope> {
    ["control", "ingest; role=worker"].map(|text| Scope::parse(text).unwrap()).into()
}

/// Who leads the scope, as a node tells.
fn told(world: &World, by: usize, scope: &str) -> (Option<usize>, u64) {
    let view = world.node(by).view(world.now());
    let told = leader(&view, scope).expect("it is configured");
    let index = |id: MemberId| (0..world.len()).find(|node| world.id(*node) == id);
    (told.leader.and_then(index), told.term)
}

/// What all of these nodes tell, if they tell the same.
fn agreed(world: &World, nodes: &[usize], scope: &str) -> Option<(usize, u64)> {
    let mut all = nodes.iter().map(|node| told(world, *node, scope));
    let first = all.next()?;
    all.all(|told| told == first).then_some(first).and_then(|(leader, term)| Some((leader?, term)))
}

/// The running nodes whose own record claims the scope.
fn claimants(world: &World, scope: &str) -> Vec<(usize, u64)> {
    let claim = |node: &usize| {
        let standing = world.node(*node).local().record().standing.as_deref()?;
        let term: &Term = standing.term(scope)?;
        term.held.then_some((*node, term.number))
    };
    world.running().iter().filter_map(claim).collect()
}

/// Sixteen nodes that agree who leads.
fn led(seed: u64) -> (World, (usize, u64)) {
    let configured = World::seeded(seed).configured(|config| config.scopes = scopes());
    let mut world: World = configured.nodes(NODES);
    world.run_until(secs(2), World::converged);
    world.run_for(secs(5));
    let all = world.running();
    let leader = agreed(&world, &all, "control").unwrap_or_else(|| panic!("{}", world.replay()));
    assert_eq!(leader.1, 1, "{}: one claim was enough", world.replay());
    (world, leader)
}

/// Runs until these nodes agree on a leader for which `holds`; returns it and how long that took.
fn until_led(
    world: &mut World,
    nodes: &[usize],
    within: Duration,
    holds: impl Fn((usize, u64)) -> bool,
) -> ((usize, u64), Duration) {
    let agree = |world: &World| agreed(world, nodes, "control").filter(|found| holds(*found));
    let took = world.run_until_every(Duration::from_millis(50), within, |w| agree(w).is_some());
    let Some(took) = took else {
        let all: Vec<_> = nodes.iter().map(|node| told(world, *node, "control")).collect();
        panic!("{}: {all:?}, claims {:?}", world.replay(), claimants(world, "control"));
    };
    (agree(world).expect("it does"), took)
}

/// The terms that each node told of a scope, in order.
fn assert_no_term_fell(world: &World) {
    for by in 0..world.len() {
        let terms =
            world.told().iter().filter(|told| told.by == by).filter_map(|told| match &told.event {
                Event::LeaderChanged { scope, term, .. } if scope.name == "control" => Some(*term),
                _ => None,
            });
        assert!(terms.is_sorted(), "{}: node {by}", world.replay());
    }
}

fn changes_since(world: &World, since: Instant) -> usize {
    let changed = |event: &Event| matches!(event, Event::LeaderChanged { .. });
    world.told().iter().filter(|told| told.at >= since && changed(&told.event)).count()
}

/// Rules E-1 and E-4: all tell the same leader, who is the first in the order of succession, and
/// scopes are led independently of each other.
#[test]
fn sixteen_nodes_agree_on_the_first_in_the_order() {
    for seed in SEEDS {
        let (world, (first, _)) = led(seed);
        for scope in scopes() {
            let view = world.node(3).view(world.now());
            let order = succession(&view, &scope, 3);
            let all = world.running();
            let (leader, term) = agreed(&world, &all, &scope.name).expect("all tell the same");
            assert_eq!((world.id(leader), term), (order[0], 1), "{}", world.replay());
            assert_eq!(claimants(&world, &scope.name), [(leader, 1)], "{}", world.replay());
        }
        assert_eq!(claimants(&world, "control")[0].0, first);
        assert!(changes_since(&world, Instant::ORIGIN) >= 2 * NODES, "every node tells both");
    }
}

/// Rule E-4: a leader crashes, and its successor takes the next term within detection and settling.
#[test]
fn a_crashed_leader_is_succeeded_within_detection_and_settling() {
    let mut slowest = Duration::ZERO;
    for seed in 0..16 {
        let (mut world, (first, _)) = led(seed);
        let view = world.node((first + 1) % NODES).view(world.now());
        let order = succession(&view, &scopes()[0], 2);
        world.crash(first);
        let rest = world.running();
        let ((second, term), took) =
            until_led(&mut world, &rest, HANDED_OVER, |(leader, _)| leader != first);
        assert_eq!((world.id(second), term), (order[1], 2), "{}", world.replay());
        slowest = slowest.max(took);
        world.run_for(secs(20));
        assert_eq!(claimants(&world, "control"), [(second, 2)], "{}", world.replay());
        // It comes back as a new life, first in the order, and takes the office again.
        world.restart(first);
        let all = world.running();
        until_led(&mut world, &all, secs(8), |found| found == (first, 3));
        world.run_for(secs(10));
        assert_eq!(claimants(&world, "control"), [(first, 3)], "{}", world.replay());
        assert_no_term_fell(&world);
    }
    println!("succeeded after {slowest:?} at the worst");
}

/// Rules E-5 and E-7: both sides of a partition have a leader; afterwards there is one, for a term
/// that neither side had.
#[test]
fn after_a_partition_exactly_one_leads() {
    let mut slowest = Duration::ZERO;
    for seed in SEEDS {
        let (mut world, (first, _)) = led(seed);
        let sides: (Vec<usize>, Vec<usize>) = (0..NODES).partition(|node| node % 2 == 0);
        world.network.part(&sides.0, &sides.1);
        world.run_for(secs(30));
        assert!(world.fired().withheld > 0, "{}: the fault never fired", world.replay());
        let (a, b) = (agreed(&world, &sides.0, "control"), agreed(&world, &sides.1, "control"));
        let (Some(a), Some(b)) = (a, b) else { panic!("{}: {a:?} {b:?}", world.replay()) };
        assert_ne!(a.0, b.0, "{}: either side has its own", world.replay());
        let highest = a.1.max(b.1);
        world.network.heal();
        let all = world.running();
        let (_, took) =
            until_led(&mut world, &all, secs(60), |found| found.0 == first && found.1 > highest);
        slowest = slowest.max(took);
        world.run_for(secs(20));
        let claims = claimants(&world, "control");
        assert_eq!(claims.len(), 1, "{}: {claims:?}", world.replay());
        assert_eq!(claims[0].0, first, "{}", world.replay());
        assert_no_term_fell(&world);
    }
    println!("one leader {slowest:?} after the heal at the worst");
}

/// Rule E-6: a leader that drains hands over at once: nothing has to settle.
#[test]
fn a_draining_leader_hands_over_at_once() {
    for seed in SEEDS {
        for lifecycle in [Lifecycle::Draining, Lifecycle::Cordoned] {
            let (mut world, (first, _)) = led(seed);
            world.command(first, Command::SetLifecycle(lifecycle));
            let all = world.running();
            let (_, took) =
                until_led(&mut world, &all, secs(2), |found| found.0 != first && found.1 == 2);
            assert!(took < Duration::from_millis(1_500), "{}: {took:?}", world.replay());
            let own = world.node(first).local().record().standing.clone();
            let held = own.is_some_and(|standing| standing.terms.iter().any(|term| term.held));
            assert!(!held, "{}", world.replay());
            // Back in service it comes first again.
            world.command(first, Command::SetLifecycle(Lifecycle::Active));
            until_led(&mut world, &all, secs(5), |found| found == (first, 3));
        }
    }
}

/// Rule E-6: so does one that leaves.
#[test]
fn a_leaving_leader_hands_over_at_once() {
    for seed in SEEDS {
        let (mut world, (first, _)) = led(seed);
        world.command(first, Command::Leave);
        let rest: Vec<usize> = (0..NODES).filter(|node| *node != first).collect();
        let (_, took) =
            until_led(&mut world, &rest, secs(2), |found| found.0 != first && found.1 == 2);
        assert!(took < Duration::from_millis(1_500), "{}: {took:?}", world.replay());
    }
}

/// Rule E-4: a leader that restarts before anybody noticed claims no term that it had.
#[test]
fn a_leader_that_restarts_at_once_takes_a_new_term() {
    for seed in SEEDS {
        let (mut world, (first, _)) = led(seed);
        world.crash(first);
        world.run_for(Duration::from_millis(300));
        world.restart(first);
        let all = world.running();
        until_led(&mut world, &all, secs(12), |found| found == (first, 2));
        world.run_for(secs(10));
        assert_eq!(claimants(&world, "control"), [(first, 2)], "{}", world.replay());
        assert_no_term_fell(&world);
    }
}

/// Rule E-2: the second in the order cannot reach the first, whom everybody else can.
#[test]
fn a_cut_between_leader_and_successor_changes_nothing() {
    for seed in SEEDS {
        let (mut world, (first, _)) = led(seed);
        let order = succession(&world.node(first).view(world.now()), &scopes()[0], 2);
        let second = (0..NODES).find(|node| world.id(*node) == order[1]).expect("it runs");
        let cut = world.now();
        world.network.part(&[first], &[second]);
        world.run_for(secs(120));
        assert!(world.fired().withheld > 0, "{}: the fault never fired", world.replay());
        assert_eq!(changes_since(&world, cut), 0, "{}", world.replay());
        assert_eq!(claimants(&world, "control"), [(first, 1)], "{}", world.replay());
    }
}

/// Rule E-3: members that know no scopes send and say what they always did, and lead nothing.
#[test]
fn members_without_scopes_neither_lead_nor_pay() {
    let run = |edit: fn(&mut Config)| {
        let mut world: World = World::seeded(5).configured(edit).nodes(5);
        world.run_for(secs(30));
        let stats: Stats = world.node(0).stats();
        (world.trace_hash(), stats)
    };
    assert_eq!(run(|_| {}), run(|config| config.scopes.clear()));
    // Half of a mesh was upgraded: the scope is led by one of those that know it.
    let mut world: World = World::seeded(5).nodes(8);
    world = world.configured(|config| config.scopes = scopes()).nodes(8);
    world.run_for(secs(12));
    assert!(world.converged(), "{}", world.replay());
    let upgraded: Vec<usize> = (8..16).collect();
    let (leader, term) = agreed(&world, &upgraded, "control").expect("somebody leads");
    assert!(leader >= 8 && term == 1, "{leader} {term}");
    assert!(world.node(0).view(world.now()).leaders().is_empty());
    let since =
        world.node(leader).local().record().standing.as_ref().expect("it stands").terms[0].since;
    assert!(since > WallTime(0));
}
