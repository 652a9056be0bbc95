//! Bulk sync over real TCP and real TLS, between control threads of both kinds and strangers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use mesh_gossip_proto::sync::snapshot::Entries;
use mesh_gossip_proto::{Extent, MemberId, State, StreamRequest};

use super::frames::{Frame, MAX_BODY};
use super::stage_tests::{AGENT, Certified, Person, Setting, Stage, TestMesh, id, stranger};
use super::stream::Driver;
use super::sync::SyncLimits;
use crate::io::Backend;
use crate::orders::{MOST_FORGED, Order, PIECES, Work};

const BACKENDS: [Backend; 2] = [Backend::Uring, Backend::Mmsg];

fn ask(peer: MemberId, address: SocketAddr, members: &[MemberId]) -> Work {
    let request = StreamRequest { peer, address, members: members.to_vec() };
    Work::Stream { agent: AGENT, request }
}

/// Members in the pieces received from `peer`, up to the end of the exchange.
fn received(stage: &Stage, peer: MemberId) -> (usize, bool) {
    let mut members = 0;
    loop {
        match stage.order() {
            Order::Sync { agent: AGENT, from, entries, .. } if from == peer => {
                members += Entries::new(&entries).map(Result::unwrap).count();
            }
            Order::StreamClosed { agent: AGENT, from, complete, .. } if from == peer => {
                return (members, complete);
            }
            _ => panic!("an order that no exchange gives"),
        }
    }
}

fn answered(stage: &Stage) -> usize {
    let mut members = 0;
    while let Some(order) = stage.orders.pop() {
        let Order::Sync { entries, .. } = order else { panic!("no order of a responder") };
        members += Entries::new(&entries).map(Result::unwrap).count();
    }
    members
}

/// `setting` served under the certificate of its first person.
fn stage(mesh: &TestMesh, setting: Setting) -> Stage {
    let certified = mesh.certify(setting.people[0].name);
    Stage::set(setting, certified)
}

/// Rules A-3 and S-19: whole states cross in both directions, whatever drives either side.
#[test]
fn states_are_exchanged_between_every_pair_of_runtimes() {
    let mesh = TestMesh::new();
    let many: Vec<&'static str> = (0..300)
        .map(|number| match number {
            0 => "b",
            number => &*Box::leak(format!("member-{number}").into_boxed_str()),
        })
        .collect();
    for requester in BACKENDS {
        for responder in BACKENDS {
            let a = stage(&mesh, Setting::new(requester, &["a", "a1", "a2"]));
            let b = stage(&mesh, Setting::new(responder, &many));
            assert_eq!(a.control.driver() == Driver::Ring, requester == Backend::Uring);
            a.work(ask(id("b"), b.sync, &[]));
            assert_eq!(received(&a, id("b")), (300, true), "{requester:?} asks {responder:?}");
            a.sync_ended("requester", "complete");
            b.sync_ended("responder", "complete");
            assert_eq!(answered(&b), 3);
        }
    }
}

/// Rule A-3: a list of members brings those and takes nothing.
#[test]
fn a_list_is_answered_with_its_members_only() {
    let mesh = TestMesh::new();
    for backend in BACKENDS {
        let a = stage(&mesh, Setting::new(backend, &["a"]));
        let b = stage(&mesh, Setting::new(backend, &["b", "c", "d", "e"]));
        a.work(ask(id("b"), b.sync, &[id("d"), id("nobody")]));
        assert_eq!(received(&a, id("b")), (1, true));
        b.sync_ended("responder", "complete");
        assert_eq!(answered(&b), 0);
    }
}

/// Rule S-19: who answers for another is not listened to.
#[test]
fn another_member_than_the_expected_one_is_refused() {
    let mesh = TestMesh::new();
    for backend in BACKENDS {
        let a = stage(&mesh, Setting::new(backend, &["a"]));
        let b = stage(&mesh, Setting::new(backend, &["b"]));
        a.work(ask(id("c"), b.sync, &[]));
        assert_eq!(received(&a, id("c")), (0, false));
        a.sync_ended("requester", "wrong-peer");
        assert_eq!(answered(&b), 0, "and nothing was said to it");
    }
}

