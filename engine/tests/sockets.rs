//! Thousands of sockets on one loop.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mesh_gossip::io::{AnyDatagrams, Datagrams, SocketId, TURN_MAX_DATAGRAMS, bind, start};
use mesh_gossip::options::BackendChoice;

const SOCKETS: usize = 4_000;
const PATIENCE: Duration = Duration::from_millis(200);
/// Turns that may bring less than they could: receives are given to 64 sockets a turn.
const SPARE_TURNS: usize = 200;

/// Descriptors are the process's: one test at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Sends one datagram to each and takes turns until all were heard.
fn each_is_heard(io: &mut AnyDatagrams, peer: &UdpSocket, sockets: &[(SocketId, SocketAddr)]) {
    for (_, addr) in sockets {
        peer.send_to(b"hello", addr).unwrap();
    }
    let mut heard = HashMap::<SocketId, usize>::new();
    let (mut turns, most) = (0, sockets.len() / TURN_MAX_DATAGRAMS + SPARE_TURNS);
    while heard.len() < sockets.len() {
        turns += 1;
        assert!(turns <= most, "{} of {} in {turns} turns", heard.len(), sockets.len());
        io.turn(Some(PATIENCE), &mut |id, _, _| *heard.entry(id).or_default() += 1).unwrap();
    }
    assert!(sockets.iter().all(|(id, _)| heard[id] == 1), "each once");
}

fn thousands_of_sockets_share_a_loop(choice: BackendChoice) {
    let _alone = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut io = match start(choice) {
        Ok((io, _)) => io,
        Err(error) => {
            assert!(std::env::var_os("MESH_GOSSIP_BOTH_BACKENDS").is_none(), "{error}");
            return println!("SKIPPED: {error}");
        }
    };
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let socket = match bind("127.0.0.1:0".parse().unwrap()) {
            Ok(socket) => socket,
            Err(error) => return println!("SKIPPED: after {} sockets: {error}", sockets.len()),
        };
        let addr = socket.local_addr().unwrap();
        sockets.push((io.open(socket).unwrap(), addr));
    }
    each_is_heard(&mut io, &peer, &sockets);
    // Half of them go; the others go on, and newcomers take the places.
    for (id, _) in sockets.drain(..SOCKETS / 2) {
        io.close(id);
    }
    for _ in 0..SOCKETS / 4 {
        let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = socket.local_addr().unwrap();
        sockets.push((io.open(socket).unwrap(), addr));
    }
    each_is_heard(&mut io, &peer, &sockets);
    assert_eq!(io.stats().send_failed, 0);
}

#[test]
fn thousands_of_sockets_share_a_ring() {
    thousands_of_sockets_share_a_loop(BackendChoice::Uring);
}

#[test]
fn thousands_of_sockets_share_a_poll_set() {
    thousands_of_sockets_share_a_loop(BackendChoice::Mmsg);
}
