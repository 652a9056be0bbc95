//! The simulator itself: what it models, what it counts, and that its tables agree.

use std::time::Duration;

use hyperscale_tests::{Fault, Fired, Roll, SharedTable, SimTable, Watch, World};
use mesh_gossip_proto::{DenseTable, Detector, Event, Instant, State};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A crash, a restart, loss, a pause and a partition.
fn eventful<T: SimTable>(
    seed: u64,
    nodes: usize,
    detector: Detector,
    warm: bool,
    until: u64,
) -> (u64, Fired) {
    let world =
        World::<T>::seeded(seed).configured(|config| config.detector = detector).recording(false);
    let mut world = if warm { world.warm(nodes) } else { world.nodes(nodes) };
    let half: Vec<u8> = (0..nodes).map(|node| 1 + u8::from(node % 2 == 0)).collect();
    for (at, fault) in [
        (secs(5), Fault::Loss(0.08)),
        (secs(6), Fault::Crash(vec![nodes - 1, nodes / 2])),
        (secs(10), Fault::Pause(vec![1])),
        (secs(16), Fault::Resume(vec![1])),
        (secs(17), Fault::Restart(vec![nodes / 2])),
        (secs(20), Fault::PartByMask(half)),
        (secs(26), Fault::Heal),
        (secs(28), Fault::JoinCold(2)),
        (secs(29), Fault::Leave(vec![2])),
    ] {
        world.schedule(at, fault);
    }
    world.run_for(secs(until));
    (world.trace_hash(), world.fired().clone())
}

/// A shared base with differences and a full table give one and the same history.
#[test]
fn both_tables_give_one_history() {
    for (seed, nodes, detector, warm, until) in [
        (1, 50, Detector::Observers, true, 36),
        (2, 120, Detector::Observers, false, 12),
        (3, 70, Detector::Lifeguard, true, 36),
        (4, 300, Detector::Observers, true, 12),
        (5, 7, Detector::Observers, false, 60),
        (6, 9, Detector::Lifeguard, false, 60),
    ] {
        let dense = eventful::<DenseTable>(seed, nodes, detector, warm, until);
        let shared = eventful::<SharedTable>(seed, nodes, detector, warm, until);
        assert_eq!(dense, shared, "seed {seed}, {nodes} nodes, {detector:?}, warm: {warm}");
        let Fired { crashes, restarts, pauses, lost, withheld, joins, leaves, .. } = dense.1;
        let soon = [crashes, pauses, lost];
        assert!(soon.iter().all(|count| *count > 0), "a fault never fired: {soon:?}");
        let late = [restarts, withheld, joins, leaves];
        assert!(until < 36 || late.iter().all(|count| *count > 0), "never fired: {late:?}");
    }
}

/// Nobody has to find anybody: no stream, no change of any view, and what is said is said on
/// sessions that exist.
#[test]
fn a_warm_world_is_at_rest() {
    let mut world: World = World::seeded(3)
        .configured(|config| config.detector = Detector::Observers)
        .recording(true)
        .warm(60)
        .recording(true);
    assert!(world.converged(), "{}", world.replay());
    assert!(world.sessions().p50 >= 8, "ring neighbours have sessions: {:?}", world.sessions());
    world.run_for(secs(20));
    assert!(world.converged(), "{}", world.replay());
    assert_eq!(world.ledger().total.streams, 0, "{}", world.replay());
    let quiet = |event: &Event| matches!(event, Event::RoundTrip { .. } | Event::ProbeFailed(_));
    let loud = world.told().iter().find(|told| !quiet(&told.event));
    assert!(loud.is_none(), "{}: {loud:?}", world.replay());
    assert_eq!(world.node(0).stats().updates_out, 0, "nothing is news");
}