/// Rule S-19: a foreign authority and another protocol end the exchange, from either side.
#[test]
fn strangers_and_other_protocols_are_refused() {
    let (mesh, foreign) = (TestMesh::new(), TestMesh::new());
    let b = stage(&mesh, Setting::new(Backend::Mmsg, &["b"]));
    let a = stage(&foreign, Setting::new(Backend::Uring, &["a"]));
    a.work(ask(id("b"), b.sync, &[]));
    assert_eq!(received(&a, id("b")), (0, false));
    a.sync_ended("requester", "tls");
    b.sync_ended("responder", "tls");
    let silent = Setting::new(Backend::Mmsg, &["s"]);
    let silent = Stage::set(silent, mesh.certify_for("s", &[]));
    silent.work(ask(id("b"), b.sync, &[]));
    assert_eq!(received(&silent, id("b")), (0, false));
    silent.sync_ended("requester", "protocol");
    b.sync_ended("responder", "protocol");
}

#[test]
fn nobody_at_the_address_is_a_failed_exchange() {
    let mesh = TestMesh::new();
    let a = stage(&mesh, Setting::new(Backend::Mmsg, &["a"]));
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    a.work(ask(id("b"), closed, &[]));
    assert_eq!(received(&a, id("b")), (0, false));
    a.sync_ended("requester", "dial");
}

/// Sends `bytes` inside TLS and waits for the end.
fn say(certified: &Certified, address: SocketAddr, bytes: &[u8]) {
    let mut stream = stranger(certified, address);
    // The other end may have hung up before all of it was written.
    let _ = stream.write_all(bytes).and_then(|()| stream.flush());
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Rule S-19: garbage below and above TLS ends its exchange and nothing else.
#[test]
fn garbage_is_counted_and_the_next_exchange_works() {
    let mesh = TestMesh::new();
    let member = mesh.certify("m");
    for backend in BACKENDS {
        let b = stage(&mesh, Setting::new(backend, &["b"]));
        let mut raw = TcpStream::connect(b.sync).unwrap();
        raw.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let _ = raw.read_to_end(&mut Vec::new());
        b.sync_ended("responder", "tls");
        let request = Frame::Request(Vec::new()).encode();
        let too_long = [vec![2, 0], ((MAX_BODY + 1) as u32).to_le_bytes().to_vec()].concat();
        for garbage in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            Frame::End.encode(),
            [request.clone(), request.clone()].concat(),
            [request.clone(), too_long].concat(),
            [request, vec![2, 0, 4, 0, 0, 0, 1, 2, 3, 4]].concat(),
        ] {
            say(&member, b.sync, &garbage);
        }
        b.sync_ended("responder", "frame");
        let a = stage(&mesh, Setting::new(backend, &["a"]));
        a.work(ask(id("b"), b.sync, &[]));
        assert_eq!(received(&a, id("b")), (1, true));
    }
}

/// Rule S-19: a member is told which of its datagrams came, and nothing else happens.
#[test]
fn a_member_is_told_which_of_its_datagrams_came() {
    let mesh = TestMesh::new();
    for backend in BACKENDS {
        let b = stage(&mesh, Setting::new(backend, &["b"]));
        let mut stream = stranger(&mesh.certify("m"), b.sync);
        // Of the stage, even ones came.
        stream.write_all(&Frame::Heard(vec![7, 8, 9, 10]).encode()).unwrap();
        stream.flush().unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, Frame::Heard(vec![8, 10]).encode());
        b.sync_ended("responder", "complete");
        assert_eq!(answered(&b), 0);
    }
}

/// Rule B-1: a direction has an end, whoever sends.
#[test]
fn more_bytes_than_allowed_end_the_exchange() {
    let mesh = TestMesh::new();
    for backend in BACKENDS {
        let tight = SyncLimits { most_bytes: 1_000, ..SyncLimits::default() };
        let large = Setting::new(backend, &["b", "c", "d", "e", "f", "g", "h", "i", "j"]);
        let b = stage(&mesh, large);
        let a = stage(&mesh, Setting { limits: tight, ..Setting::new(backend, &["a"]) });
        a.work(ask(id("b"), b.sync, &[]));
        assert_eq!(received(&a, id("b")), (0, false));
        a.sync_ended("requester", "too-large");
    }
}

