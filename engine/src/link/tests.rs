//! Two to three agents' links over a network of vectors, with real certificates and real TLS.

use super::*;
use crate::bootstrap::{CaValidity, CertificateAuthority, Subject};
use crate::tls::authority::Intermediates;
use crate::tls::credentials::Credentials;
use mesh_gossip_proto::wire::message::{Packet, Ping, kind};
use std::time::SystemTime;

/// Longer than any test.
const VALIDITY: Duration = Duration::from_secs(60 * 86_400);

pub(super) fn ca(cluster: &str) -> CertificateAuthority {
    CertificateAuthority::create("test", cluster, SystemTime::now(), CaValidity::default()).unwrap()
}

pub(super) fn credentials(
    ca: &CertificateAuthority,
    cluster: &str,
    node: &str,
) -> Arc<Credentials> {
    let issued = ca.issue(&Subject::new(node, "worker"), SystemTime::now(), VALIDITY).unwrap();
    Arc::new(Credentials::load(&issued.tls_options(ca), cluster, node, "worker").unwrap())
}

pub(super) fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, n], 17_421))
}

pub(super) fn links(credentials: Arc<Credentials>, cluster: &str, seed: u64) -> Links {
    Links::new(LinkOptions {
        local: credentials.member_id(),
        cluster_id: cluster.into(),
        authority: Arc::new(MeshAuthority::new(credentials, Arc::new(Intermediates::default()))),
        seed,
        linger: Duration::from_secs(5),
    })
}

/// What a test does to a datagram on its way.
type Fault = Box<dyn FnMut(usize, &mut Vec<u8>) -> bool>;

pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) ends: Vec<Links>,
    wire: VecDeque<(usize, SocketAddr, Vec<u8>)>,
    delivered: Vec<(usize, MemberId, Vec<u8>)>,
    sent_by: Vec<usize>,
    datagrams: usize,
    /// Returns whether the datagram of this sender is carried.
    pub(super) fault: Fault,
    pub(super) log: Vec<(usize, Vec<u8>)>,
}

impl Net {
    pub(super) fn of(names: &[&str]) -> Self {
        let ca = ca("c");
        Self::with(
            names
                .iter()
                .enumerate()
                .map(|(n, name)| links(credentials(&ca, "c", name), "c", n as u64 + 1)),
        )
    }

    pub(super) fn with(ends: impl Iterator<Item = Links>) -> Self {
        let ends: Vec<Links> = ends.collect();
        Self {
            now: Instant::ORIGIN + Duration::from_secs(10),
            sent_by: vec![0; ends.len()],
            ends,
            wire: VecDeque::new(),
            delivered: Vec::new(),
            datagrams: 0,
            fault: Box::new(|_, _| true),
            log: Vec::new(),
        }
    }

    pub(super) fn id(&self, n: usize) -> MemberId {
        self.ends[n].local
    }

    pub(super) fn send(&mut self, from: usize, to: usize, payload: &[u8]) {
        let transmit =
            Transmit { to: Destination::Member(self.id(to)), address: address(to as u8) };
        self.send_as(from, &transmit, payload);
    }

    fn send_as(&mut self, from: usize, transmit: &Transmit, payload: &[u8]) {
        let mut sealed = Vec::new();
        if let Some(path) = self.ends[from].send(self.now, transmit, payload, &mut sealed) {
            self.wire.push_back((from, path, sealed));
        }
        self.collect();
    }

    fn collect(&mut self) {
        for (from, end) in self.ends.iter_mut().enumerate() {
            while let Some((to, bytes)) = end.poll_transmit() {
                self.wire.push_back((from, to, bytes));
            }
        }
    }

    /// Carries everything that is on its way.
    pub(super) fn settle(&mut self) {
        while self.carry_one() {}
    }

