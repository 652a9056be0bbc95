//! The end of a handshake: what it takes to make a session, and what is said again.

use super::tests::{Net, address, ca, credentials, links, message};
use super::*;

/// Rule S-5: the server confirms at once, and again for each last flight that comes again, because
/// its confirmation may have been lost.
#[test]
fn a_last_flight_that_comes_again_is_confirmed_again() {
    let mut net = Net::of(&["a", "b"]);
    net.send(0, 1, &message(b"x"));
    net.settle();
    assert_eq!(net.ends[1].stats().sealed, 1, "at once");
    // The datagram that carries a trailer is the last of its flight.
    let is_last = |(from, bytes): &&(usize, Vec<u8>)| {
        *from == 0 && bytes[0] == INIT && bytes[18..20] != [0, 0]
    };
    let flight = net.log.iter().find(is_last).unwrap().1.clone();
    for times in 2..=3 {
        let now = net.now;
        assert!(net.ends[1].receive(now, address(0), &mut flight.clone()).is_none());
        let mut sent = std::iter::from_fn(|| net.ends[1].poll_transmit());
        let (to, mut confirmation) = sent.next().unwrap();
        assert_eq!((to, confirmation[0], sent.next()), (address(0), DATA, None));
        assert_eq!(net.ends[1].stats().sealed, times);
        let opened = net.ends[0].stats().opened;
        let got = net.ends[0].receive(now, address(1), &mut confirmation);
        assert!(got.is_none(), "a CONFIRM and nothing else");
        assert_eq!(net.ends[0].stats().opened, opened + 1);
    }
    assert_eq!(net.ends[1].stats().sessions, 1);
}

/// Rule S-6: whichever part of the server's flight is lost, the client asks for it soon: the other
/// part tells that there is a server.
#[test]
fn a_lost_part_of_an_answer_is_asked_for_soon() {
    for lost in 0..2 {
        let mut net = Net::of(&["a", "b"]);
        let mut part = 0;
        net.fault = Box::new(move |_, bytes: &mut Vec<u8>| {
            let is_part = bytes[0] == RESP;
            part += usize::from(is_part);
            !is_part || part != lost + 1
        });
        net.send(0, 1, &message(b"x"));
        net.settle();
        assert_eq!(net.ends[0].stats().sessions, 0, "part {lost} is lost");
        net.run_for(Duration::from_millis(50));
        let [client, server] = [0, 1].map(|end| net.ends[end].stats());
        assert_eq!((client.sessions, server.sessions), (1, 1), "part {lost} is lost");
    }
}

/// Rule S-1: rustls completes a handshake with a client that names no protocol; we do not, on
/// either side.
#[test]
fn a_handshake_without_a_protocol_makes_no_session() {
    let ca = ca("c");
    let alice = credentials(&ca, "c", "a");
    let ends = [links(alice.clone(), "c", 1), links(credentials(&ca, "c", "b"), "c", 2)];
    let mut net = Net::with(ends.into_iter());
    let mut silent = rustls::ClientConfig::clone(alice.gossip_client());
    silent.alpn_protocols.clear();
    let (now, expect) = (net.now, Expect::Member(net.id(1)));
    let mut dial = Dial::begin(Arc::new(silent), now, address(1), expect, 0x101, 9, 0).unwrap();
    let server = &mut net.ends[1];
    let mut finished = false;
    for _ in 0..3 {
        for mut datagram in dial.flight(now).unwrap() {
            assert!(server.receive(now, address(0), &mut datagram).is_none());
        }
        while let Some((_, mut answer)) = server.poll_transmit() {
            let parts = Handshake::split(&mut answer).unwrap();
            finished |= dial.take(now, &parts.header, parts.fragment).unwrap();
        }
    }
    assert!(finished, "TLS has nothing against it");
    let stats = server.stats();
    assert_eq!((stats.handshake_failures["alpn"], stats.sessions, stats.half_open), (1, 0, 0));
    let authority = &net.ends[0].authority;
    let us = established::Us { local: net.id(0), cluster_id: "c", authority };
    assert!(matches!(dial.finish(&us), Err(Failure::Alpn)));
}
