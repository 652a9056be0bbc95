//! One suite for both backends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{
    AnyDatagrams, DATAGRAM_MAX_BYTES, Datagrams, IoStats, SocketId, TURN_MAX_DATAGRAMS, bind, start,
};
use crate::options::BackendChoice;

/// Set, a backend that is not usable here is a failure and not a reason to skip its tests.
const BOTH: &str = "MESH_GOSSIP_BOTH_BACKENDS";
/// A turn that finds nothing for this long is one too many.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
/// Empty turns that a story may contain: a turn may end early.
const EMPTY_MAX_TURNS: usize = 40;

macro_rules! both {
    ($($(#[$doc:meta])* fn $name:ident($io:ident) $body:block)*) => {
        $(fn $name(mut $io: AnyDatagrams) $body)*
        mod uring {
            $($(#[$doc])* #[test] fn $name() {
                if let Some(io) = super::backend(super::BackendChoice::Uring) { super::$name(io) }
            })*
        }
        mod mmsg {
            $($(#[$doc])* #[test] fn $name() {
                if let Some(io) = super::backend(super::BackendChoice::Mmsg) { super::$name(io) }
            })*
        }
    };
}

pub(super) fn backend(choice: BackendChoice) -> Option<AnyDatagrams> {
    match start(choice) {
        Ok((io, startup)) => {
            assert_eq!(startup.backend, io.backend());
            assert_eq!(io.stats(), IoStats::default(), "the probe leaves no trace");
            Some(io)
        }
        Err(error) => {
            assert!(std::env::var_os(BOTH).is_none(), "{BOTH} is set: {error}");
            println!("skipped: {error}");
            None
        }
    }
}

pub(super) fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A socket of the backend with its address.
pub(super) fn opened(io: &mut AnyDatagrams) -> (SocketId, SocketAddr) {
    let socket = bind(loopback()).unwrap();
    let addr = socket.local_addr().unwrap();
    (io.open(socket).unwrap(), addr)
}

pub(super) type Heard = Vec<(SocketId, SocketAddr, Vec<u8>)>;

/// Takes turns until `count` datagrams were heard, or too many turns found nothing.
pub(super) fn hear(io: &mut AnyDatagrams, count: usize) -> Heard {
    let mut heard = Heard::new();
    let mut empty = 0;
    while heard.len() < count && empty < EMPTY_MAX_TURNS {
        let before = heard.len();
        let received = io
            .turn(Some(PATIENCE), &mut |id, from, bytes| heard.push((id, from, bytes.to_vec())))
            .unwrap();
        assert_eq!(received, heard.len() - before, "a turn counts what it hands out");
        assert!(received <= TURN_MAX_DATAGRAMS);
        empty += usize::from(received == 0);
    }
    heard
}

/// Takes turns until one that waited found nothing.
pub(super) fn settle(io: &mut AnyDatagrams) {
    for _ in 0..5 {
        io.turn(Some(Duration::from_millis(1)), &mut |_, _, _| {}).unwrap();
    }
}

pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + len) as u8).collect()
}