/// Rules A-3 and B-1: the departed of a long day fail no exchange; as many as fit are told.
#[test]
fn departed_members_are_told_as_far_as_they_fit() {
    let mesh = TestMesh::new();
    for backend in BACKENDS {
        let mut crowded = Setting::new(backend, &["b", "c"]);
        for number in 0..300 {
            let name = Box::leak(format!("gone-{number}").into_boxed_str());
            crowded.people.push(Person { name, state: State::Dead });
        }
        crowded.limits = SyncLimits { most_bytes: 40_000, ..SyncLimits::default() };
        let b = stage(&mesh, crowded);
        let a = stage(&mesh, Setting::new(backend, &["a"]));
        a.work(ask(id("b"), b.sync, &[]));
        let (members, complete) = received(&a, id("b"));
        assert!(complete && (2..302).contains(&members), "{members}");
        b.counted("mesh_gossip_limit_reached_total{mesh_limit=\"state\"} 1");
        b.sync_ended("responder", "complete");
        a.sync_ended("requester", "complete");
    }
}

/// Rule B-1: silence gives its place back, before the handshake and after it.
#[test]
fn silence_ends_an_exchange() {
    let mesh = TestMesh::new();
    for backend in BACKENDS {
        let brief = |idle| SyncLimits { idle, ..SyncLimits::default() };
        let limits = brief(Duration::from_millis(150));
        let b = Setting { limits, ..Setting::new(backend, &["b"]) };
        let b = stage(&mesh, b);
        let mut raw = TcpStream::connect(b.sync).unwrap();
        assert_eq!(raw.read(&mut [0; 9]).unwrap(), 0, "the responder hangs up");
        b.sync_ended("responder", "idle");
        // A handshake takes its time on a busy machine and must be over by then.
        let limits = brief(Duration::from_secs(1));
        let b = stage(&mesh, Setting { limits, ..Setting::new(backend, &["b"]) });
        say(&mesh.certify("m"), b.sync, &[1, 0]);
        b.sync_ended("responder", "idle");
    }
}

/// Rule B-1: one peer cannot take every place.
#[test]
fn a_peer_with_enough_exchanges_gets_no_more() {
    let mesh = TestMesh::new();
    let limits = SyncLimits { per_peer: 2, ..SyncLimits::default() };
    let b = stage(&mesh, Setting { limits, ..Setting::new(Backend::Mmsg, &["b"]) });
    let greedy = mesh.certify("greedy");
    let _held: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = stranger(&greedy, b.sync);
            // Half a frame: the responder waits for the rest.
            stream.write_all(&[1]).unwrap();
            stream.flush().unwrap();
            std::thread::sleep(Duration::from_millis(50));
            stream
        })
        .collect();
    say(&greedy, b.sync, &[1]);
    b.sync_ended("responder", "crowded");
    let a = stage(&mesh, Setting::new(Backend::Mmsg, &["a"]));
    a.work(ask(id("b"), b.sync, &[]));
    assert_eq!(received(&a, id("b")), (1, true), "others are served");
}

/// Rule S-7: a peer whose wishes for whole states have no end waits for most of them, and only it.
#[test]
fn a_peer_that_asks_for_all_again_and_again_is_kept_waiting() {
    let mesh = TestMesh::new();
    let b = stage(&mesh, Setting::new(Backend::Mmsg, &["b"]));
    let greedy = mesh.certify("greedy");
    let everything = [Frame::Request(Vec::new()).encode(), Frame::End.encode()].concat();
    (0..40).for_each(|_| say(&greedy, b.sync, &everything));
    b.sync_ended("responder", "complete");
    b.sync_ended("responder", "crowded");
    let a = stage(&mesh, Setting::new(Backend::Mmsg, &["a"]));
    a.work(ask(id("b"), b.sync, &[]));
    assert_eq!(received(&a, id("b")), (1, true), "others are served");
}

