//! A whole node, its peers' mouths at the input: whatever members with certificates can say, in
//! any order and at any time.
//!
//! Checked throughout: the node's own record never says what its host did not, only its own
//! incarnation rises, it stands alive in its own table until it leaves, and everything that peers
//! can make it hold keeps its bound (rules B-1 and R-2).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use mesh_gossip_proto::detector::proof::Proof;
use mesh_gossip_proto::detector::vote::{Finding, Seal, SignedVote};
use mesh_gossip_proto::membership::broadcast::BroadcastId;
use mesh_gossip_proto::membership::order::Sentence;
use mesh_gossip_proto::membership::record::first_record;
use mesh_gossip_proto::node::Birth;
use mesh_gossip_proto::wire::message::{Ack, Body, Message, Messages, Packet, kind};
use mesh_gossip_proto::wire::parts::split;
use mesh_gossip_proto::{
    Broadcast, Command, Config, Destination, Detector, Duration, Event, Extent, Incarnation,
    Instant, Lifecycle, Limits, MemberId, MemberTable, Metadata, Node, SignedRecord, State,
    WallTime,
};
use zerocopy::IntoBytes;

use super::input::Input;
use super::names::{CLUSTER, Names};
use super::speech::Topic;
use super::wire::start;

const MOST_STEPS: usize = 200;
const BORN: u64 = 1_000_000;
/// The node is the first; the others are its peers.
const NAMES: [&str; 20] = [
    "me", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10", "p11", "p12", "p13", "p14",
    "p15", "p16", "p17", "p18", "p19",
];
/// Small, so that every limit is met.
const LIMITS: Limits = Limits {
    members: 18,
    metadata_bytes: 512,
    queue_entries: 12,
    pulls: 4,
    relays: 2,
    tests: 4,
    proofs: 4,
    broadcasts: 4,
    broadcast_bytes: 2_000,
    events: 16,
};
/// Datagrams that one call makes at most: each message of a datagram is answered at most twice.
const MOST_ANSWERS: usize = 1_000;
const LEAPS_MS: [u64; 10] = [1, 20, 200, 500, 1_000, 2_100, 5_000, 16_000, 61_000, 700_000];

struct Stage {
    node: Node,
    now: Instant,
    /// What the host has said of itself: an exile's words wait until it is back (rule D-13).
    regions: BTreeSet<String>,
    lifecycles: BTreeSet<Lifecycle>,
    leaving: bool,
    incarnation: Incarnation,
    /// Bit n: whether peer n answers pings.
    answering: u32,
    /// The last ping that each peer was sent.
    pinged: [u32; NAMES.len()],
    round: u64,
    proof: u64,
    /// Of the last question for the time.
    token: u64,
}

fn id(name: &str) -> MemberId {
    MemberId::derive(CLUSTER, name)
}

fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], n as u16 + 1_000))
}

fn metadata(name: &str, region: &str) -> Metadata {
    Metadata {
        node_id: name.into(),
        role: "worker".into(),
        region: region.into(),
        mesh_version: "1".into(),
        ..Metadata::default()
    }
}

/// A node in the middle of whatever its peers say.
pub fn node(data: &[u8]) {
    let mut input = Input::new(data);
    let mut stage = Stage::new(&mut input);
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        stage.step(&mut input);
        stage.drain();
        stage.check();
    }
    for _ in 0..40 {
        stage.wake();
        stage.check();
    }
}

