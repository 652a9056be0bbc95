//! Bytes from somebody without a certificate, at the ports of a live agent.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use mesh_gossip::proto::wire::header::{DATA, INIT, INIT_SIZE, RESET_HINT, RESP, RETRY};

use crate::mesh::recording::Datagram;
use crate::mesh::{
    Host, PATIENCE, Spec, Stage, Trio, everyone_alive, nobody_was_lost, on_both_backends,
    uncertified, until,
};

/// A request for everybody (no ids) and the end of what the requester has: the answer to a member
/// would be the whole state.
const EVERYTHING: [u8; 12] = [1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0];

/// An attacker's socket and its books.
struct Attacker {
    socket: UdpSocket,
    victim: SocketAddr,
    sent: usize,
    received: usize,
}

impl Attacker {
    fn of(victim: &Host) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, victim: victim.agent.local_address(), sent: 0, received: 0 }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.sent += self.socket.send_to(bytes, self.victim).unwrap();
        // Not a flood: what is dropped must have been looked at, and no answer may get lost.
        sleep(Duration::from_micros(200));
        self.receive();
    }

    fn receive(&mut self) {
        let mut room = [0; 65_536];
        while let Ok((size, from)) = self.socket.recv_from(&mut room) {
            assert_eq!(from, self.victim);
            self.received += size;
        }
    }

    /// Rule S-6, over all of it.
    fn settle(&mut self) {
        self.receive();
        assert!(self.sent > 0);
        assert!(
            self.received <= 3 * self.sent,
            "{} bytes came back for {}",
            self.received,
            self.sent
        );
    }
}

/// Rules S-6 and W-3.
#[test]
fn garbage_is_dropped_counted_and_hardly_answered() {
    on_both_backends(|stage| {
        let trio = Trio::together(stage);
        let victim = &trio.hosts[0];
        let mut attacker = Attacker::of(victim);
        let random = &mut stage.random();
        for _ in 0..200 {
            let size = random.usize(1..1_400);
            let mut bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(size).collect();
            // Every kind of datagram that is looked at, and some that are not.
            bytes[0] =
                *random.choice(&[DATA, INIT, RESP, RETRY, RESET_HINT, 0, 0x41, 0xff]).unwrap();
            attacker.send(&bytes);
        }
        for kind in [DATA, INIT, RESP, RETRY, RESET_HINT] {
            for size in [1, 2, 15, 16, 17, 31, 63, 66] {
                attacker.send(&[&[kind, 1][..], &[0; 64]].concat()[..size]);
            }
            attacker.send(&[&[kind, 9][..], &[0; 200]].concat());
        }
        attacker.send(&[]);
        for size in [2_001, 9_000, 60_000] {
            attacker.send(&vec![DATA; size]);
        }
        let seen = |reason| until(reason, || victim.metrics().dropped(reason) > 0);
        for reason in
            ["unknown-kind", "truncated", "version", "unknown-session", "retry", "attempt"]
        {
            seen(reason);
        }
        until("the oversized ones are counted", || {
            victim.metrics().sum("mesh_gossip_io_total", &[("mesh_io", "truncated")]) >= 3
        });
        attacker.settle();
        life_goes_on(&trio);
    });
}

/// A ClientHello that is none, and one that never continues.
#[test]
fn handshakes_that_lead_nowhere_end_and_are_counted() {
    on_both_backends(|stage| {
        let trio = Trio::together(stage);
        let victim = &trio.hosts[0];
        let hellos = trio.network.recording();
        let mut hellos = hellos.datagrams.iter().filter(|datagram| {
            // A first INIT: it names no index of the receiver yet.
            datagram.bytes[0] == INIT && datagram.bytes[4..8] == [0; 4]
        });
        let hello = hellos.next_back().expect("somebody dialled").bytes.clone();
        assert_eq!(hello.len(), INIT_SIZE);
        let random = &mut stage.random();
        let mut attackers = Vec::new();
        for _ in 0..20 {
            let mut started = hello.clone();
            random.fill(&mut started[24..32]);
            let mut broken = started.clone();
            random.fill(&mut broken[24..32]);
            random.fill(&mut broken[64..200]);
            // A second handshake of one source would be asked for a cookie.
            for bytes in [started, broken] {
                let mut attacker = Attacker::of(victim);
                attacker.send(&bytes);
                attackers.push(attacker);
            }
        }
        until("the broken ones have failed", || {
            let failures = victim.inspect().links.handshake_failures;
            failures.values().sum::<u64>() >= 20
        });
        until("the others time out", || victim.metrics().handshakes_failed("timeout") >= 20);
        until("and nothing is left of them", || victim.inspect().links.half_open == 0);
        attackers.iter_mut().for_each(Attacker::settle);
        let answered = attackers.iter().filter(|attacker| attacker.received > 0).count();
        assert_eq!(answered, 20, "a server answers a hello");
        life_goes_on(&trio);
    });
}

