//! Which sessions stay: those that are used, and those on which the peer is heard.

use super::tests::{Net, address, credentials, links, message, ping};
use super::*;
use crate::bootstrap::{CaValidity, CertificateAuthority};

const IDLE: Duration = Duration::from_secs(600);
const SECOND: Duration = Duration::from_secs(1);

fn sessions(net: &Net) -> Vec<u64> {
    net.ends.iter().map(|end| end.stats().sessions).collect()
}

/// Handshakes between the first two, where they reach each other; what goes elsewhere is lost.
fn exchange(net: &mut Net, reachable: bool) {
    for _ in 0..8 {
        for from in [0, 1] {
            while let Some((to, mut bytes)) = net.ends[from].poll_transmit() {
                if reachable && to == address(1 - from as u8) {
                    net.ends[1 - from].receive(net.now, address(from as u8), &mut bytes);
                }
            }
        }
    }
}

/// However many members a node has met, it keeps sessions with those alone that it talks to.
#[test]
fn a_session_ends_ten_minutes_after_the_last_datagram() {
    let mut net = Net::of(&["a", "b", "c"]);
    net.send(0, 1, &message(b"to a stranger"));
    net.send(0, 2, &message(b"to a neighbour"));
    net.settle();
    assert_eq!(sessions(&net), [2, 1, 1]);
    // b is met once; c gossips to a, which answers nothing.
    for _ in 0..59 {
        net.run_for(SECOND * 10);
        net.send(2, 0, &message(b"gossip"));
        net.settle();
    }
    assert_eq!(sessions(&net), [2, 1, 1], "ten minutes are not over");
    net.run_for(SECOND * 11);
    assert_eq!(sessions(&net), [1, 0, 1], "one-way talk is use, at both ends");
    assert_eq!((net.ends[0].stats().idled, net.ends[1].stats().idled), (1, 1));
    net.run_for(IDLE);
    assert_eq!(sessions(&net), [0, 0, 0]);
    assert!(net.ends.iter().all(|end| end.poll_timeout().is_none() && end.slots.is_empty()));

    net.send(0, 1, &message(b"again"));
    net.settle();
    assert_eq!(net.received(1).last(), Some(&&message(b"again")[..]), "a handshake away");
}

/// A ring neighbour is pinged every eight intervals: its session never falls idle, and has one
/// successor a day.
#[test]
fn a_neighbours_session_stays() {
    let mut net = Net::of(&["a", "b"]);
    for _ in 0..3_600 / 8 {
        net.send(0, 1, &ping());
        net.run_for(SECOND * 8);
        net.send(1, 0, &message(b"ack"));
        net.settle();
    }
    assert_eq!(sessions(&net), [1, 1]);
    assert_eq!((net.ends[0].stats().dials, net.ends[0].stats().idled), (1, 0));
}

/// One end's session ended and the other's did not, because the last datagrams were lost: the next
/// one is answered with a hint, and the one after it arrives.
#[test]
fn a_datagram_on_an_ended_session_is_answered_with_a_hint() {
    let mut net = Net::of(&["a", "b"]);
    net.send(0, 1, &message(b"hello"));
    net.settle();
    net.run_for(SECOND * 300);
    net.fault = Box::new(|_, _| false);
    net.send(0, 1, &message(b"lost"));
    net.settle();
    net.fault = Box::new(|_, _| true);
    net.run_for(SECOND * 310);
    assert_eq!(sessions(&net), [1, 0]);
    net.send(0, 1, &message(b"unheard"));
    net.settle();
    net.send(0, 1, &message(b"heard"));
    net.settle();
    assert_eq!(net.received(1).last(), Some(&&message(b"heard")[..]));
    assert_eq!(net.ends[1].stats().dropped["unknown-session"], 1);
}

/// Two processes live under one certificate, and the newer one gets the answers. The older one
/// dials anew after five seconds without a word, and again a minute later.
#[test]
fn a_peer_that_answers_elsewhere_is_dialled_anew() {
    let now = std::time::SystemTime::now();
    let ca = CertificateAuthority::create("test", "c", now, CaValidity::default()).unwrap();
    let (a, b) = (credentials(&ca, "c", "a"), credentials(&ca, "c", "b"));
    let ends = [links(a, "c", 1), links(b.clone(), "c", 2), links(b, "c", 3)];
    let mut net = Net::with(ends.into_iter());
    for older_and_newer in [1, 2] {
        net.send(older_and_newer, 0, &message(b"here I am"));
        net.settle();
        net.run_for(SECOND * 2);
    }
    let mut dials = Vec::new();
    for second in 0..130 {
        net.send(1, 0, &ping());
        net.run_for(SECOND);
        // The newer one talks on, so that its session is not silent.
        net.send(2, 0, &message(b"still here"));
        net.settle();
        if net.ends[1].stats().dials > 1 + dials.len() as u64 {
            dials.push(second);
        }
    }
    assert_eq!(dials, [5, 65, 125]);
}