impl Stage {
    fn new(input: &mut Input<'_>) -> Self {
        let shape = input.byte();
        let detector = match shape % 4 {
            0 | 1 => Detector::Observers,
            2 => Detector::Lifeguard,
            _ => Detector::Swim,
        };
        let config = Config { detector, limits: LIMITS, ..Config::new(CLUSTER) };
        let birth = Birth {
            config: Arc::new(config.validate().expect("within its bounds")),
            metadata: metadata(NAMES[0], "r"),
            addresses: vec![address(0)],
            born: WallTime(BORN),
            least_generation: 0,
            authority: Arc::new(Names::of(NAMES[0])),
            seed: u64::from(shape >> 4),
        };
        let now = start();
        let node = Node::new(now, birth).expect("the metadata is complete");
        let incarnation = node.local().record().incarnation;
        let mut stage = Self {
            node,
            now,
            regions: ["r".to_owned()].into(),
            lifecycles: [Lifecycle::Active].into(),
            leaving: false,
            incarnation,
            answering: u32::from(input.word()) << 1,
            pinged: [0; NAMES.len()],
            round: 0,
            proof: 0,
            token: 0,
        };
        for peer in 1..=usize::from(input.byte()) % NAMES.len() {
            let record = signed(peer, 0, Lifecycle::Active, "r");
            stage.tell(peer, kind::RECORD, record.envelope());
        }
        stage.drain();
        stage
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let peer = input.below(NAMES.len());
        // The links let nobody in who shows our own certificate (rule S-8).
        let proven = id(NAMES[peer.max(1)]);
        match input.byte() % 16 {
            0..=6 => {
                let mut packet = Packet::default();
                for _ in 0..=input.below(4) {
                    self.speak(&mut packet, peer, input);
                }
                self.hear(peer, &packet.into_bytes());
            }
            7 => {
                let bytes = input.blob().to_vec();
                self.hear(peer, &bytes);
            }
            8 => {
                let state = self.state_of(input);
                self.node.handle_sync(self.now, proven, &state);
                let end = input.byte();
                let extent = if end & 2 == 0 { Extent::Whole } else { Extent::Part };
                self.node.handle_stream_closed(proven, extent, end & 1 == 0);
            }
            9 => {
                self.now += Duration::from_millis(LEAPS_MS[input.below(LEAPS_MS.len())]);
                self.node.handle_timeout(self.now);
            }
            10..=12 => {
                for _ in 0..=input.below(12) {
                    self.wake();
                }
            }
            13 => self.answering ^= 1 << peer,
            14 => self.command(input),
            _ => match input.below(3) {
                0 => {
                    let seed = input.byte() & 1 == 1;
                    self.node.handle_peer_proven(self.now, proven, address(peer), seed);
                }
                1 => self.node.handle_own_address(self.now, address(peer)),
                _ => {
                    let incarnation = self.incarnation_of(peer);
                    self.node.handle_revoked(self.now, id(NAMES[peer]), incarnation);
                }
            },
        }
    }

    /// One message of a peer, about any member, at an incarnation near the known one.
    fn speak(&mut self, packet: &mut Packet, peer: usize, input: &mut Input<'_>) {
        let choice = input.byte();
        let (subject, other) = (input.below(NAMES.len()), input.below(NAMES.len()));
        let bend = input.byte();
        let at = bent(self.incarnation_of(subject), bend);
        let topic = Topic {
            about: id(NAMES[subject]),
            whose: id(NAMES[other]),
            at,
            sequence: self.pinged[peer].wrapping_add(u32::from(bend >> 6)),
            round: self.round,
            proof: if bend & 8 == 0 { 0 } else { self.proof },
            bend,
        };
        // The last values: what was found before these were said keeps its meaning.
        let (kind, body) = match if choice < 251 { choice % 28 } else { choice } {
            choice @ 253.. => topic.of_views(choice, input),
            choice @ 251.. => topic.of_joins(choice, input),
            choice @ 0..17 => topic.said(choice, input),
            17 => {
                let proof = proof(subject, at, self.round, input);
                self.proof = proof.hash;
                (kind::PROOF, proof.bytes.to_vec())
            }
            18 => {
                let finding = Finding { subject: topic.about, incarnation: at, round: self.round };
                let mut seal = Vec::new();
                vote(peer, &finding).seal.encode(&mut seal);
                (kind::VOTE, [topic.ballot(3).as_bytes(), &seal].concat())
            }
            19 => {
                let body = proof(subject, at, self.round, input).bytes;
                let room = 100 + usize::from(bend);
                let Some((header, part)) = split(kind::PROOF, &body, room).nth(input.below(8))
                else {
                    return;
                };
                (kind::PART, [header.as_bytes(), part].concat())
            }
            20 => (kind::CERTIFICATE, input.blob().to_vec()),
            21 => {
                // Whom an operator sends away leaves: by an operator's hand, so by ours.
                self.leaving |= subject == 0;
                (kind::FORCE_LEAVE, order(subject, at, input.byte()))
            }
            22 => (kind::CERTIFICATE_PULL, [bend; 32].to_vec()),
            23 => (kind::CLOCK_PULL, [bend; 8].to_vec()),
            24 => {
                let wall = BORN + u64::from(input.word()) * 1_000;
                (kind::CLOCK, [self.token.to_le_bytes(), wall.to_le_bytes()].concat())
            }
            25 => (kind::BROADCAST, broadcast(subject, at, input)),
            26 => (kind::DIRECT, [&[bend, 0, 0, 0], input.blob()].concat()),
            _ => {
                let record = signed(subject, u32::from(bend & 3), lifecycle(bend), "s");
                (kind::RECORD, record.envelope().to_vec())
            }
        };
        packet.push_raw(30_000, kind, &body);
    }