    /// Carries one datagram; says whether there was one.
    pub(super) fn carry_one(&mut self) -> bool {
        let Some((from, to, mut bytes)) = self.wire.pop_front() else { return false };
        self.sent_by[from] += bytes.len();
        self.datagrams += 1;
        self.log.push((from, bytes.clone()));
        if !(self.fault)(from, &mut bytes) {
            return true;
        }
        let IpAddr::V4(ip) = to.ip() else { unreachable!() };
        let end = usize::from(ip.octets()[3]);
        let got = self.ends[end].receive(self.now, address(from as u8), &mut bytes);
        if let Some(delivery) = got {
            self.delivered.push((end, delivery.from, delivery.payload.to_vec()));
        }
        self.collect();
        true
    }

    pub(super) fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            self.settle();
            let next = self.ends.iter().filter_map(Links::poll_timeout).min();
            match next.filter(|at| *at <= until) {
                Some(at) => {
                    self.now = at.max(self.now);
                    for end in &mut self.ends {
                        end.handle_timeout(self.now);
                    }
                    self.collect();
                }
                None => break,
            }
        }
        self.now = until;
    }

    pub(super) fn received(&self, end: usize) -> Vec<&[u8]> {
        let of = self.delivered.iter().filter(|(at, ..)| *at == end);
        of.map(|(_, _, payload)| payload.as_slice()).collect()
    }
}

use std::net::IpAddr;

pub(super) fn message(text: &[u8]) -> Vec<u8> {
    let mut packet = Packet::default();
    assert!(packet.push_raw(1_100, 200, text));
    packet.into_bytes()
}

pub(super) fn ping() -> Vec<u8> {
    let mut packet = Packet::default();
    assert!(packet.push(1_100, &Ping { sequence: 1.into(), digest: 2.into() }));
    packet.into_bytes()
}

/// Rules S-1, S-5, S-8 and S-9: two strangers become peers, and what was sent arrives with the
/// sender's proven name.
#[test]
fn a_payload_to_a_stranger_arrives_after_one_handshake() {
    let mut net = Net::of(&["a", "b"]);
    net.send(0, 1, &message(b"hello"));
    net.settle();
    let a = net.id(0);
    assert_eq!(net.delivered, [(1, a, message(b"hello"))]);
    let proven = LinkEvent::Proven { peer: net.id(1), path: address(1), seed: false };
    assert_eq!(net.ends[0].take_events(), [proven]);
    net.send(1, 0, &message(b"back"));
    net.settle();
    assert_eq!(net.received(0), [message(b"back")]);
    for end in &net.ends {
        let stats = end.stats();
        assert_eq!((stats.sessions, stats.half_open, stats.confirmed), (1, 0, 1));
        let tls = stats.tls.unwrap();
        assert_eq!((tls.version, tls.suite), ("TLSv1.3", "TLS13_AES_128_GCM_SHA256"));
        assert!(stats.dropped.is_empty() && stats.handshake_failures.is_empty(), "{stats:?}");
    }
}

/// Rule S-5: until the server has confirmed, only PING and CONFIRM leave.
#[test]
fn only_a_ping_travels_with_the_last_flight() {
    let mut net = Net::of(&["a", "b"]);
    let mut payload = ping();
    payload.extend_from_slice(&message(b"record"));
    net.send(0, 1, &payload);
    net.settle();
    let kinds: Vec<Vec<u8>> = net.received(1).iter().map(|payload| kinds(payload)).collect();
    assert_eq!(kinds, [vec![kind::CONFIRM, kind::PING], vec![200]]);
}

fn kinds(payload: &[u8]) -> Vec<u8> {
    let mut rest = payload;
    let mut kinds = Vec::new();
    while let [kind, low, high, ..] = *rest {
        kinds.push(kind);
        rest = &rest[3 + usize::from(u16::from_le_bytes([low, high]))..];
    }
    kinds
}