/// Rule S-10: the session's path is dead, and what looks for the peer at its own address is lost at
/// first, or waits behind a handshake that leads elsewhere. It is looked for there again.
#[test]
fn a_peer_off_its_path_is_looked_for_until_it_is_found() {
    let nowhere = address(9);
    for under_way in [false, true] {
        let mut net = Net::of(&["a", "b"]);
        net.send(0, 1, &message(b"hello"));
        net.settle();
        let (peer, index) = (net.id(1), net.ends[0].paths[&address(1)]);
        let Some(Entry::Open(session)) = net.ends[0].slots.get_mut(index) else { unreachable!() };
        session.path = nowhere;
        let mut sent = Vec::new();
        let home = Transmit { to: Destination::Member(peer), address: address(1) };
        let mut ask = |net: &mut Net, seconds: u64, reachable: bool| {
            for _ in 0..seconds {
                net.now += SECOND;
                net.ends[0].handle_timeout(net.now);
                net.ends[0].send(net.now, &home, &ping(), &mut sent);
                exchange(net, reachable);
            }
        };
        if under_way {
            net.ends[0].send(net.now, &home, &ping(), &mut Vec::new());
            assert!(net.ends[0].dial(net.now, Target::Member(peer), nowhere));
        }
        // A whole handshake is lost, or the one under way is in the way.
        ask(&mut net, 6, under_way);
        assert!(net.ends[0].stats().dials >= 2, "looked for, in vain");
        ask(&mut net, 80, true);
        let path = net.ends[0].send(net.now, &home, &message(b"there"), &mut Vec::new());
        assert_eq!(path, Some(address(1)), "a handshake under way: {under_way}");
    }
}

/// Rule S-3: a day-old session gets a successor while traffic goes on.
#[test]
fn an_old_session_is_succeeded_without_a_loss() {
    let mut net = Net::of(&["a", "b"]);
    net.send(0, 1, &message(b"first"));
    net.settle();
    for _ in 0..310 {
        net.run_for(Duration::from_secs(360));
        net.send(0, 1, &message(b"now and then"));
        net.send(1, 0, &message(b"now and then"));
    }
    assert!(net.ends[0].stats().confirmed >= 2, "{:?}", net.ends[0].stats());
    net.send(0, 1, &message(b"still here"));
    net.send(1, 0, &message(b"me too"));
    net.settle();
    assert_eq!(net.received(1).last(), Some(&&message(b"still here")[..]));
    assert_eq!(net.received(0).last(), Some(&&message(b"me too")[..]));
    assert!(net.ends.iter().all(|end| end.stats().sessions <= 2));
}

/// A peer that says nothing is talked to on the same session, but not for a day.
#[test]
fn a_forsaken_session_ends_without_a_successor() {
    let mut net = Net::of(&["a", "b"]);
    net.send(0, 1, &message(b"first"));
    net.settle();
    let dials = net.ends[0].stats().dials;
    net.fault = Box::new(|_, _| false);
    let mut talk = |span: u64| {
        for _ in 0..span / 360 {
            net.run_for(Duration::from_secs(360));
            net.send(0, 1, &message(b"gossip"));
        }
        (net.ends[0].stats().sessions, net.ends[0].stats().dials)
    };
    assert_eq!(talk(17 * 3_600), (1, dials), "it might be there");
    talk(14 * 3_600);
    assert!(net.ends[0].stats().sessions == 0, "{:?}", net.ends[0].stats());
}

/// Rule S-18: two handshakes run at once at one end and one after the other at the other end, so
/// that each prefers another session. The ends come to one choice, and nothing is lost on a
/// session that only one of them has retired.
#[test]
fn ends_that_see_two_orders_settle_on_one() {
    let mut net = Net::of(&["a", "b"]);
    let (low, high) = if net.id(0) < net.id(1) { (0, 1) } else { (1, 0) };
    // The confirmation of the first handshake is late, and so is the answer to the second.
    net.fault = Box::new(move |from, bytes| from != high || bytes[0] != DATA);
    net.send(low, high, &message(b"first"));
    net.settle();
    net.now += SECOND / 20;
    let (peer, path) = (net.id(low), address(low as u8));
    assert!(net.ends[high].dial(net.now, Target::Member(peer), path));
    net.fault = Box::new(move |from, bytes| from != low || bytes[0] != RESP);
    net.run_for(SECOND * 27 / 100);
    net.fault = Box::new(|_, _| true);
    net.run_for(SECOND);
    let best = |net: &Net, end: usize| {
        let index = *net.ends[end].members.values().next().unwrap().first().unwrap();
        let Some(Entry::Open(session)) = net.ends[end].slots.get(index) else { unreachable!() };
        (session.warm().unwrap().attempt, session.initiator(net.id(end)))
    };
    assert_eq!(sessions(&net), [2, 2]);
    assert_eq!(best(&net, low), best(&net, high));
    assert_eq!(best(&net, low).1, net.id(low), "its own was not over when the other began");
    for _ in 0..3 {
        net.run_for(SECOND * 7);
        net.send(high, low, &message(b"after a while"));
        net.run_for(SECOND * 7);
        net.send(low, high, &message(b"and back"));
        net.settle();
    }
    let dropped = |end: &Links| end.stats().dropped;
    assert_eq!(net.ends.iter().map(dropped).collect::<Vec<_>>(), [[].into(), [].into()]);
    assert_eq!((net.received(low).len(), net.received(high).len()), (3, 4));
}