    /// The state that a peer sends over a stream.
    fn state_of(&self, input: &mut Input<'_>) -> Vec<u8> {
        let mut state = Vec::new();
        for _ in 0..=input.below(6) {
            let (subject, offset) = (input.below(NAMES.len()), input.byte());
            let record = signed(subject, u32::from(offset & 3), lifecycle(offset), "s");
            state.extend_from_slice(&[1 + (offset >> 6), 0, 0, 0]);
            state.extend_from_slice(&(u32::from(input.byte()) * 1_000).to_le_bytes());
            state.extend_from_slice(&(record.envelope().len() as u32).to_le_bytes());
            state.extend_from_slice(record.envelope());
        }
        state
    }

    fn incarnation_of(&self, member: usize) -> Incarnation {
        let known = self.node.member(id(NAMES[member])).map(|member| member.incarnation());
        known.unwrap_or(Incarnation { generation: BORN, counter: 0 })
    }

    fn command(&mut self, input: &mut Input<'_>) {
        let choice = input.below(5);
        let outcome = match choice {
            0 => {
                let region = format!("region-{}", input.byte());
                let command = Command::SetMetadata(metadata(NAMES[0], &region));
                self.regions.insert(region);
                self.node.handle_command(self.now, command)
            }
            1 => {
                let lifecycle = lifecycle(input.byte() & !0xc0);
                self.lifecycles.insert(lifecycle);
                self.node.handle_command(self.now, Command::SetLifecycle(lifecycle))
            }
            2 | 3 => {
                let seeds = (0..input.below(6)).map(address).collect();
                self.node.handle_command(self.now, Command::Join(seeds))
            }
            _ => {
                let taken = self.node.handle_command(self.now, Command::Leave);
                self.leaving |= taken.is_ok();
                taken
            }
        };
        if let Err(error) = outcome {
            let _ = error.to_string();
        }
    }

    fn tell(&mut self, peer: usize, kind: u8, body: &[u8]) {
        let mut packet = Packet::default();
        if packet.push_raw(30_000, kind, body) {
            self.hear(peer, &packet.into_bytes());
        }
    }

    fn hear(&mut self, peer: usize, payload: &[u8]) {
        self.node.handle_datagram(self.now, id(NAMES[peer]), address(peer), payload);
    }

    /// To the next deadline, however far.
    fn wake(&mut self) {
        if let Some((due, _)) = self.node.poll_timeout() {
            self.now = self.now.max(due);
            self.node.handle_timeout(self.now);
        }
        self.drain();
    }

    /// Takes out what the node sends; those who answer answer its pings.
    fn drain(&mut self) {
        let (mut buffer, mut answers) = (Vec::new(), 0);
        while let Some(transmit) = self.node.poll_transmit(self.now, &mut buffer) {
            answers += 1;
            assert!(answers <= MOST_ANSWERS, "one call, {answers} datagrams");
            assert!(buffer.len() <= 1_168, "{} bytes fit no datagram", buffer.len());
            let Destination::Member(to) = transmit.to else { continue };
            let Some(peer) = NAMES.iter().position(|name| id(name) == to) else { continue };
            assert_ne!(peer, 0, "the node speaks with itself");
            let mut pings = Vec::new();
            for message in Messages::new(&buffer) {
                match message.expect("what the node writes holds") {
                    Message::Ping(ping) => pings.push(ping.sequence),
                    Message::Verify(verify) => self.round = verify.round.get(),
                    Message::Death(death) => self.proof = death.proof.get(),
                    Message::ClockPull(pull) => self.token = pull.token.get(),
                    _ => {}
                }
            }
            for sequence in pings {
                self.pinged[peer] = sequence.get();
                if self.answering & 1 << peer != 0 {
                    self.answers(peer, sequence.get());
                }
            }
        }
        while self.node.poll_stream().is_some() {}
    }

    fn answers(&mut self, peer: usize, sequence: u32) {
        let ack = Ack {
            sequence: sequence.into(),
            incarnation: self.incarnation_of(peer).into(),
            digest: 0.into(),
            baseline: u16::MAX.into(),
            phase_error: 0.into(),
        };
        self.tell(peer, Ack::KIND, ack.as_bytes());
    }