/// Rule S-6: whatever is lost, the client's repetition brings the handshake through, and the
/// server never sends more than three times what it got before the client is proven.
#[test]
fn a_lossy_path_still_makes_sessions() {
    let mut lost = 0;
    let mut made = 0;
    for seed in 0..40 {
        let mut net = Net::of(&["a", "b"]);
        let mut rng = fastrand::Rng::with_seed(seed);
        net.fault = Box::new(move |_, _| rng.f64() >= 0.2);
        for _ in 0..3 {
            net.send(0, 1, &message(b"x"));
            net.run_for(Duration::from_secs(3));
        }
        lost +=
            net.datagrams - net.ends.iter().map(|end| end.stats().opened as usize).sum::<usize>();
        made += usize::from(net.ends[0].stats().sessions == 1);
        assert!(net.ends.iter().all(|end| end.stats().half_open == 0), "seed {seed}");
    }
    assert!(lost > 40, "the fault never fired");
    assert!(made >= 38, "{made} of 40 at 20 % loss");
}

/// Rule S-6: a source that never proves itself gets at most three bytes for one.
#[test]
fn an_unproven_client_gets_at_most_three_times_its_bytes() {
    let mut net = Net::of(&["a", "b"]);
    // The server's flights are lost: the client can only repeat its first one.
    net.fault = Box::new(|from, _| from == 0);
    net.send(0, 1, &message(b"x"));
    net.run_for(Duration::from_secs(20));
    assert!(net.sent_by[0] >= 3_600, "three INITs of 1,200 bytes: {}", net.sent_by[0]);
    assert!(net.sent_by[1] <= 3 * net.sent_by[0], "{:?}", net.sent_by);
    assert_eq!(net.ends[1].stats().half_open, 0, "half-open state ends by itself");
}

/// Rule S-6: garbage, truncated and foreign datagrams are dropped by reason and earn at most the
/// bytes that they brought.
#[test]
fn hostile_datagrams_are_counted_and_never_amplified() {
    let mut net = Net::of(&["a", "b"]);
    net.send(0, 1, &message(b"x"));
    net.settle();
    let recorded = net.log.clone();
    let mut rng = fastrand::Rng::with_seed(7);
    let end = &mut net.ends[1];
    let (mut brought, mut earned) = (0, 0);
    for round in 0..4_000 {
        let mut bytes = match round % 4 {
            0 => (0..rng.usize(0..1_500)).map(|_| rng.u8(..)).collect::<Vec<u8>>(),
            1 => recorded[rng.usize(..recorded.len())].1.clone(),
            2 => {
                let mut bytes = recorded[rng.usize(..recorded.len())].1.clone();
                bytes.truncate(rng.usize(..bytes.len()));
                bytes
            }
            _ => {
                let mut bytes = recorded[rng.usize(..recorded.len())].1.clone();
                let at = rng.usize(..bytes.len());
                bytes[at] ^= 1 << rng.u32(0..8);
                bytes
            }
        };
        brought += bytes.len();
        assert!(end.receive(net.now, address(9), &mut bytes).is_none(), "round {round}");
        while let Some((_, answer)) = end.poll_transmit() {
            earned += answer.len();
        }
    }
    assert!(earned <= 3 * brought, "{earned} for {brought}");
    let stats = end.stats();
    let reasons = ["truncated", "unknown-kind", "replayed", "forged", "version", "short-init"];
    for reason in reasons {
        assert!(stats.dropped.get(reason).is_some_and(|n| *n > 0), "{reason}: {stats:?}");
    }
}

/// Rule S-8: a certificate of another CA, of another cluster, or of another node makes no session.
#[test]
fn foreign_certificates_make_no_session() {
    let (home, foreign) = (ca("c"), ca("c"));
    let other_cluster = ca("d");
    let cases = [
        (credentials(&foreign, "c", "b"), "c", "unknown-ca"),
        (credentials(&other_cluster, "d", "b"), "d", "unknown-ca"),
    ];
    for (stranger, cluster, reason) in cases {
        let ends = [links(credentials(&home, "c", "a"), "c", 1), links(stranger, cluster, 2)];
        let mut net = Net::with(ends.into_iter());
        net.send(0, 1, &message(b"secret"));
        net.send(1, 0, &message(b"intrusion"));
        net.run_for(Duration::from_secs(10));
        assert!(net.delivered.is_empty());
        let stats = net.ends[0].stats();
        assert_eq!(stats.sessions, 0);
        assert!(stats.handshake_failures.contains_key(reason), "{reason}: {stats:?}");
        assert!(stats.unsent > 0);
    }
}

