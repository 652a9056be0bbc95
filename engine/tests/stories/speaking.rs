//! Hosts speak: to all, to one, and in somebody else's name (rules U-1, U-3, U-6 and U-7).

use std::net::UdpSocket;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use mesh_gossip::AgentError;
use mesh_gossip::link::{LinkOptions, Links};
use mesh_gossip::proto::membership::broadcast::{BroadcastId, MOST_BYTES};
use mesh_gossip::proto::wire::message::{Packet, kind};
use mesh_gossip::proto::{
    Broadcast, CommandError, Destination, Event, Instant, MemberId, Transmit, WallTime,
};
use mesh_gossip::tls::authority::{Intermediates, MeshAuthority};
use mesh_gossip::tls::credentials::Credentials;

use crate::mesh::host::ANSWER;
use crate::mesh::{Authority, Host, Spec, Stage, everyone_alive, on_both_backends, until};

const CLUSTER: &str = "speakers";
const NAMES: [&str; 5] = ["ada", "bob", "cyd", "dan", "eve"];
/// So long a thing that must not happen gets to happen: ten ticks of gossip.
const A_WHILE: Duration = Duration::from_secs(2);

fn five(stage: &Stage, authority: &Authority) -> Vec<Host> {
    let mut hosts: Vec<Host> = Vec::new();
    for name in NAMES {
        let mut spec = Spec::new(authority.options(name, "worker"));
        if let Some(first) = hosts.first() {
            spec = spec.seed(first.agent.local_address());
        }
        hosts.push(spec.start(stage.backend));
    }
    until("all five are there", || everyone_alive(&hosts.iter().collect::<Vec<_>>()));
    hosts
}

/// What a host was told that others said: to all, by whom, about what, and what.
type Told = (bool, MemberId, u16, Vec<u8>);

fn told(host: &Host, into: &mut Vec<Told>) {
    let batches = std::iter::from_fn(|| host.agent.next_events(Duration::ZERO));
    for told in batches.flatten() {
        match told.event {
            Event::Broadcast { from, topic, bytes } => {
                into.push((true, from, topic, bytes.to_vec()));
            }
            Event::Message { from, topic, bytes } => {
                into.push((false, from, topic, bytes.to_vec()));
            }
            _ => {}
        }
    }
}

/// Rules U-3 and U-6.
#[test]
fn a_word_reaches_all_exactly_once_and_a_message_its_member() {
    on_both_backends(|stage| {
        let authority = Authority::of(CLUSTER);
        let hosts = five(stage, &authority);
        let (ada, bob) = (&hosts[0], &hosts[1]);
        let content = vec![0xa5; MOST_BYTES];
        ada.agent.broadcast(7, b"hello").unwrap();
        ada.agent.broadcast_latest(8, 1, &content).unwrap();
        bob.agent.send_to(ada.agent.member_id(), 9, b"psst").unwrap();
        let mut heard: Vec<Vec<Told>> = vec![Vec::new(); hosts.len()];
        let mut collect = || {
            for (host, heard) in hosts.iter().zip(&mut heard) {
                told(host, heard);
            }
            heard.iter().map(Vec::len).collect::<Vec<_>>() == [1, 2, 2, 2, 2]
        };
        until("everybody heard everything", &mut collect);
        sleep(A_WHILE);
        assert!(collect(), "and nobody twice");
        for heard in &mut heard[1..] {
            heard.sort();
            let from = ada.agent.member_id();
            assert_eq!(heard[0], (true, from, 7, b"hello".to_vec()));
            assert_eq!(heard[1], (true, from, 8, content.clone()));
        }
        assert_eq!(heard[0], [(false, bob.agent.member_id(), 9, b"psst".to_vec())]);
        let metrics = hosts[2].metrics();
        let heard = metrics.sum("mesh_gossip_broadcasts_total", &[("mesh_outcome", "heard")]);
        assert_eq!(heard, 2);

        let too_large = ada.agent.broadcast(7, &[0; MOST_BYTES + 1]);
        let limit = CommandError::TooLarge(MOST_BYTES + 1, MOST_BYTES);
        assert_eq!(too_large, Err(AgentError::Command(limit.clone())));
        let too_large = ada.agent.send_to(bob.agent.member_id(), 7, &[0; MOST_BYTES + 1]);
        assert_eq!(too_large, Err(AgentError::Command(limit)));
        let nobody = ada.agent.send_to(MemberId([9; 16]), 7, b"");
        assert_eq!(nobody, Err(AgentError::Command(CommandError::NoSuchMember)));
    });
}

