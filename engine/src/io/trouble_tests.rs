//! What a kernel, a network or a neighbour can do to a loop, and that it goes on.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::tests::{PATIENCE, backend, hear, loopback, opened, settle};
use super::uring::Uring;
use super::uring_sends::SendCall;
use super::{AnyDatagrams, Backend, Datagrams, TURN_MAX_DATAGRAMS, bind, start};
use crate::options::BackendChoice;

fn choice_of(io: &AnyDatagrams) -> BackendChoice {
    match io.backend() {
        Backend::Uring => BackendChoice::Uring,
        Backend::Mmsg => BackendChoice::Mmsg,
    }
}

/// Runs a story on a thread that has a network of its own, without any interface that is up. Needs
/// root; elsewhere it is skipped.
fn in_a_network_of_its_own(story: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let told = scope.spawn(|| {
            // SAFETY: takes no pointer, and moves this thread alone.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                println!("skipped: no network namespace: {}", io::Error::last_os_error());
                return;
            }
            story();
        });
        told.join().unwrap();
    });
}

/// Switches the loopback interface of this thread's network on or off.
fn loopback_is(up: bool) {
    const NAME: &CStr = c"lo";
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    // SAFETY: all of its fields are integers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(NAME.to_bytes()) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = if up { libc::IFF_UP as i16 } else { 0 };
    // SAFETY: the kernel reads the request, which is ours, during the call.
    let set = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

both! {
    /// The interface goes while the loop runs, and comes back.
    fn an_interface_that_goes_and_comes_back_costs_only_what_was_sent_meanwhile(io) {
        settle(&mut io);
        let choice = choice_of(&io);
        drop(io);
        in_a_network_of_its_own(|| {
            loopback_is(true);
            let (mut io, _) = start(choice).unwrap();
            let (a, a_addr) = opened(&mut io);
            io.send(a, a_addr, b"before");
            assert_eq!(hear(&mut io, 1).len(), 1);
            loopback_is(false);
            for _ in 0..5 {
                io.send(a, a_addr, b"lost");
                io.send(a, "192.0.2.1:9".parse().unwrap(), b"no route");
            }
            settle(&mut io);
            let stats = io.stats();
            // Without a route a send is refused; one to ourselves may vanish in silence.
            assert!((5..=10).contains(&stats.send_failed), "{stats:?}");
            assert_eq!((stats.sent, stats.received), (11, 1));
            loopback_is(true);
            io.send(a, a_addr, b"after");
            assert_eq!(hear(&mut io, 1), [(a, a_addr, b"after".to_vec())]);
            assert!(io.makes_runs(), "an interface that is down is not the fault of runs");
        });
    }

    /// A connected socket is told that nobody listens; its loop is not disturbed.
    fn a_refused_connection_is_one_datagrams_loss(io) {
        let nobody = bind(loopback()).unwrap().local_addr().unwrap();
        let socket = bind(loopback()).unwrap();
        socket.connect(nobody).unwrap();
        let addr = socket.local_addr().unwrap();
        let id = io.open(socket).unwrap();
        let (other, other_addr) = opened(&mut io);
        for _ in 0..10 {
            io.send(id, nobody, b"anybody?");
            settle(&mut io);
        }
        // Somebody listens there at last.
        let somebody = UdpSocket::bind(nobody).unwrap();
        somebody.send_to(b"hello", addr).unwrap();
        io.send(other, other_addr, b"undisturbed");
        let heard = hear(&mut io, 2);
        assert!(heard.contains(&(id, nobody, b"hello".to_vec())), "{heard:?}");
        assert!(heard.contains(&(other, other_addr, b"undisturbed".to_vec())), "{heard:?}");
    }

    fn what_a_full_receive_buffer_drops_is_told_by_the_kernel(io) {
        let socket = bind(loopback()).unwrap();
        SockRef::from(&socket).set_recv_buffer_size(4_096).unwrap();
        let addr = socket.local_addr().unwrap();
        let id = io.open(socket).unwrap();
        let (other, other_addr) = opened(&mut io);
        let peer = UdpSocket::bind(loopback()).unwrap();
        for _ in 0..500 {
            peer.send_to(&[7; 1_000], addr).unwrap();
        }
        settle(&mut io);
        let dropped = io.receive_drops(id);
        assert!(dropped > 0);
        assert_eq!(io.stats().received + dropped, 500);
        assert_eq!(io.receive_drops(other), 0, "it is counted by socket");
        io.send(other, addr, b"room again");
        assert_eq!(hear(&mut io, 1), [(id, other_addr, b"room again".to_vec())]);
        io.close(id);
        assert_eq!(io.receive_drops(id), 0);
    }

    /// Counted in turns: a flood that always has more keeps nobody waiting for long.
    fn a_flooded_socket_leaves_each_turn_room_for_the_others(io) {
        const QUIET: usize = 20;
        /// The kernel takes from a socket in portions of 32 before it looks at the next.
        const MOST_TURNS: usize = 8;
        let (flooded, flooded_addr) = opened(&mut io);
        let quiet: Vec<_> = (0..QUIET).map(|_| opened(&mut io)).collect();
        settle(&mut io);
        let peer = UdpSocket::bind(loopback()).unwrap();
        for _ in 0..4 * TURN_MAX_DATAGRAMS {
            peer.send_to(b"flood", flooded_addr).unwrap();
        }
        for round in 0..50_usize {
            let (id, addr) = quiet[round % QUIET];
            peer.send_to(b"quiet", addr).unwrap();
            let (mut turns, mut heard) = (0, false);
            while !heard {
                turns += 1;
                assert!(turns <= MOST_TURNS, "round {round}: not heard in {turns} turns");
                io.turn(Some(PATIENCE), &mut |from, _, _| {
                    heard |= from == id;
                    if from == flooded {
                        peer.send_to(b"flood", flooded_addr).unwrap();
                    }
                }).unwrap();
            }
        }
    }

    fn sockets_come_and_go_and_the_others_lose_nothing(io) {
        let (a, a_addr) = opened(&mut io);
        let (b, b_addr) = opened(&mut io);
        let mut heard = BTreeMap::from([(a, Vec::new()), (b, Vec::new())]);
        let mut passing = Vec::new();
        for round in 0..300_u32 {
            let (id, addr) = opened(&mut io);
            io.send(a, b_addr, &round.to_be_bytes());
            io.send(b, a_addr, &round.to_be_bytes());
            io.send(id, addr, b"passing");
            passing.push(id);
            // Some leave with a receive in the kernel, some without, some with one that fires.
            if round % 3 > 0 {
                io.turn(Some(Duration::ZERO), &mut |from, _, bytes| {
                    if let Some(heard) = heard.get_mut(&from) {
                        heard.push(u32::from_be_bytes((&*bytes).try_into().unwrap()));
                    }
                }).unwrap();
            }
            if passing.len() > 5 {
                io.close(passing.remove(round as usize % 5));
            }
        }
        while heard.values().any(|heard| heard.len() < 300) {
            let rest = hear(&mut io, 1);
            assert!(!rest.is_empty(), "{heard:?}");
            for (id, _, bytes) in rest {
                if let Some(heard) = heard.get_mut(&id) {
                    heard.push(u32::from_be_bytes(bytes.try_into().unwrap()));
                }
            }
        }
        for (id, heard) in heard {
            assert_eq!(heard, (0..300).collect::<Vec<_>>(), "{id:?}");
        }
        assert_eq!(io.stats().send_failed, 0);
    }

    /// An answer that comes while the loop looks ends the look; a ring does too.
    fn a_loop_that_spins_hears_and_wakes_like_one_that_sleeps(io) {
        io.spin(Duration::from_millis(1));
        let (a, a_addr) = opened(&mut io);
        settle(&mut io);
        for number in 0..200_u8 {
            io.send(a, a_addr, &[number]);
            assert_eq!(hear(&mut io, 1), [(a, a_addr, vec![number])]);
        }
        let stats = io.stats();
        assert!(stats.spins_paid > 50 && stats.spins >= stats.spins_paid, "{stats:?}");
        for _ in 0..50 {
            io.waker().wake();
            assert_eq!(io.turn(None, &mut |_, _, _| {}).unwrap(), 0);
        }
        // Nothing comes: looks become rare.
        let before = io.stats().spins;
        for _ in 0..200 {
            io.turn(Some(Duration::from_micros(100)), &mut |_, _, _| {}).unwrap();
        }
        assert!(io.stats().spins - before < 20, "{:?}", io.stats());
        io.spin(Duration::ZERO);
        let before = io.stats().spins;
        settle(&mut io);
        assert_eq!(io.stats().spins, before);
    }
}

/// More completes at once than the ring has room for.
#[test]
fn completions_beyond_the_ring_are_kept_by_the_kernel_and_all_are_taken() {
    let Ok(mut io) = Uring::with_completions(256) else {
        println!("skipped: no io_uring");
        return;
    };
    // Each refusal by itself, and none is taken before the next turn.
    io.queue().make_runs(false);
    io.queue().make_no_calls();
    let socket = bind(loopback()).unwrap();
    let addr = socket.local_addr().unwrap();
    let id = io.open(socket).unwrap();
    for _ in 0..5 {
        io.turn(Some(Duration::from_millis(1)), &mut |_, _, _| {}).unwrap();
    }
    for number in 0..200_u8 {
        for _ in 0..3 {
            io.send(id, "127.0.0.1:0".parse().unwrap(), b"refused");
        }
        io.send(id, addr, &[number]);
    }
    let mut heard = Vec::new();
    for _ in 0..100 {
        io.turn(Some(Duration::from_millis(10)), &mut |_, _, bytes| heard.push(bytes[0])).unwrap();
    }
    let stats = io.stats();
    assert!(stats.overflows > 0, "{stats:?}");
    assert_eq!((stats.sent, stats.send_failed), (800, 600));
    assert!(heard.iter().copied().eq(0..200), "each once, in order: {heard:?}");
}

/// Kernels before the address in SEND.
#[test]
fn sendmsg_serves_where_send_takes_no_address() {
    let Ok(mut io) = Uring::new() else {
        println!("skipped: no io_uring");
        return;
    };
    io.send_without_address();
    assert_eq!(io.send_call(), SendCall::SendMsg);
    io.queue().make_runs(false);
    io.queue().make_no_calls();
    let socket = bind(loopback()).unwrap();
    let addr = socket.local_addr().unwrap();
    let id = io.open(socket).unwrap();
    let mut numbers = Vec::new();
    for number in 0..100_u8 {
        io.send(id, addr, &[number; 100]);
    }
    for _ in 0..10 {
        io.turn(Some(Duration::from_millis(50)), &mut |_, from, bytes| {
            assert_eq!((from, &*bytes), (addr, &[bytes[0]; 100][..]));
            numbers.push(bytes[0]);
        })
        .unwrap();
    }
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    assert_eq!(io.stats().send_failed, 0);
}