/// Rule S-8: a dial names the member it expects; another one that answers is refused.
#[test]
fn another_member_at_the_address_is_refused() {
    let mut net = Net::of(&["a", "b", "c"]);
    let transmit = Transmit { to: Destination::Member(net.id(2)), address: address(1) };
    net.send_as(0, &transmit, &message(b"for c"));
    net.run_for(Duration::from_secs(5));
    assert!(net.delivered.is_empty());
    assert!(net.ends[0].stats().handshake_failures.contains_key("other-member"));
}

/// Rule S-8: a seed dial learns who answers, and never accepts ourselves.
#[test]
fn a_seed_dial_learns_the_member_and_refuses_ourselves() {
    let mut net = Net::of(&["a", "b"]);
    let seed = |n| Transmit { to: Destination::Seed, address: address(n) };
    net.send_as(0, &seed(1), &message(b"hello"));
    net.settle();
    let proven = LinkEvent::Proven { peer: net.id(1), path: address(1), seed: true };
    assert_eq!(net.ends[0].take_events(), [proven]);
    assert_eq!(net.received(1), [message(b"hello")]);
    net.send_as(0, &seed(0), &message(b"hello"));
    net.run_for(Duration::from_secs(5));
    assert!(net.ends[0].stats().handshake_failures.contains_key("own-id"));
    assert_eq!(net.ends[0].stats().sessions, 1);
}

/// Rule S-18: both may open at once; both sides then send on the session whose initiator has the
/// lower id, and nothing is lost.
#[test]
fn simultaneous_opens_settle_on_one_session() {
    let mut net = Net::of(&["a", "b"]);
    net.send(0, 1, &message(b"from a"));
    net.send(1, 0, &message(b"from b"));
    net.settle();
    assert_eq!(
        (net.received(0), net.received(1)),
        (vec![&message(b"from b")[..]], vec![&message(b"from a")[..]])
    );
    let lower = net.id(0).min(net.id(1));
    for end in &net.ends {
        let best = *end.members.values().next().unwrap().first().unwrap();
        let Some(Entry::Open(session)) = end.slots.get(best) else { unreachable!() };
        assert_eq!(session.initiator(end.local), lower);
    }
    net.run_for(Duration::from_secs(30));
    assert!(net.ends.iter().all(|end| end.stats().sessions == 1), "the loser retires");
}

/// A restarted peer knows none of our sessions: its hint starts a handshake, and what is sent
/// meanwhile arrives.
#[test]
fn a_restarted_peer_is_reached_again_at_once() {
    let ca = ca("c");
    let (a, b) = (credentials(&ca, "c", "a"), credentials(&ca, "c", "b"));
    let mut net = Net::with([links(a, "c", 1), links(b.clone(), "c", 2)].into_iter());
    net.send(0, 1, &message(b"one"));
    net.settle();
    net.ends[1] = links(b, "c", 99);
    net.now += Duration::from_secs(1);
    net.send(0, 1, &message(b"lost"));
    net.settle();
    net.send(0, 1, &message(b"two"));
    net.settle();
    assert!(net.received(1).contains(&&message(b"two")[..]), "{:?}", net.ends[0].stats());
    assert_eq!(net.ends[0].members[&net.id(1)].len(), 2, "the old one lingers");
    net.run_for(Duration::from_secs(12));
    assert_eq!(net.ends[0].stats().sessions, 1);
}