/// Rule U-1: a member of the mesh speaks in another's name.
#[test]
fn a_word_in_anothers_name_is_refused_and_counted() {
    on_both_backends(|stage| {
        let authority = Authority::of(CLUSTER);
        let hosts = five(stage, &authority);
        let (ada, bob) = (&hosts[0], &hosts[1]);
        let mut liar = Liar::certified(&authority, "liar");
        let shown = bob.member("ada").expect("it is known");
        let life = shown.record.record().incarnation.generation;
        let forged = liar.forge(ada.agent.member_id(), life, shown.record.signer());
        let rejected = || {
            let labels = [("mesh_reason", "broadcast-signature")];
            bob.metrics().sum("mesh_gossip_rejected_total", &labels)
        };
        until("the lie is refused", || {
            liar.tell(bob, &forged);
            rejected() > 0
        });
        // The lie does not stand in the way of what ada says under that very number.
        ada.agent.broadcast(7, b"the truth").unwrap();
        let mut heard = Vec::new();
        for host in &hosts[1..] {
            until("the truth is heard", || {
                told(host, &mut heard);
                !heard.is_empty()
            });
            sleep(A_WHILE / 4);
            told(host, &mut heard);
            let from = ada.agent.member_id();
            assert_eq!(heard, [(true, from, 7, b"the truth".to_vec())], "{}", host.name());
            heard.clear();
        }
        for host in &hosts[2..] {
            let stats = host.agent.inspect(ANSWER).unwrap().stats;
            assert_eq!(stats.rejected.get("broadcast-signature"), None, "it went no further");
        }
    });
}

/// A member with a certificate and no node: it says what it likes.
struct Liar {
    links: Links,
    authority: Arc<MeshAuthority>,
    socket: UdpSocket,
    started: std::time::Instant,
}

impl Liar {
    fn certified(authority: &Authority, name: &str) -> Self {
        let tls = authority.issue(name, "worker").tls_options(&authority.0);
        let credentials = Credentials::load(&tls, CLUSTER, name, "worker").unwrap();
        let local = credentials.member_id();
        let intermediates = Arc::new(Intermediates::default());
        let authority = Arc::new(MeshAuthority::new(Arc::new(credentials), intermediates));
        let links = Links::new(LinkOptions {
            local,
            cluster_id: CLUSTER.to_owned(),
            authority: Arc::clone(&authority),
            seed: 1,
            linger: Duration::from_secs(5),
        });
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { links, authority, socket, started: std::time::Instant::now() }
    }

    fn now(&self) -> Instant {
        let since = self.started.elapsed() + Duration::from_secs(60);
        Instant::from_nanos(u64::try_from(since.as_nanos()).unwrap())
    }

    /// A broadcast of `origin` that says that its certificate signed it.
    fn forge(&self, origin: MemberId, generation: u64, signer: [u8; 32]) -> Vec<u8> {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let said = WallTime(u64::try_from(wall.as_millis()).unwrap());
        let lie = Broadcast { topic: 7, key: None, bytes: b"a lie".to_vec() };
        let id = BroadcastId { origin, generation, sequence: 0 };
        let authority = self.authority.as_ref();
        let mut body = lie.sign(id, said, (CLUSTER, 1_168), authority).unwrap();
        let place = 54 + lie.bytes.len();
        body[place..place + 8].copy_from_slice(&signer[..8]);
        body
    }

    /// Says it to `host`, after a handshake if need be.
    fn tell(&mut self, host: &Host, body: &[u8]) {
        let (now, address) = (self.now(), host.agent.local_address());
        let mut packet = Packet::default();
        assert!(packet.push_raw(1_168, kind::BROADCAST, body));
        let transmit = Transmit { to: Destination::Member(host.agent.member_id()), address };
        let mut sealed = Vec::new();
        if let Some(path) = self.links.send(now, &transmit, packet.as_bytes(), &mut sealed) {
            self.socket.send_to(&sealed, path).unwrap();
        }
        for _ in 0..20 {
            while let Some((to, datagram)) = self.links.poll_transmit() {
                self.socket.send_to(&datagram, to).unwrap();
            }
            let mut room = [0; 65_536];
            while let Ok((size, from)) = self.socket.recv_from(&mut room) {
                let now = self.now();
                let _ = self.links.receive(now, from, &mut room[..size]);
            }
            sleep(Duration::from_millis(2));
        }
        let now = self.now();
        self.links.handle_timeout(now);
    }
}