#[test]
fn the_books_hold_what_was_sent() {
    // Links send confirmations of their own, and pings in the padding of handshakes: here are none.
    let mut world: World = World::seeded(5).acquainted().warm(16);
    world.run_for(secs(5));
    world.reset_ledger();
    let before: Vec<_> = (0..16).map(|node| world.node(node).stats()).collect();
    world.run_for(secs(30));
    let ledger = world.ledger();
    let mut bytes = 0;
    let mut datagrams = 0;
    for (node, before) in before.iter().enumerate() {
        let after = world.node(node).stats();
        bytes += after.bytes_out - before.bytes_out;
        datagrams += after.datagrams_out - before.datagrams_out;
    }
    assert_eq!(ledger.total.datagrams, datagrams, "{}", world.replay());
    assert_eq!(ledger.total.bytes, bytes + 60 * datagrams, "seal, UDP and IP");
    assert_eq!((ledger.window, ledger.node_time), (secs(30), secs(480)));
    assert!(ledger.most.bytes >= ledger.total.bytes / 16 && ledger.most.bytes < ledger.total.bytes);
    assert!(ledger.peak_bytes_per_s >= ledger.total.bytes / 30);
    assert!(ledger.events > datagrams && ledger.rss_bytes > 1 << 20);
    world.crash(3);
    world.run_for(secs(10));
    assert_eq!(world.ledger().node_time, secs(630), "the dead spend no time");
}

/// Rule S-9: the handshake proves the peer after one round trip, the payload arrives later.
#[test]
fn a_first_word_costs_a_handshake_and_later_ones_none() {
    let mut world: World = World::seeded(1).nodes(2);
    world.network.latency = (ms(10), ms(10));
    world.run_until(secs(2), World::converged);
    world.run_for(secs(20));
    let total = world.ledger().total;
    // Each may have begun one before either was complete.
    assert!((1..=2).contains(&total.handshakes), "{}: {total:?}", world.replay());
    // One client's three datagrams of 1,228 bytes and the server's three; its sealed confirmation is
    // a datagram like any other.
    assert_eq!(total.handshake_bytes, 5_234 * total.handshakes, "{}", world.replay());
}

/// A restarted node knows no session: what reaches it on an old one is lost, and a hint brings a
/// new handshake.
#[test]
fn a_restart_ends_sessions_and_a_hint_renews_them() {
    let mut stale = 0;
    for seed in 1..=8 {
        let mut world: World = World::seeded(seed).nodes(12);
        world.run_until(secs(2), World::converged);
        world.run_for(secs(15));
        world.crash(2);
        world.run_for(ms(50));
        world.restart(2);
        world.reset_ledger();
        world.run_for(secs(5));
        // Whether anybody speaks before the restarted node does is a matter of turns.
        stale += world.fired().stale;
        assert!(world.ledger().total.handshakes >= 2, "{}", world.replay());
        assert!(world.converged(), "{}", world.replay());
    }
    assert!(stale > 0, "the fault never fired");
}

/// A dial to nobody ends after three tries; handshakes with one target are paced (rule S-18).
#[test]
fn handshakes_with_the_dead_are_few() {
    let mut world: World =
        World::seeded(2).configured(|config| config.detector = Detector::Lifeguard).nodes(3);
    world.run_until(secs(2), World::converged);
    world.crash(2);
    world.run_for(secs(60));
    world.reset_ledger();
    world.run_for(secs(600));
    let ledger = world.ledger();
    assert!(ledger.handshakes_failed > 0, "{}: redials never came", world.replay());
    assert!(ledger.total.handshakes <= 2 * 60, "{}: {:?}", world.replay(), ledger.total);
}

