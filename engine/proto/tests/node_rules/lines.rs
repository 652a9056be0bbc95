//! Which memory a node needs next, told to a driver of many.

use mesh_gossip_proto::Timer;
use mesh_gossip_proto::node::Coming;

use super::*;

/// Its own lines are a third of it, each told once; what they point to lies elsewhere.
#[test]
fn a_node_names_the_lines_that_it_needs() {
    let node = acquainted(&["b", "c"]);
    let within = |address: &usize| {
        let start = (&raw const node).addr();
        (start..start + size_of::<Node>()).contains(address)
    };
    let mut own = Vec::new();
    node.lines(|address| own.push(address.addr()));
    assert!(own.iter().all(within), "{own:?}");
    assert!((10..40).contains(&own.len()) && own.len() * 64 * 2 < size_of::<Node>());
    let mut lines: Vec<usize> = own.iter().map(|address| address / 64).collect();
    lines.dedup();
    assert_eq!(lines.len(), own.len());
    let told = |coming| {
        let mut others = Vec::new();
        node.deeper_lines(coming, |address| others.push(address.addr()));
        // A list that was never written has no place yet.
        others.retain(|address| *address > 64);
        assert!(others.len() >= 3 && !others.iter().any(within), "{others:?}");
        others
    };
    let [ping, ack] = [kind::PING, kind::ACK].map(|kind| told(Coming::Datagram(kind)));
    assert_ne!(ping, ack, "who asks and who answers needs different ones");
    assert_ne!(told(Coming::Deadline), ack);
    assert!(node.contact(id("b")).is_some() && node.contact(id("z")).is_none());
    assert!(!within(&node.contact_line(id("b")).addr()));
}

/// Only a turn of its watch tells whom a node will ping.
#[test]
fn a_node_names_whom_it_will_ping() {
    let mut node = acquainted(&["b", "c"]);
    let mut turns = 0;
    for _ in 0..60 {
        let (now, timer) = node.poll_timeout().unwrap();
        let subject = node.next_subject();
        if timer == Timer::Watch {
            turns += 1;
            assert!(subject == Some(id("b")) || subject == Some(id("c")));
        } else {
            assert_eq!(subject, None, "{timer:?}");
        }
        node.handle_timeout(now);
        drain(&mut node, now);
    }
    assert!(turns > 0);
}
