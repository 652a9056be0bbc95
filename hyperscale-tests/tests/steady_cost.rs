//! What a mesh costs in which nothing happens.

use std::time::Duration;

use hyperscale_tests::World;

/// Rules D-2 and D-11: a ping an interval and its answer, and a look a minute; also where there are
/// fewer strangers than acquaintances to make. memberlist#243 burnt two cores at 2,500 nodes.
#[test]
fn a_quiet_mesh_sends_two_messages_a_node_and_second() {
    for nodes in [10, 14, 17, 18, 19, 20, 21, 22, 26, 40] {
        let mut world: World = World::seeded(3).nodes(nodes);
        world.run_for(Duration::from_secs(60));
        let sent = |world: &World| -> u64 {
            (0..nodes).map(|node| world.node(node).stats().datagrams_out).sum()
        };
        let before = sent(&world);
        world.run_for(Duration::from_secs(120));
        let rate = (sent(&world) - before) as f64 / (nodes as f64 * 120.0);
        assert!(rate <= 2.3, "{}: {rate:.2} messages a node and second", world.replay());
        assert!(rate >= 1.8, "{}: {rate:.2}: nobody looks", world.replay());
    }
}

/// Rules D-5 and S-9: what a network loses costs pings, and hardly a handshake.
#[test]
fn a_lossy_mesh_makes_no_handshake_for_each_lost_ping() {
    for (nodes, loss) in [(32, 0.05), (32, 0.2), (100, 0.1)] {
        let mut world: World = World::seeded(3).nodes(nodes);
        world.run_for(Duration::from_secs(60));
        world.network.loss = loss;
        world.run_for(Duration::from_secs(30));
        let tests =
            |world: &World| -> u64 { (0..nodes).map(|node| world.node(node).stats().tests).sum() };
        let before = tests(&world);
        world.reset_ledger();
        world.run_for(Duration::from_secs(300));
        let (doubts, begun) = (tests(&world) - before, world.ledger().total.handshakes);
        let rate = begun as f64 / (nodes as f64 * 5.0);
        assert!(rate <= 1.5, "{}: {rate:.2} handshakes a node and minute", world.replay());
        assert!(begun > 0, "{}: nobody is looked at afresh", world.replay());
        assert!(doubts > 5 * begun, "{}: {doubts} doubts, {begun} handshakes", world.replay());
    }
}