/// Rule S-7: so many pieces of states are on their way to a shard and no more, whoever sends how
/// much; and an exchange ends that brings what is forged.
#[test]
fn a_peer_that_sends_faster_than_we_verify_waits() {
    let mesh = TestMesh::new();
    for backend in BACKENDS {
        let b = stage(&mesh, Setting::new(backend, &["b"]));
        let (member, at) = (mesh.certify("m"), b.sync);
        let sender = std::thread::spawn(move || {
            let entry = [&[1, 0, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0][..], &[0; 25_600]].concat();
            let piece = Frame::Entries(entry).encode();
            let all = [Frame::Request(Vec::new()).encode(), piece.repeat(12)].concat();
            let mut stream = stranger(&member, at);
            // It is hung up on before it is through, perhaps.
            let _ = stream.write_all(&all).and_then(|()| stream.flush());
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let mut merging: Vec<Order> = (0..PIECES).map(|_| b.order()).collect();
        std::thread::sleep(Duration::from_millis(200));
        assert!(b.orders.is_empty(), "the others wait with their sender");
        merging.pop();
        merging.push(b.order());
        let Order::Sync { ticket, .. } = &merging[0] else { panic!("a piece") };
        ticket.forged(MOST_FORGED - 1);
        assert!(ticket.is_wanted());
        ticket.forged(1);
        assert!(!ticket.is_wanted(), "nor are those that are queued");
        merging.clear();
        b.sync_ended("responder", "forged");
        assert!(b.orders.is_empty());
        sender.join().unwrap();
    }
}

/// Rule B-1: connections beyond every place are closed and counted.
#[test]
fn a_crowd_beyond_every_place_is_turned_away() {
    let mesh = TestMesh::new();
    let limits = SyncLimits { inbound: 1, waiting: 1, ..SyncLimits::default() };
    let b = stage(&mesh, Setting { limits, ..Setting::new(Backend::Uring, &["b"]) });
    let _waiting = [TcpStream::connect(b.sync).unwrap(), TcpStream::connect(b.sync).unwrap()];
    let mut third = TcpStream::connect(b.sync).unwrap();
    assert_eq!(third.read(&mut [0; 9]).unwrap(), 0, "the responder hangs up at once");
    b.sync_ended("responder", "crowded");
}

/// A shard that takes no orders fails the exchange and blocks nothing.
#[test]
fn a_busy_shard_fails_the_exchange() {
    let mesh = TestMesh::new();
    let limits = SyncLimits { offers: 3, retry: Duration::from_millis(1), ..SyncLimits::default() };
    let a = stage(&mesh, Setting { limits, orders: 1, ..Setting::new(Backend::Mmsg, &["a"]) });
    let b = stage(&mesh, Setting::new(Backend::Mmsg, &["b"]));
    let (agent, from, extent) = (AGENT, id("b"), Extent::Whole);
    let another = Order::StreamClosed { agent, from, extent, complete: true };
    assert!(a.orders.push(another).is_ok(), "the queue was empty");
    a.work(ask(id("b"), b.sync, &[]));
    a.sync_ended("requester", "shard");
}

/// Rules S-16 and S-19: an exchange with somebody whose certificate falls ends there and then, at
/// both ends of it.
#[test]
fn an_exchange_with_a_revoked_member_ends_at_once() {
    let mesh = TestMesh::new();
    for backend in BACKENDS {
        // A responder that never answers, and a requester that never goes on.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = silent.local_addr().unwrap();
        let server = mesh.certify("b").server;
        let (asked, is_asked) = std::sync::mpsc::channel();
        let responder = std::thread::spawn(move || {
            let (stream, _) = silent.accept().unwrap();
            let tls = rustls::ServerConnection::new(server).unwrap();
            let mut stream = rustls::StreamOwned::new(tls, stream);
            stream.read_exact(&mut [0]).unwrap();
            asked.send(()).unwrap();
            let mut everything = Vec::new();
            // Until the other side hangs up.
            let _ = stream.read_to_end(&mut everything);
        });
        let a = stage(&mesh, Setting::new(backend, &["a"]));
        let mut requester = stranger(&mesh.certify("c"), a.sync);
        // One entry, whatever is in it: until its end the requester is told nothing.
        let entry = [&[1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0][..], &[0; 256]].concat();
        let said = [Frame::Request(Vec::new()).encode(), Frame::Entries(entry).encode()].concat();
        requester.write_all(&said).unwrap();
        requester.flush().unwrap();
        // Both exchanges are under way, each with somebody whose certificate was judged, once what
        // was said inside them has arrived.
        let Order::Sync { from, .. } = a.order() else { panic!("what the requester said") };
        assert_eq!(from, id("c"));
        a.work(ask(id("b"), at, &[]));
        is_asked.recv_timeout(Duration::from_secs(10)).expect("a request");
        for name in ["b", "c"] {
            a.site.trust.revoke(name);
        }
        // Far below the ten seconds that silence is suffered.
        a.sync_ended("requester", "fallen");
        a.sync_ended("responder", "fallen");
        assert_eq!(received(&a, id("b")), (0, false));
        assert!(requester.read(&mut [0; 16]).map_or(true, |read| read == 0));
        responder.join().unwrap();
        // And it is not let in again.
        let mut again = stranger(&mesh.certify("c"), a.sync);
        let _ = again.write_all(&Frame::Request(Vec::new()).encode());
        assert!(again.read(&mut [0; 16]).map_or(true, |read| read == 0));
        a.sync_ended("responder", "anonymous");
    }
}