/// What reaches a paused node waits and is delivered at its end; its timers ran on time.
#[test]
fn a_pause_holds_both_directions() {
    let mut world: World = World::seeded(8)
        .configured(|config| config.detector = Detector::Observers)
        .recording(true)
        .warm(16)
        .recording(true);
    world.run_for(secs(10));
    let before = world.node(4).stats();
    world.pause(4, true);
    world.run_for(ms(1_500));
    let during = world.node(4).stats();
    assert_eq!(during.messages_in, before.messages_in, "it hears nothing");
    assert!(during.datagrams_out > before.datagrams_out, "its timers run");
    assert!(world.fired().held > 0, "{}: nothing was held", world.replay());
    world.pause(4, false);
    assert!(world.node(4).stats().messages_in > before.messages_in, "what waited is delivered");
    world.run_for(secs(10));
    let died = world.told().iter().any(|told| matches!(told.event, Event::Left { .. }));
    assert!(!died, "{}: a pause below the grace evicts nobody", world.replay());
    world.pause(4, true);
    world.run_for(secs(30));
    assert!((0..16).filter(|node| *node != 4).all(|node| world.sees(node, 4) == Some(State::Dead)));
    assert!(world.fired().overrun > 0, "{}: its buffer is bounded", world.replay());
}

/// Counts deaths by who tells them.
#[derive(Default)]
struct Deaths {
    by: Vec<(Instant, usize)>,
    of_the_living: usize,
    lives: usize,
}

impl Watch for Deaths {
    fn event(&mut self, at: Instant, by: usize, event: &Event, roll: &Roll) {
        if let Event::Left { record, .. } = event {
            let subject = roll.index(record.record().id).expect("everybody is entered");
            self.of_the_living += usize::from(roll.standing(subject).up);
            self.by.push((at, by));
        }
    }

    fn standing(&mut self, _at: Instant, index: usize, roll: &Roll) {
        self.lives += usize::from(roll.standing(index).up);
    }
}

#[test]
fn a_watch_sees_every_event_at_once_and_knows_who_lives() {
    let mut world: World<SharedTable> = World::seeded(6)
        .configured(|config| config.detector = Detector::Observers)
        .watched(Deaths::default())
        .warm(40);
    world.schedule(secs(10), Fault::Crash(vec![39]));
    world.run_for(secs(20));
    assert!(world.told().is_empty(), "nothing is recorded in a warm world unless asked for");
    let deaths: &Deaths = world.watch().expect("it was hired");
    assert_eq!((deaths.by.len(), deaths.of_the_living, deaths.lives), (39, 0, 40));
    assert!(deaths.by.iter().all(|(at, _)| *at > Instant::ORIGIN + secs(10)));
}

/// Rule S-15, as the engine's links follow it: records are signed again, sessions carry on until
/// their successors are there, one an end, and old ones retire without a loss.
#[test]
fn new_certificates_renew_sessions_without_a_loss() {
    let mut world: World =
        World::seeded(6).configured(|config| config.detector = Detector::Observers).warm(16);
    world.run_for(secs(20));
    let counter =
        |world: &World, node: usize| world.node(node).local().record().incarnation.counter;
    let before: Vec<_> = (0..16).map(|node| counter(&world, node)).collect();
    for round in 1..=20 {
        world.apply(&Fault::Rekey((0..16).collect()));
        world.run_for(secs(2));
        for (node, before) in before.iter().enumerate() {
            assert_eq!(counter(&world, node), before + round, "{}", world.replay());
        }
    }
    world.run_for(secs(60));
    let fired = world.fired();
    assert!(fired.rekeyed > 100, "{}: the fault never fired", world.replay());
    assert_eq!((fired.left, fired.stale), (0, 0), "{}", world.replay());
    assert!(world.converged(), "{}", world.replay());
    let suspected: u64 = (0..16).map(|node| world.node(node).stats().suspicions).sum();
    assert_eq!(suspected, 0, "{}", world.replay());
}

/// At most one successor an end follows from one change.
#[test]
fn one_change_makes_at_most_two_handshakes_a_link() {
    let mut world: World = World::seeded(7).warm(32);
    world.run_for(secs(20));
    world.apply(&Fault::Rekey((0..32).collect()));
    world.run_for(secs(60));
    assert!((1..=2).contains(&world.rekeys_a_link()), "{}", world.rekeys_a_link());
}

