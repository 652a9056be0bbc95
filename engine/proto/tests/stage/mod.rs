//! One real node on a stage: its peers are names, their words are bytes, time is an argument.
#![allow(dead_code, reason = "each test binary uses a part of the stage")]

pub(crate) mod observers;

use std::net::SocketAddr;
use std::sync::Arc;

use mesh_gossip_proto::detector::proof::Proof;
use mesh_gossip_proto::detector::vote::{Finding, Seal, SignedVote};
use mesh_gossip_proto::membership::record::{Claim, first_record};
use mesh_gossip_proto::node::Birth;
use mesh_gossip_proto::wire::message::{
    Ack, Body, Death, Message, Messages, Packet, Suspicion, WireIncarnation, kind,
};
use mesh_gossip_proto::{
    Authority, Config, Destination, Duration, Event, Incarnation, Instant, Lifecycle, MemberId,
    Metadata, Node, PeerError, Signature, SignedRecord, State, WallTime,
};
use sha2::{Digest, Sha256};

pub(crate) const CLUSTER: &str = "c";
pub(crate) const BORN: u64 = 1_000;

/// A certificate is the names on it; a signature is `salt` and a hash of those names and of what is
/// signed. Like one of ECDSA it can be rewritten (another salt) and still hold;
/// what follows makes it as long as one of RSA.
pub(crate) struct Names {
    pub(crate) leaf: Vec<u8>,
    pub(crate) salt: u8,
}

impl Names {
    pub(crate) fn of(node: &str) -> Self {
        Self { leaf: format!("{node}/{CLUSTER}/worker").into_bytes(), salt: 1 }
    }
}

impl Authority for Names {
    fn sign(&self, message: &[u8]) -> Option<Signature> {
        let bytes = [&[self.salt], hash(&self.leaf, message).as_slice()].concat();
        Some(Signature { scheme: 1, bytes })
    }
    fn leaf(&self) -> &[u8] {
        &self.leaf
    }
    fn intermediates(&self) -> &[[u8; 32]] {
        &[]
    }
    fn verify(&self, claim: &Claim<'_>) -> Result<(), PeerError> {
        let named = format!("{}/{}/{}", claim.node_id, claim.cluster_id, claim.role);
        // A second certificate of the same name has a number behind it.
        if claim.leaf.split(|byte| *byte == b'#').next() != Some(named.as_bytes()) {
            return Err(PeerError::Signature("the certificate names another"));
        }
        if claim.signature.get(1..33) == Some(hash(claim.leaf, claim.message).as_slice()) {
            Ok(())
        } else {
            Err(PeerError::Signature("the signature is of something else"))
        }
    }
}

fn hash(leaf: &[u8], message: &[u8]) -> [u8; 32] {
    Sha256::digest([&(leaf.len() as u64).to_le_bytes(), leaf, message].concat()).into()
}

pub(crate) fn at(ms: u64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(ms)
}

pub(crate) fn ms(instant: Instant) -> u64 {
    instant.as_nanos() / 1_000_000
}

pub(crate) fn id(node: &str) -> MemberId {
    MemberId::derive(CLUSTER, node)
}

pub(crate) fn address(node: &str) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], u16::from(node.as_bytes()[0])))
}

pub(crate) fn metadata(node: &str) -> Metadata {
    Metadata {
        node_id: node.into(),
        role: "worker".into(),
        region: "r".into(),
        mesh_version: "1".into(),
        ..Metadata::default()
    }
}

pub(crate) fn incarnation(counter: u32) -> Incarnation {
    Incarnation { generation: BORN, counter }
}

/// A signed record of `node` in any life.
pub(crate) fn signed(
    node: &str,
    incarnation: Incarnation,
    lifecycle: Lifecycle,
    region: &str,
) -> SignedRecord {
    let metadata = Metadata { region: region.into(), ..metadata(node) };
    let mut record = first_record(CLUSTER, incarnation, vec![address(node)], metadata);
    record.lifecycle = lifecycle;
    SignedRecord::author(record, &Names::of(node)).unwrap()
}

pub(crate) fn record(node: &str, counter: u32) -> SignedRecord {
    signed(node, incarnation(counter), Lifecycle::Active, "r")
}

pub(crate) fn birth(config: Config, name: &str, born: u64, seed: u64) -> Birth {
    Birth {
        config: config.into(),
        metadata: metadata(name),
        addresses: vec![address(name)],
        born: WallTime(born),
        least_generation: 0,
        authority: Arc::new(Names::of(name)),
        seed,
    }
}

pub(crate) fn doubt(of: &str, counter: u32, accuser: &str) -> Suspicion {
    let incarnation: WireIncarnation = incarnation(counter).into();
    Suspicion { id: id(of).0, incarnation, accuser: id(accuser).0 }
}

pub(crate) fn death(of: &str, counter: u32, announcer: &str) -> Death {
    Death {
        id: id(of).0,
        incarnation: incarnation(counter).into(),
        announcer: id(announcer).0,
        age_ms: 0.into(),
        proof: 0.into(),
    }
}