both! {
    fn datagrams_of_every_length_arrive_intact_with_their_source(io) {
        let (a, a_addr) = opened(&mut io);
        let (b, b_addr) = opened(&mut io);
        for len in (0..=1_200).chain([DATAGRAM_MAX_BYTES - 1, DATAGRAM_MAX_BYTES]) {
            io.send(a, b_addr, &pattern(len));
            let heard = hear(&mut io, 1);
            assert_eq!(heard, [(b, a_addr, pattern(len))], "{len} bytes");
        }
        let stats = io.stats();
        assert_eq!((stats.sent, stats.received), (1_203, 1_203));
        assert_eq!((stats.send_failed, stats.truncated), (0, 0));
    }

    fn what_arrived_may_be_changed_in_place_and_the_next_is_not_touched(io) {
        let (a, a_addr) = opened(&mut io);
        for round in 0..300_u32 {
            io.send(a, a_addr, &round.to_be_bytes());
            let mut seen = None;
            while seen.is_none() {
                io.turn(Some(PATIENCE), &mut |_, _, bytes| {
                    seen = Some(bytes.to_vec());
                    bytes.fill(0xFF);
                }).unwrap();
            }
            assert_eq!(seen.unwrap(), round.to_be_bytes());
        }
    }

    fn a_burst_is_taken_in_bounded_turns_and_nothing_is_lost(io) {
        let sockets = [opened(&mut io), opened(&mut io)];
        settle(&mut io);
        let peer = UdpSocket::bind(loopback()).unwrap();
        let peer_addr = peer.local_addr().unwrap();
        for number in 0..500_u32 {
            peer.send_to(&number.to_be_bytes(), sockets[number as usize % 2].1).unwrap();
        }
        let mut numbers = BTreeMap::<SocketId, Vec<u32>>::new();
        let mut turns = 0;
        while numbers.values().map(Vec::len).sum::<usize>() < 500 {
            turns += 1;
            assert!(turns <= 64, "{numbers:?}");
            let received = io.turn(Some(PATIENCE), &mut |id, from, bytes| {
                assert_eq!(from, peer_addr);
                let number = u32::from_be_bytes((&*bytes).try_into().unwrap());
                numbers.entry(id).or_default().push(number);
            }).unwrap();
            assert!(received <= TURN_MAX_DATAGRAMS);
        }
        for (at, (id, _)) in sockets.iter().enumerate() {
            let sent: Vec<u32> = (0..500).filter(|number| *number as usize % 2 == at).collect();
            assert_eq!(numbers[id], sent, "in order, each once");
        }
    }

    fn more_sends_than_slots_all_leave(io) {
        let (a, a_addr) = opened(&mut io);
        for number in 0..200_u32 {
            io.send(a, a_addr, &number.to_be_bytes());
        }
        let heard = hear(&mut io, 200);
        let numbers: Vec<u32> =
            heard.iter().map(|(_, _, bytes)| u32::from_be_bytes(bytes[..].try_into().unwrap()))
                .collect();
        assert_eq!(numbers, (0..200).collect::<Vec<_>>());
        assert_eq!(io.stats().sent, 200);
    }

    fn two_hundred_sockets_share_a_loop_and_none_is_starved_by_a_flood(io) {
        let sockets: Vec<_> = (0..200).map(|_| opened(&mut io)).collect();
        let peer = UdpSocket::bind(loopback()).unwrap();
        for _ in 0..100 {
            peer.send_to(b"flood", sockets[0].1).unwrap();
        }
        for (_, addr) in &sockets {
            peer.send_to(b"drop", addr).unwrap();
        }
        let mut heard = BTreeSet::new();
        let mut turns = 0;
        while heard.len() < 200 {
            turns += 1;
            assert!(turns <= 40, "{} of 200 sockets were heard", heard.len());
            io.turn(Some(PATIENCE), &mut |id, _, _| {
                // The flood goes on, at the pace at which it is read.
                if id == sockets[0].0 {
                    peer.send_to(b"flood", sockets[0].1).unwrap();
                }
                heard.insert(id);
            }).unwrap();
        }
    }

    fn a_socket_closed_while_it_receives_frees_its_port_and_its_id(io) {
        let (mut id, addr) = opened(&mut io);
        let (other, _) = opened(&mut io);
        let mut ids = BTreeSet::from([id]);
        for round in 0..50_u32 {
            io.send(other, addr, &round.to_be_bytes());
            let heard = hear(&mut io, 1);
            assert_eq!(heard[0].0, id);
            // One more is on its way while the socket is closed.
            io.send(other, addr, b"too late");
            io.close(id);
            io.send(id, addr, b"from a closed socket");
            let again = bind(addr).expect("the port is free again");
            id = io.open(again).unwrap();
            assert!(ids.insert(id), "an id is not reused soon");
        }
        settle(&mut io);
        assert_eq!(io.stats().send_failed, 50);
    }

    fn a_socket_that_was_never_armed_can_be_closed(io) {
        let (id, addr) = opened(&mut io);
        io.close(id);
        io.close(id);
        let again = io.open(bind(addr).unwrap()).unwrap();
        io.send(again, addr, b"hello");
        assert_eq!(hear(&mut io, 1), [(again, addr, b"hello".to_vec())]);
    }

    fn a_closed_socket_sends_what_was_queued(io) {
        let (a, _) = opened(&mut io);
        let (b, b_addr) = opened(&mut io);
        io.send(a, b_addr, b"goodbye");
        io.close(a);
        let heard = hear(&mut io, 1);
        assert_eq!((heard[0].0, &heard[0].2[..]), (b, &b"goodbye"[..]));
    }

    fn a_dropped_backend_sends_what_was_queued(io) {
        let peer = UdpSocket::bind(loopback()).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let (a, a_addr) = opened(&mut io);
        settle(&mut io);
        io.send(a, peer.local_addr().unwrap(), b"goodbye");
        drop(io);
        let mut bytes = [0; 16];
        assert_eq!(peer.recv_from(&mut bytes).unwrap(), (7, a_addr));
        bind(a_addr).expect("the port is free again");
    }

    fn a_wake_from_another_thread_ends_a_wait_without_end(io) {
        opened(&mut io);
        settle(&mut io);
        for _ in 0..20 {
            let waker = io.waker();
            let rung = Arc::new(AtomicBool::new(false));
            let ringer = thread::spawn({
                let rung = Arc::clone(&rung);
                move || {
                    thread::sleep(Duration::from_millis(5));
                    rung.store(true, Ordering::Release);
                    waker.wake();
                }
            });
            let mut turns = 0;
            while !rung.load(Ordering::Acquire) {
                assert_eq!(io.turn(None, &mut |_, _, _| {}).unwrap(), 0);
                turns += 1;
            }
            assert!(turns <= 3, "{turns} turns: the wait spins");
            ringer.join().unwrap();
        }
    }

    fn a_ring_before_the_wait_is_not_lost(io) {
        io.waker().wake();
        io.turn(None, &mut |_, _, _| {}).unwrap();
        opened(&mut io);
        settle(&mut io);
        io.waker().wake();
        io.turn(None, &mut |_, _, _| {}).unwrap();
    }

    fn a_storm_of_rings_loses_none_and_costs_few_calls(io) {
        let (a, a_addr) = opened(&mut io);
        let count = Arc::new(AtomicU64::new(0));
        let ringers: Vec<_> = (0..4).map(|_| {
            let (waker, count) = (io.waker(), Arc::clone(&count));
            thread::spawn(move || for _ in 0..5_000 {
                count.fetch_add(1, Ordering::Release);
                waker.wake();
            })
        }).collect();
        // Ends only if the ring that follows the last count is never lost.
        while count.load(Ordering::Acquire) < 20_000 {
            io.turn(None, &mut |_, _, _| {}).unwrap();
        }
        for ringer in ringers {
            ringer.join().unwrap();
        }
        io.send(a, a_addr, b"still there");
        assert_eq!(hear(&mut io, 1).len(), 1);
    }

    fn a_timeout_ends_a_wait_that_nothing_else_ends(io) {
        opened(&mut io);
        settle(&mut io);
        let before = io.stats().syscalls;
        for wait_us in [0, 1, 200, 20_000] {
            let wait = Duration::from_micros(wait_us);
            assert_eq!(io.turn(Some(wait), &mut |_, _, _| {}).unwrap(), 0);
        }
        assert!(io.stats().syscalls - before <= 4, "a wait is one call");
        let (begun, wait) = (Instant::now(), Duration::from_millis(20));
        let mut turns = 0;
        while begun.elapsed() < wait {
            assert_eq!(io.turn(Some(wait), &mut |_, _, _| {}).unwrap(), 0);
            turns += 1;
        }
        assert!(turns <= 3, "{turns} turns: the wait is cut short");
    }

    fn a_turn_that_may_not_wait_takes_what_is_there(io) {
        let (a, a_addr) = opened(&mut io);
        settle(&mut io);
        io.send(a, a_addr, b"now");
        let mut heard = 0;
        // Loopback delivers during the send, or a little later on a busy machine.
        let end = Instant::now() + Duration::from_secs(5);
        while heard == 0 && Instant::now() < end {
            heard += io.turn(Some(Duration::ZERO), &mut |_, _, _| {}).unwrap();
        }
        assert_eq!(heard, 1);
    }

    fn a_port_that_nobody_listens_on_does_not_break_the_socket(io) {
        let (a, a_addr) = opened(&mut io);
        let nobody = bind(loopback()).unwrap().local_addr().unwrap();
        for _ in 0..20 {
            io.send(a, nobody, b"anybody?");
            settle(&mut io);
        }
        io.send(a, a_addr, b"me");
        assert_eq!(hear(&mut io, 1), [(a, a_addr, b"me".to_vec())]);
    }

    fn a_refused_send_is_counted_and_its_neighbours_leave(io) {
        let (a, a_addr) = opened(&mut io);
        io.send(a, a_addr, b"before");
        // Port 0 is refused by the kernel; an IPv6 peer is out of reach for an IPv4 socket.
        io.send(a, "127.0.0.1:0".parse().unwrap(), b"refused");
        io.send(a, "[::1]:9".parse().unwrap(), b"out of reach");
        io.send(a, a_addr, b"after");
        let heard = hear(&mut io, 2);
        assert_eq!((&heard[0].2[..], &heard[1].2[..]), (&b"before"[..], &b"after"[..]));
        settle(&mut io);
        let stats = io.stats();
        assert_eq!((stats.sent, stats.send_failed), (3, 2));
    }

    fn a_datagram_longer_than_a_buffer_is_dropped_and_counted(io) {
        let (a, a_addr) = opened(&mut io);
        let peer = UdpSocket::bind(loopback()).unwrap();
        for len in [DATAGRAM_MAX_BYTES + 1, 3_000, 9_000] {
            peer.send_to(&vec![7; len], a_addr).unwrap();
        }
        peer.send_to(b"short", a_addr).unwrap();
        let heard = hear(&mut io, 1);
        assert_eq!(heard, [(a, peer.local_addr().unwrap(), b"short".to_vec())]);
        assert_eq!((io.stats().truncated, io.stats().received), (3, 1));
    }

    // consul#15823: IPv6 alone, and both at once.
    fn ipv6_and_a_dual_stack_socket_speak_to_both_worlds(io) {
        let Ok(six) = bind((Ipv6Addr::LOCALHOST, 0).into()) else {
            println!("skipped: ::1 is absent");
            return;
        };
        let six_addr = six.local_addr().unwrap();
        let six = io.open(six).unwrap();
        let dual = bind((Ipv6Addr::UNSPECIFIED, 0).into()).unwrap();
        let port = dual.local_addr().unwrap().port();
        let dual = io.open(dual).unwrap();
        let (four, four_addr) = opened(&mut io);

        io.send(six, (Ipv6Addr::LOCALHOST, port).into(), b"from six");
        assert_eq!(hear(&mut io, 1), [(dual, six_addr, b"from six".to_vec())]);
        io.send(four, SocketAddr::new(loopback().ip(), port), b"from four");
        assert_eq!(hear(&mut io, 1), [(dual, four_addr, b"from four".to_vec())]);
        io.send(dual, four_addr, b"to four");
        let from = SocketAddr::new(loopback().ip(), port);
        assert_eq!(hear(&mut io, 1), [(four, from, b"to four".to_vec())]);
        io.send(dual, six_addr, b"to six");
        let from = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        assert_eq!(hear(&mut io, 1), [(six, from, b"to six".to_vec())]);
    }

    fn a_turn_in_steady_state_is_one_or_two_calls_for_a_batch(io) {
        let (a, a_addr) = opened(&mut io);
        settle(&mut io);
        let mut calls: Vec<u64> = (0..100).map(|_| {
            let before = io.stats().syscalls;
            for _ in 0..30 {
                io.send(a, a_addr, b"tick");
            }
            assert_eq!(hear(&mut io, 30).len(), 30);
            io.stats().syscalls - before
        }).collect();
        calls.sort_unstable();
        // uring: one enter, now and then one more to re-arm; mmsg: send, wait, take. Where others
        // load the machine loopback delivers late now and then, which takes more turns.
        assert!(calls[calls.len() / 2] <= 4, "{calls:?}");
    }

    fn a_backend_comes_and_goes_with_its_receives_armed(io) {
        drop(io.open(bind(loopback()).unwrap()));
        let choice = match io.backend() {
            super::Backend::Uring => BackendChoice::Uring,
            super::Backend::Mmsg => BackendChoice::Mmsg,
        };
        for _ in 0..20 {
            let (mut io, _) = start(choice).unwrap();
            let peer = UdpSocket::bind(loopback()).unwrap();
            let sockets: Vec<_> = (0..10).map(|_| opened(&mut io)).collect();
            settle(&mut io);
            for (_, addr) in &sockets {
                peer.send_to(b"unread", addr).unwrap();
            }
            io.close(sockets[0].0);
        }
    }
}