    fn check(&mut self) {
        let own = self.node.local().clone();
        let said = own.record();
        assert_eq!((said.id, &said.addresses[..]), (id(NAMES[0]), &[address(0)][..]));
        assert!(said.incarnation >= self.incarnation, "our incarnation only rises");
        self.incarnation = said.incarnation;
        if !self.leaving {
            self.check_words(&own);
        }
        let stats = self.node.stats();
        assert!(self.node.table().len() <= LIMITS.members, "{} members", self.node.table().len());
        assert!(stats.queue_depth <= LIMITS.queue_entries as u64);
        let (mut events, mut words) = (0, 0);
        while let Some(event) = self.node.poll_event() {
            let speech =
                matches!(event, Event::Broadcast { .. } | Event::Message { .. } | Event::Missed(_));
            *if speech { &mut words } else { &mut events } += 1;
        }
        assert!(events <= LIMITS.events + 1, "{events} events");
        assert!(words <= LIMITS.events + 1, "{words} words of hosts");
    }

    fn check_words(&self, own: &SignedRecord) {
        let said = own.record();
        assert!(self.regions.contains(&said.metadata.region), "others spoke for us: {said:?}");
        assert!(self.lifecycles.contains(&said.lifecycle), "others moved us: {said:?}");
        let present = self.node.member(id(NAMES[0])).map(|member| member.state);
        assert_eq!(present, Some(State::Alive), "we are alive to ourselves");
    }
}

/// An incarnation beside this one.
fn bent(at: Incarnation, offset: u8) -> Incarnation {
    let counter = match offset & 3 {
        0 | 1 => at.counter,
        2 => at.counter.saturating_add(1),
        _ => at.counter.saturating_sub(1),
    };
    let generation = if offset & 0x38 == 0x38 { at.generation + 7 } else { at.generation };
    Incarnation { generation, counter }
}

fn lifecycle(offset: u8) -> Lifecycle {
    match offset >> 4 & 3 {
        0 | 1 => Lifecycle::Active,
        2 => Lifecycle::Cordoned,
        _ if offset & 0xc0 == 0xc0 => Lifecycle::Leaving,
        _ => Lifecycle::Active,
    }
}

/// A record as its own member signs it; the node's own too, from another of its lives.
fn signed(member: usize, counter: u32, lifecycle: Lifecycle, region: &str) -> SignedRecord {
    let name = NAMES[member];
    let incarnation = Incarnation { generation: BORN, counter };
    let mut record =
        first_record(CLUSTER, incarnation, vec![address(member)], metadata(name, region));
    record.lifecycle = lifecycle;
    SignedRecord::author(record, &Names::of(name)).expect("it fits")
}

/// A proof that any of the peers have signed.
fn proof(subject: usize, at: Incarnation, round: u64, input: &mut Input<'_>) -> Proof {
    let finding = Finding { subject: id(NAMES[subject]), incarnation: at, round };
    let voters = u32::from(input.word()) << 1;
    let voters = (1..NAMES.len()).filter(|n| voters & 1 << n != 0);
    let votes: Vec<SignedVote> = voters.map(|n| vote(n, &finding)).collect();
    Proof::new(finding, &votes)
}

fn vote(voter: usize, finding: &Finding) -> SignedVote {
    let (voter, authority) = (id(NAMES[voter]), Names::of(NAMES[voter]));
    let seal = Seal::sign(finding, CLUSTER, voter, &authority).expect("it signs");
    SignedVote { voter, seal }
}

/// What a member says to everybody, or others in its name.
fn broadcast(member: usize, at: Incarnation, input: &mut Input<'_>) -> Vec<u8> {
    let bend = input.byte();
    let origin = id(NAMES[member]);
    let sequence = u64::from(input.byte());
    let id = BroadcastId { origin, generation: at.generation, sequence };
    let key = (bend & 1 == 0).then_some(u64::from(bend & 6));
    let said = Broadcast { topic: bend.into(), key, bytes: vec![bend; input.below(600)] };
    let by = if bend & 0x38 == 0x38 { NAMES[1] } else { NAMES[member] };
    let said_at = WallTime(BORN + u64::from(input.word()) * 100);
    said.sign(id, said_at, (CLUSTER, 1_168), &Names::of(by)).expect("it fits")
}

/// An operator's order about one life of a member.
fn order(subject: usize, incarnation: Incarnation, bend: u8) -> Vec<u8> {
    let sentence = Sentence {
        cluster_id: CLUSTER,
        subject: id(NAMES[subject]),
        incarnation,
        issued: WallTime(BORN - 1_000 + u64::from(bend) * 100),
        lifetime: Duration::from_secs(3_600),
    };
    sentence.sign(&Names::operator()).expect("it signs")
}