pub(crate) fn finding(of: &str, counter: u32, round: u64) -> Finding {
    Finding { subject: id(of), incarnation: incarnation(counter), round }
}

/// A vote that `voter` signed.
pub(crate) fn signed_vote(voter: &str, finding: &Finding) -> SignedVote {
    let seal = Seal::sign(finding, CLUSTER, id(voter), &Names::of(voter)).unwrap();
    SignedVote { voter: id(voter), seal }
}

/// A proof that all of `voters` signed.
pub(crate) fn proof_of(of: &str, counter: u32, round: u64, voters: &[&str]) -> Proof {
    let finding = finding(of, counter, round);
    let votes: Vec<_> = voters.iter().map(|voter| signed_vote(voter, &finding)).collect();
    Proof::new(finding, &votes)
}

/// An entry of a full exchange.
pub(crate) fn entry(state: State, record: &SignedRecord) -> Vec<u8> {
    let mut bytes = vec![state as u8, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(&(record.envelope().len() as u32).to_le_bytes());
    bytes.extend_from_slice(record.envelope());
    bytes
}

/// A message that the node sent: when, to whom, kind and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    pub(crate) to: Destination,
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

/// A node named `a` and whoever answers it.
pub(crate) struct Stage {
    pub(crate) node: Node,
    pub(crate) now: Instant,
    pub(crate) sent: Vec<Sent>,
    /// Whose pings are answered at once.
    pub(crate) answering: Vec<String>,
    /// How often a deadline of the node has come.
    pub(crate) woken: usize,
    /// The b of whoever answers.
    pub(crate) fares: u16,
}

impl Stage {
    /// A node that knows `others`, all of whom answer.
    pub(crate) fn knowing(config: Config, others: &[&str]) -> Self {
        let config = config.validate().unwrap();
        let node = Node::new(at(0), birth(config, "a", BORN, 7)).unwrap();
        let answering = others.iter().map(ToString::to_string).collect();
        let mut stage =
            Self { node, now: at(0), sent: Vec::new(), answering, woken: 0, fares: u16::MAX };
        for other in others {
            stage.record(other, &record(other, 0));
        }
        stage.drain();
        stage.sent.clear();
        stage
    }

    pub(crate) fn tell(&mut self, from: &str, kind: u8, body: &[u8]) {
        let mut packet = Packet::default();
        assert!(packet.push_raw(32_000, kind, body));
        self.node.handle_datagram(self.now, id(from), address(from), packet.as_bytes());
        self.drain();
    }

    pub(crate) fn say<B: Body>(&mut self, from: &str, body: &B) {
        self.tell(from, B::KIND, body.as_bytes());
    }

    pub(crate) fn record(&mut self, from: &str, record: &SignedRecord) {
        self.tell(from, kind::RECORD, record.envelope());
    }

    pub(crate) fn state(&self, of: &str) -> Option<State> {
        self.node.member(id(of)).map(|member| member.state)
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.node.poll_event()).collect()
    }

    /// Lets time pass until `ms` after the origin, every deadline on its minute.
    pub(crate) fn until(&mut self, ms: u64) {
        while let Some((due, _)) = self.node.poll_timeout()
            && due <= at(ms)
        {
            self.now = self.now.max(due);
            self.node.handle_timeout(self.now);
            self.woken += 1;
            self.drain();
        }
        self.now = at(ms);
    }

    /// Messages sent of one kind.
    pub(crate) fn sent_of(&self, kind: u8) -> Vec<&Sent> {
        self.sent.iter().filter(|sent| sent.kind == kind).collect()
    }

    /// Takes out what the node sends, and answers its pings.
    pub(crate) fn drain(&mut self) {
        let mut buffer = Vec::new();
        while let Some(transmit) = self.node.poll_transmit(self.now, &mut buffer) {
            let mut answers = Vec::new();
            let mut rest = buffer.as_slice();
            while let [kind, low, high, tail @ ..] = rest {
                let (body, tail) = tail.split_at(usize::from(u16::from_le_bytes([*low, *high])));
                let (at, to, kind) = (self.now, transmit.to, *kind);
                self.sent.push(Sent { at, to, kind, body: body.to_vec() });
                rest = tail;
            }
            for message in Messages::new(&buffer) {
                if let (Ok(Message::Ping(ping)), Destination::Member(to)) = (message, transmit.to) {
                    answers.push((to, ping.sequence));
                }
            }
            for (to, sequence) in answers {
                let name = self.answering.iter().find(|name| id(name) == to).cloned();
                let (Some(name), Some(member)) = (name, self.node.member(to)) else { continue };
                let ack = Ack {
                    sequence,
                    incarnation: member.incarnation().into(),
                    digest: 0.into(),
                    baseline: self.fares.into(),
                    phase_error: 0.into(),
                };
                self.say(&name, &ack);
            }
        }
    }
}
