//! Runs: what leaves as one datagram arrives as those that were queued, and where the kernel cannot
//! cut, nobody notices.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::tests::{backend, hear, loopback, opened, pattern, settle};
use super::{AnyDatagrams, Backend, DATAGRAM_MAX_BYTES, Datagrams, bind};
use crate::options::BackendChoice;

/// A socket that is not the backend's.
fn stranger() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(loopback()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

fn next(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = [0; 4_096];
    let (len, from) = socket.recv_from(&mut bytes).unwrap();
    (bytes[..len].to_vec(), from)
}

fn set(socket: &UdpSocket, level: i32, option: i32, value: i32) {
    let len = size_of::<i32>() as libc::socklen_t;
    let value: *const i32 = &raw const value;
    // SAFETY: the kernel reads an integer of the length given during the call.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value.cast(), len) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// A socket of the backend whose datagrams carry no checksum, which cutting needs.
fn uncut(io: &mut AnyDatagrams) -> (super::SocketId, SocketAddr) {
    let socket = bind(loopback()).unwrap();
    set(&socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1);
    let addr = socket.local_addr().unwrap();
    (io.open(socket).unwrap(), addr)
}

/// The ring's requests fail on demand since 6.10 only.
fn injects(io: &mut AnyDatagrams) -> bool {
    let (id, addr) = opened(io);
    io.queue().faults.push_back(libc::ENETDOWN);
    let before = io.stats().send_failed;
    io.send(id, addr, b"lost");
    settle(io);
    let works = io.stats().send_failed == before + 1;
    assert!(works || io.backend() == Backend::Uring);
    io.close(id);
    works
}

both! {
    fn what_peers_get_does_not_show_that_it_left_in_runs(io) {
        let (a, a_addr) = opened(&mut io);
        let (b, b_addr) = opened(&mut io);
        let peers = [stranger(), stranger(), stranger()];
        let mut sent = vec![Vec::new(); 3];
        // Three peers in turn; lengths that make runs of one to six, empty ones among them.
        let lens = [400, 400, 400, 120, 400, 1_200, 1_200, 0, 64, 64, 64, 64, 64, 64, 2_000, 2_000];
        for round in 0..180_usize {
            let (peer, from) = (round % 3, if round % 5 == 0 { b } else { a });
            let mut bytes = pattern(lens[round / 3 % lens.len()]);
            if let Some(first) = bytes.first_mut() {
                *first = round as u8;
            }
            io.send(from, peers[peer].1, &bytes);
            sent[peer].push((bytes, if from == a { a_addr } else { b_addr }));
        }
        settle(&mut io);
        for ((socket, _), sent) in peers.iter().zip(sent) {
            let heard: Vec<_> = sent.iter().map(|_| next(socket)).collect();
            // The order between two sockets is not promised.
            for from in [a_addr, b_addr] {
                let of = |list: &[(Vec<u8>, SocketAddr)]| {
                    list.iter().filter(|(_, at)| *at == from).cloned().collect::<Vec<_>>()
                };
                assert_eq!(of(&heard), of(&sent));
            }
        }
        let stats = io.stats();
        assert_eq!((stats.sent, stats.send_failed, stats.runs_refused), (180, 0, 0));
        assert!(stats.runs > 10 && stats.run_datagrams > 2 * stats.runs, "{stats:?}");
    }

    fn a_burst_to_one_peer_is_one_send(io) {
        let (a, _) = opened(&mut io);
        let (b, b_addr) = opened(&mut io);
        settle(&mut io);
        for number in 0..64_u8 {
            io.send(a, b_addr, &[number; 900]);
        }
        let heard = hear(&mut io, 64);
        assert!(heard.iter().all(|(id, _, bytes)| *id == b && bytes.len() == 900));
        assert!(heard.iter().map(|(_, _, bytes)| bytes[0]).eq(0..64));
        assert_eq!((io.stats().runs, io.stats().run_datagrams), (1, 64));
    }

    fn what_leaves_as_one_arrives_as_one_and_is_handed_out_in_pieces(io) {
        let (a, a_addr) = opened(&mut io);
        let (b, b_addr) = opened(&mut io);
        settle(&mut io);
        let mut sent = Vec::new();
        for number in 0..50_u8 {
            // The last one is shorter than the others.
            let bytes = vec![number; if number == 49 { 7 } else { 700 }];
            io.send(a, b_addr, &bytes);
            sent.push((b, a_addr, bytes));
        }
        assert_eq!(hear(&mut io, 50), sent);
        let stats = io.stats();
        assert_eq!((stats.runs, stats.joined, stats.received), (1, 50, 50));
        io.send(a, b_addr, b"alone");
        assert_eq!(hear(&mut io, 1), [(b, a_addr, b"alone".to_vec())]);
        assert_eq!(io.stats().joined, 50);
    }

    /// Each turn hands out a turn's worth, and begins with what the last one had no room for.
    fn a_run_that_a_turn_has_no_room_for_goes_on_in_the_next(io) {
        let (b, b_addr) = opened(&mut io);
        settle(&mut io);
        let senders: Vec<_> = (0..5).map(|_| opened(&mut io)).collect();
        for (number, (a, _)) in senders.iter().enumerate() {
            for piece in 0..60_u8 {
                io.send(*a, b_addr, &[number as u8, piece]);
            }
        }
        let heard = hear(&mut io, 300);
        assert!(heard.iter().all(|(id, _, _)| *id == b));
        for (number, (_, from)) in senders.iter().enumerate() {
            let of = heard.iter().filter(|(_, at, _)| at == from).map(|(_, _, bytes)| &bytes[..]);
            assert!(of.eq((0..60).map(|piece| [number as u8, piece])), "in order, each once");
        }
        assert_eq!(io.stats().received, 300);
    }

    /// What a turn had no room for goes with its socket, and takes nothing with it: there are far
    /// fewer buffers than rounds.
    fn a_socket_closed_with_pieces_left_gives_its_buffer_back(io) {
        let (alone, joined) = (stranger().0, stranger().0);
        set(&joined, libc::SOL_UDP, libc::UDP_SEGMENT, 30);
        let mut left = 0;
        for _ in 0..200 {
            let (c, c_addr) = opened(&mut io);
            settle(&mut io);
            alone.send_to(b"first", c_addr).unwrap();
            joined.send_to(&[7; 64 * 30], c_addr).unwrap();
            let before = io.stats().received;
            while io.stats().received - before < 64 {
                io.turn(Some(Duration::from_secs(5)), &mut |id, _, _| assert_eq!(id, c)).unwrap();
            }
            let received = io.stats().received;
            left += usize::from(received - before == 64);
            io.close(c);
            settle(&mut io);
            assert_eq!(io.stats().received, received, "nothing is heard of a closed socket");
        }
        // A busy machine delivers late now and then, so that a turn has room for all.
        assert!(left > 100, "{left} sockets were closed with a piece left");
        let (c, c_addr) = opened(&mut io);
        alone.send_to(b"still there", c_addr).unwrap();
        assert_eq!(hear(&mut io, 1)[0].0, c);
    }

    fn pieces_longer_than_a_datagram_of_ours_are_dropped_and_counted(io) {
        let (a, a_addr) = opened(&mut io);
        let (peer, peer_addr) = stranger();
        set(&peer, libc::SOL_UDP, libc::UDP_SEGMENT, DATAGRAM_MAX_BYTES as i32 + 1);
        peer.send_to(&vec![7; 3 * (DATAGRAM_MAX_BYTES + 1) + 5], a_addr).unwrap();
        assert_eq!(hear(&mut io, 1), [(a, peer_addr, vec![7; 5])]);
        assert_eq!((io.stats().truncated, io.stats().received), (3, 1));
    }

    fn without_runs_each_goes_by_itself(io) {
        let (a, a_addr) = opened(&mut io);
        io.make_runs(false);
        for number in 0..64_u8 {
            io.send(a, a_addr, &[number; 900]);
        }
        assert!(hear(&mut io, 64).iter().map(|(_, _, bytes)| bytes[0]).eq(0..64));
        assert_eq!((io.stats().runs, io.stats().sent), (0, 64));
    }

    fn a_kernel_that_cannot_cut_is_asked_once_and_nothing_is_lost(io) {
        let (a, a_addr) = uncut(&mut io);
        settle(&mut io);
        for number in 0..200_u8 {
            io.send(a, a_addr, &[number; 700]);
        }
        let heard = hear(&mut io, 200);
        assert!(heard.iter().map(|(_, _, bytes)| bytes[0]).eq(0..200));
        let stats = io.stats();
        assert_eq!((stats.sent, stats.send_failed), (200, 0));
        assert_eq!((stats.runs, stats.runs_refused), (0, 1));
        assert!(!io.makes_runs());
    }

    /// As a device without checksum offload answers.
    fn a_refusal_by_the_device_is_remembered_too(io) {
        if !injects(&mut io) {
            println!("skipped: the kernel injects no faults");
            return;
        }
        let before = io.stats();
        let (a, a_addr) = opened(&mut io);
        io.queue().faults.push_back(libc::EIO);
        for number in 0..100_u8 {
            io.send(a, a_addr, &[number; 300]);
        }
        assert!(hear(&mut io, 100).iter().map(|(_, _, bytes)| bytes[0]).eq(0..100));
        let stats = io.stats();
        assert_eq!((stats.runs_refused, stats.runs), (1, before.runs));
        assert_eq!(stats.send_failed, before.send_failed);
        assert!(!io.makes_runs());
    }

    /// Anybody may tell us an address that no socket reaches: others must not pay for it.
    fn a_peer_that_cannot_be_reached_does_not_end_the_runs_of_others(io) {
        let (a, a_addr) = opened(&mut io);
        let nowhere = "127.0.0.1:0".parse().unwrap();
        for number in 0..10_u8 {
            io.send(a, nowhere, &[number; 300]);
            io.send(a, a_addr, &[number; 300]);
        }
        assert!(hear(&mut io, 10).iter().map(|(_, _, bytes)| bytes[0]).eq(0..10));
        settle(&mut io);
        let stats = io.stats();
        assert_eq!((stats.sent, stats.send_failed), (20, 10));
        assert_eq!((stats.runs, stats.runs_refused), (1, 1));
        assert!(io.makes_runs());
    }

    /// The kernel fragments a datagram that is longer than the path is wide, but not a run of them.
    fn on_a_narrow_path_only_small_datagrams_make_runs(io) {
        let Ok(socket) = bind((Ipv6Addr::LOCALHOST, 0).into()) else {
            println!("skipped: ::1 is absent");
            return;
        };
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU, 1_280);
        let addr = socket.local_addr().unwrap();
        let id = io.open(socket).unwrap();
        for _ in 0..2 {
            for number in 0..20_u8 {
                io.send(id, addr, &[number; 1_500]);
            }
            assert!(hear(&mut io, 20).iter().map(|(_, _, bytes)| bytes[0]).eq(0..20));
        }
        assert_eq!((io.stats().runs_refused, io.stats().runs), (1, 0));
        for number in 0..20_u8 {
            io.send(id, addr, &[number; 1_200]);
        }
        assert!(hear(&mut io, 20).iter().map(|(_, _, bytes)| bytes[0]).eq(0..20));
        let stats = io.stats();
        assert_eq!((stats.runs, stats.run_datagrams, stats.runs_refused), (1, 20, 1));
        assert_eq!((stats.sent, stats.send_failed), (60, 0));
    }

    /// A full socket buffer and a full device queue.
    fn a_run_that_finds_no_room_is_lost_and_counted_and_the_next_leaves(io) {
        if !injects(&mut io) {
            println!("skipped: the kernel injects no faults");
            return;
        }
        for (errno, number) in [(libc::EAGAIN, 1), (libc::ENOBUFS, 2)] {
            let before = io.stats();
            let (a, a_addr) = opened(&mut io);
            io.queue().faults.push_back(errno);
            for _ in 0..8 {
                io.send(a, a_addr, b"lost");
            }
            settle(&mut io);
            io.send(a, a_addr, &[number]);
            let heard = hear(&mut io, 1);
            assert_eq!(heard, [(a, a_addr, vec![number])]);
            let stats = io.stats();
            assert_eq!(stats.send_failed - before.send_failed, 8);
            assert_eq!(stats.runs_refused, 0, "no room is not the fault of runs");
            assert!(io.makes_runs());
        }
    }
}