/// Rule S-4: what was said once is not heard twice.
#[test]
fn recorded_datagrams_are_worthless_to_who_replays_them() {
    on_both_backends(|stage| {
        let trio = Trio::together(stage);
        let [victim, peer, _] = &trio.hosts;
        let before = victim.member(peer.name()).unwrap().incarnation();
        // Something worth repeating, and that it has arrived.
        peer.agent.update_metadata(|metadata| metadata.region = "first".into()).unwrap();
        peer.agent.update_metadata(|metadata| metadata.region = "second".into()).unwrap();
        let region = || victim.member(peer.name()).unwrap().record.record().metadata.region.clone();
        until("the change is seen", || region() == "second");
        let mut attacker = Attacker::of(victim);
        let recording = trio.network.recording();
        let to_victim = |datagram: &&Datagram| datagram.to.as_deref() == Some(victim.name());
        let mut replayed = 0;
        for _ in 0..2 {
            for datagram in recording.datagrams.iter().filter(to_victim) {
                replayed += usize::from(datagram.bytes[0] == DATA);
                attacker.send(&datagram.bytes);
            }
        }
        assert!(replayed >= 4, "{replayed} sealed datagrams");
        // A sealed datagram with one bit changed and a number that was not used yet.
        let mut sealed = recording.datagrams.iter().filter(to_victim);
        let sealed = sealed.rfind(|datagram| datagram.bytes[0] == DATA).unwrap();
        let mut forged = sealed.bytes.clone();
        forged[10] ^= 1;
        attacker.send(&forged);
        until("the replays are counted", || victim.metrics().dropped("replayed") >= 2);
        until("the forgery is counted", || victim.metrics().dropped("forged") >= 1);
        attacker.settle();
        assert_eq!(region(), "second");
        assert!(victim.member(peer.name()).unwrap().incarnation() > before);
        life_goes_on(&trio);
    });
}

/// Rule S-19: the TCP port tells nothing to strangers, and goes on serving members.
#[test]
fn the_sync_port_tells_strangers_nothing() {
    on_both_backends(|stage| {
        let trio = Trio::together(stage);
        let victim = &trio.hosts[0];
        let address = victim.agent.local_address();
        let responses = |outcome| {
            let labels = [("mesh_role", "responder"), ("mesh_outcome", outcome)];
            victim.metrics().sum("mesh_gossip_syncs_total", &labels)
        };

        let random = &mut stage.random();
        for _ in 0..8 {
            let mut stream = TcpStream::connect(address).unwrap();
            let garbage: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(600).collect();
            // The other end may have hung up before all of it was written.
            let _ = stream.write_all(&garbage);
            let _ = stream.shutdown(Shutdown::Write);
            let answer = all_of(stream);
            // At most one TLS alert: a record of type 21.
            assert!(
                answer.len() <= 7 && answer.first().is_none_or(|kind| *kind == 21),
                "{answer:?}"
            );
        }
        until("garbage is counted", || responses("tls") >= 8);

        assert_eq!(
            uncertified::heard_at(address, b"mesh-sync/1", &EVERYTHING),
            b"",
            "nothing was told"
        );
        until("it is counted", || responses("tls") >= 9);

        let before = responses("complete");
        joins(stage, &trio, "late");
        until("the listener goes on", || responses("complete") > before);
        life_goes_on(&trio);
    });
}

fn all_of(mut stream: TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    answer
}

/// A new member finds the mesh through the first host and gets its state.
fn joins(stage: &Stage, trio: &Trio, name: &str) {
    let spec = Spec::new(trio.authority.options(name, "worker"));
    let late = spec.seed(trio.doors[0].address()).start(stage.backend);
    let [mike, alpha, zulu] = trio.all();
    until("the new member is everywhere", || everyone_alive(&[mike, alpha, zulu, &late]));
    until("it has the state", || late.agent.is_joined());
    late.agent.leave(Duration::from_secs(10)).unwrap();
}

/// Probes are still answered, and nobody was lost because of the attack.
fn life_goes_on(trio: &Trio) {
    let acked = |host: &Host| host.inspect().stats.probes_acked;
    let before = trio.hosts.each_ref().map(acked);
    until("probes are answered", || {
        trio.hosts.iter().zip(before).all(|(host, before)| acked(host) >= before + 3)
    });
    nobody_was_lost(trio.pairs());
}