/// Rule S-10: a member that came back at another address is found there, although its old path
/// is silent and nobody at it can say so.
#[test]
fn a_member_that_moved_is_found_at_its_new_address() {
    let ca = ca("c");
    let (a, b) = (credentials(&ca, "c", "a"), credentials(&ca, "c", "b"));
    // The end at address 1 is the old b, the one at address 2 the new b.
    let ends = [links(a, "c", 1), links(b.clone(), "c", 2), links(b, "c", 3)];
    let mut net = Net::with(ends.into_iter());
    net.send(0, 1, &message(b"one"));
    net.settle();
    // The old one is gone: what goes there is lost.
    net.fault = Box::new(|from, _| from != 1);
    let moved = Transmit { to: Destination::Member(net.id(2)), address: address(2) };
    for _ in 0..3 {
        net.run_for(Duration::from_secs(1));
        net.send_as(0, &moved, &[ping(), message(b"where are you")].concat());
        net.settle();
    }
    assert!(!net.received(2).is_empty(), "{:?}", net.ends[0].stats());
    let path = net.ends[0].send(net.now, &moved, &message(b"there"), &mut Vec::new());
    assert_eq!(path, Some(address(2)));
}

/// The session that is sent on loses its path while the peer goes on talking on an older one: the
/// older one is sent on again.
#[test]
fn a_dead_path_gives_way_to_the_one_that_is_heard() {
    let ca = ca("c");
    let (a, b) = (credentials(&ca, "c", "a"), credentials(&ca, "c", "b"));
    // Two processes live under b's certificate, at addresses 1 and 2.
    let ends = [links(a, "c", 1), links(b.clone(), "c", 2), links(b, "c", 3)];
    let mut net = Net::with(ends.into_iter());
    net.send(1, 0, &message(b"first"));
    net.settle();
    net.now += Duration::from_secs(2);
    net.send(2, 0, &message(b"second"));
    net.settle();
    let path = |net: &mut Net| {
        let transmit = Transmit { to: Destination::Member(net.id(1)), address: address(1) };
        net.ends[0].send(net.now, &transmit, &ping(), &mut Vec::new())
    };
    assert_eq!(path(&mut net), Some(address(2)), "the newest supersedes");
    net.now += Duration::from_millis(1_500);
    net.send(1, 0, &message(b"I am still here"));
    net.settle();
    assert_eq!(path(&mut net), Some(address(1)), "the newest is silent");
}

/// Of two sessions that opened at once one retires; a hint about the other is heeded all the same.
#[test]
fn a_restart_after_a_simultaneous_open_is_noticed() {
    let ca = ca("c");
    let certificates = [credentials(&ca, "c", "a"), credentials(&ca, "c", "b")];
    let ends = certificates.iter().enumerate().map(|(n, own)| links(own.clone(), "c", n as u64));
    let mut net = Net::with(ends);
    net.send(0, 1, &message(b"from a"));
    net.send(1, 0, &message(b"from b"));
    net.run_for(Duration::from_secs(60));
    for restarted in [0, 1] {
        let other = 1 - restarted;
        net.ends[restarted] = links(certificates[restarted].clone(), "c", 77 + restarted as u64);
        net.send(other, restarted, &message(b"lost"));
        net.settle();
        net.send(other, restarted, &message(b"found"));
        net.run_for(Duration::from_secs(60));
        assert_eq!(net.received(restarted).last(), Some(&&message(b"found")[..]), "{restarted}");
    }
}

/// Talk that is owed no answer is no silence: no session is doubted for it.
#[test]
fn one_way_talk_starts_no_handshake() {
    let mut net = Net::of(&["a", "b"]);
    net.send(0, 1, &message(b"one"));
    net.settle();
    let elsewhere = Transmit { to: Destination::Member(net.id(1)), address: address(9) };
    for _ in 0..20 {
        net.run_for(Duration::from_secs(1));
        net.send_as(0, &elsewhere, &message(b"gossip"));
        net.settle();
    }
    assert_eq!(net.ends[0].stats().dials, 1);
}

/// A hint that echoes nothing of ours is ignored.
#[test]
fn a_made_up_hint_starts_nothing() {
    let mut net = Net::of(&["a", "b"]);
    net.send(0, 1, &message(b"one"));
    net.settle();
    let dials = net.ends[0].stats().dials;
    let header = DataHeader::new(0x1234_5678, 0);
    let mut hint = ResetHint::answering(&header).as_bytes().to_vec();
    net.ends[0].receive(net.now, address(1), &mut hint);
    assert_eq!(net.ends[0].stats().dials, dials);
    assert_eq!(net.ends[0].stats().dropped.get("hint"), Some(&1));
}