/// Rule S-16: whoever shows a certificate that is revoked, expired or of a CA that went is refused
/// and leaves every view; with another one it comes back.
#[test]
fn certificates_that_fell_end_sessions_and_let_nobody_back() {
    let everybody = || (0..12).collect::<Vec<usize>>();
    let falls = [
        Fault::Revoke { node: 5, at: everybody() },
        Fault::Expire(vec![5]),
        Fault::Trust { nodes: (0..12).filter(|node| *node != 5).collect(), roots: 0b10 },
    ];
    for fall in falls {
        let mut world: World = World::seeded(8).warm(12);
        world.run_for(secs(10));
        if matches!(fall, Fault::Trust { .. }) {
            let others = (0..12).filter(|node| *node != 5).collect();
            world.apply(&Fault::Certify { nodes: others, root: 1 });
            world.run_for(secs(40));
        }
        world.apply(&fall);
        world.run_for(secs(40));
        let out = |world: &World| {
            world
                .running()
                .iter()
                .all(|by| *by == 5 || world.sees(*by, 5).is_none_or(|state| !state.is_present()))
        };
        assert!(out(&world), "{fall:?}: {}", world.replay());
        assert!(world.fired().fallen > 0 && world.fired().refused > 0, "{fall:?}");
        world.apply(&Fault::Certify { nodes: vec![5], root: 1 });
        world.run_for(secs(150));
        assert!(world.converged(), "{fall:?}: certified anew, {}", world.replay());
    }
}

/// Worlds can be run on any thread.
#[test]
fn a_world_can_be_sent() {
    fn sendable<T: Send>() {}
    sendable::<World<DenseTable>>();
    sendable::<World<SharedTable>>();
}

/// Counts departures that were told, and those that were the teller's own verdict.
#[derive(Default)]
struct Verdicts {
    told: u64,
    own: u64,
}

impl Watch for Verdicts {
    fn event(&mut self, _at: Instant, by: usize, event: &Event, roll: &Roll) {
        if matches!(event, Event::Left { .. }) {
            self.told += 1;
            self.own += u64::from(roll.standing(by).by_own_verdict);
        }
    }
}

/// Whoever's own deadline or quorum judged is told apart from those who learn of it.
#[test]
fn own_verdicts_are_told_apart_from_learnt_ones() {
    for detector in [Detector::Observers, Detector::Lifeguard, Detector::Swim] {
        let mut world: World = World::seeded(4)
            .configured(|config| config.detector = detector)
            .warm(60)
            .watched(Verdicts::default());
        world.run_for(secs(10));
        world.apply(&Fault::Crash(vec![7, 8, 9]));
        world.run_for(secs(60));
        let passed: u64 =
            world.running().iter().map(|node| world.node(*node).stats().declared_dead).sum();
        let Some(Verdicts { told, own }) = world.watch() else { panic!("it was hired") };
        assert_eq!(*told, 3 * 57, "{detector:?}: {}", world.replay());
        assert_eq!(*own, passed, "{detector:?}: {}", world.replay());
        assert!((3..*told).contains(own), "{detector:?}: {own} of {told}");
    }
}

/// What crosses from one region to another is told apart; with one region there is nothing to tell.
#[test]
fn bytes_between_regions_are_counted() {
    let mut world: World = World::seeded(6);
    let near = (ms(1), ms(2));
    world
        .network
        .set_regions((0..16).map(|node| node % 2).collect(), &[vec![near; 2], vec![near; 2]]);
    let mut world = world.warm(16);
    world.run_for(secs(30));
    let ledger = world.ledger();
    let all: u64 = ledger.by_regions.values().sum();
    assert_eq!(all, ledger.total.bytes);
    let across = ledger.cross_region_bytes().expect("two regions");
    assert!(across > 0 && across < all, "{across} of {all}");
    let mut world: World = World::seeded(6).warm(16);
    world.run_for(secs(5));
    assert_eq!(world.ledger().cross_region_bytes(), None);
}