/// Rules S-2 and S-5: an index rewritten on the way lets TLS finish with diverging keys; no session comes.
#[test]
fn a_rewritten_index_gives_keys_that_differ() {
    let mut net = Net::of(&["a", "b"]);
    net.fault = Box::new(|from, bytes| {
        if from == 1 && bytes[0] == RESP {
            bytes[8] ^= 1; // the sender's index
        }
        if from == 0 && bytes[0] == INIT && bytes[4..8] != [0; 4] {
            bytes[4] ^= 1; // and back, so that the server finds its place
        }
        true
    });
    net.send(0, 1, &message(b"x"));
    net.settle();
    assert!(net.ends.iter().all(|end| end.slots.len() == 1), "TLS is done");
    net.run_for(Duration::from_millis(3_100));
    for end in &net.ends {
        assert_eq!((end.slots.len(), end.stats().half_open), (0, 0), "unconfirmed ones have died");
    }
    net.run_for(Duration::from_secs(5));
    assert!(net.delivered.is_empty());
    assert_eq!(net.ends[0].stats().confirmed + net.ends[1].stats().confirmed, 0);
    assert!(
        net.ends[1]
            .stats()
            .dropped
            .keys()
            .any(|reason| *reason == "trailer" || *reason == "forged")
    );
}

/// Rule S-4: a cloned machine drops everything and starts afresh.
#[test]
fn dropping_all_leaves_nothing_behind() {
    let mut net = Net::of(&["a", "b"]);
    net.send(0, 1, &message(b"one"));
    net.settle();
    net.ends[0].drop_all();
    let stats = net.ends[0].stats();
    assert_eq!((stats.sessions, stats.half_open, net.ends[0].slots.len()), (0, 0, 0));
    net.send(0, 1, &message(b"two"));
    net.settle();
    assert_eq!(net.received(1).last(), Some(&&message(b"two")[..]));
}

/// Rule S-10: an authentic datagram from another source is read, not followed.
#[test]
fn sends_stay_on_the_verified_path() {
    let mut net = Net::of(&["a", "b"]);
    net.send(0, 1, &message(b"one"));
    net.settle();
    let transmit = Transmit { to: Destination::Member(net.id(1)), address: address(1) };
    let mut sealed = Vec::new();
    net.ends[0].send(net.now, &transmit, &message(b"moved"), &mut sealed);
    let elsewhere = address(7);
    assert!(net.ends[1].receive(net.now, elsewhere, &mut sealed).is_some());
    let mut handshakes = Vec::new();
    while let Some((to, bytes)) = net.ends[1].poll_transmit() {
        handshakes.push((to, bytes[0]));
    }
    assert_eq!(handshakes, [(elsewhere, INIT)], "only a handshake may go there");
    let back = Transmit { to: Destination::Member(net.id(0)), address: elsewhere };
    let path = net.ends[1].send(net.now, &back, &message(b"answer"), &mut sealed);
    assert_eq!(path, Some(address(0)));
}

/// Rule S-9: a peer that never confirms may not accept our certificate; somebody should look.
#[test]
fn three_unconfirmed_flights_are_told() {
    let mut net = Net::of(&["a", "b"]);
    // Every confirmation is withheld, as a server that refuses our certificate would.
    net.fault = Box::new(|from, bytes| from == 0 || bytes[0] != DATA);
    net.send(0, 1, &message(b"x"));
    net.run_for(Duration::from_secs(4));
    let rejected = LinkEvent::Rejected { peer: net.id(1) };
    assert!(net.ends[0].take_events().contains(&rejected));
    let stats = net.ends[0].stats();
    assert_eq!((stats.sessions, stats.handshake_failures.get("unconfirmed")), (0, Some(&1)));
    assert_eq!(stats.unsent, 1);
}
