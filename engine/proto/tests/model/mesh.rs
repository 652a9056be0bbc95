//! Several real nodes and a network that permutes, repeats and loses what they say to each other,
//! among it lies about each other. Once it delivers, all of them hold the same.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use mesh_gossip_proto::membership::roster::List;
use mesh_gossip_proto::sync::snapshot;
use mesh_gossip_proto::wire::message::{Packet, Suspicion, kind};
use mesh_gossip_proto::{
    Baseline, Command, Config, Destination, Detector, Duration, Incarnation, Instant, MemberId,
    MemberTable, Metadata, Node, RecordHash, State,
};

use crate::check;
use crate::reference::Name;
use crate::stage::{BORN, CLUSTER, address, at, birth, death, id, metadata, record};

const LIVE: [Name; 4] = ["a", "b", "c", "d"];
/// Members of whom nothing but a record exists.
const GONE: [Name; 2] = ["e", "f"];
/// By then everybody must agree: the gone have been probed, doubted and buried.
const ENOUGH: Duration = Duration::from_secs(120);

#[derive(Clone, Debug)]
enum Happening {
    Delivered(usize),
    Repeated(usize),
    Lost(usize),
    Passes {
        ms: u64,
    },
    /// `by` claims that `of` is doubtful or dead, at its present incarnation or another.
    Lie {
        to: usize,
        by: usize,
        of: usize,
        counter: u32,
        death: bool,
    },
    Changed {
        who: usize,
        region: u8,
    },
}

fn happening() -> impl Strategy<Value = Happening> {
    let lie = (0usize..4, 0usize..4, 0usize..6, 0u32..3, any::<bool>());
    prop_oneof![
        8 => any::<usize>().prop_map(Happening::Delivered),
        2 => any::<usize>().prop_map(Happening::Repeated),
        4 => any::<usize>().prop_map(Happening::Lost),
        4 => (0u64..400).prop_map(|ms| Happening::Passes { ms }),
        2 => lie.prop_map(|(to, by, of, counter, death)| {
            Happening::Lie { to, by, of, counter, death }
        }),
        1 => (0usize..4, 0u8..3).prop_map(|(who, region)| Happening::Changed { who, region }),
    ]
}

struct Mesh {
    now: Instant,
    nodes: Vec<Node>,
    wire: Vec<(usize, usize, Vec<u8>)>,
    signed: Vec<Incarnation>,
}

impl Mesh {
    fn new(config: &Config) -> Self {
        let nodes: Vec<Node> = LIVE
            .iter()
            .enumerate()
            .map(|(n, name)| Node::new(at(0), birth(config.clone(), name, BORN, n as u64)).unwrap())
            .collect();
        let signed = nodes.iter().map(|node| node.local().record().incarnation).collect();
        let mut mesh = Self { now: at(0), nodes, wire: Vec::new(), signed };
        for (to, own) in LIVE.iter().enumerate() {
            for name in LIVE.into_iter().chain(GONE).filter(|name| name != own) {
                let mut packet = Packet::default();
                assert!(packet.push_raw(9_000, kind::RECORD, record(name, 0).envelope()));
                let from = (to + 1) % LIVE.len();
                mesh.deliver(to, from, packet.as_bytes());
            }
        }
        mesh
    }

    fn deliver(&mut self, to: usize, from: usize, bytes: &[u8]) {
        let (id, address) = (id(LIVE[from]), address(LIVE[from]));
        self.nodes[to].handle_datagram(self.now, id, address, bytes);
        self.collect();
    }

    fn collect(&mut self) {
        let mut buffer = Vec::new();
        for (from, node) in self.nodes.iter_mut().enumerate() {
            while let Some(transmit) = node.poll_transmit(self.now, &mut buffer) {
                let to = LIVE.iter().position(|name| Destination::Member(id(name)) == transmit.to);
                if let Some(to) = to {
                    self.wire.push((to, from, buffer.clone()));
                }
            }
            while node.poll_event().is_some() {}
        }
    }

    fn pass(&mut self, until: Instant) {
        while let Some(due) =
            self.nodes.iter().filter_map(Node::poll_timeout).map(|(due, _)| due).min()
            && due <= until
        {
            self.now = self.now.max(due);
            let now = self.now;
            for node in &mut self.nodes {
                if node.poll_timeout().is_some_and(|(due, _)| due <= now) {
                    node.handle_timeout(now);
                }
            }
            self.collect();
        }
        self.now = until;
    }

    /// Whole states go both ways.
    fn exchange(&mut self) {
        for one in 0..self.nodes.len() {
            while let Some(wish) = self.nodes[one].poll_stream() {
                let other = LIVE.iter().position(|name| id(name) == wish.peer);
                let Some(other) = other else { continue };
                for (to, from) in [(one, other), (other, one)] {
                    let view = self.nodes[from].view(self.now);
                    let bytes = snapshot::encode(&view, self.now, &wish.members);
                    self.nodes[to].handle_sync(self.now, id(LIVE[from]), &bytes);
                }
                self.nodes[one].handle_stream_closed(wish.peer, wish.extent(), true);
            }
        }
        self.collect();
    }

    fn happen(&mut self, happening: &Happening) {
        let pick = |wire: &Vec<_>, n: usize| (!wire.is_empty()).then(|| n % wire.len());
        match *happening {
            Happening::Delivered(n) => {
                if let Some(n) = pick(&self.wire, n) {
                    let (to, from, bytes) = self.wire.swap_remove(n);
                    self.deliver(to, from, &bytes);
                }
            }
            Happening::Repeated(n) => {
                if let Some(n) = pick(&self.wire, n) {
                    let (to, from, bytes) = self.wire[n].clone();
                    self.deliver(to, from, &bytes);
                }
            }
            Happening::Lost(n) => {
                if let Some(n) = pick(&self.wire, n) {
                    self.wire.swap_remove(n);
                }
            }
            Happening::Passes { ms } => self.pass(self.now + Duration::from_millis(ms)),
            Happening::Lie { to, by, of, counter, death: dead } => {
                let (name, accuser) = ([LIVE.as_slice(), &GONE].concat()[of], LIVE[by]);
                let incarnation = Incarnation { generation: BORN, counter }.into();
                let mut packet = Packet::default();
                if dead {
                    packet.push(9_000, &death(name, counter, accuser));
                } else {
                    let (id, accuser) = (id(name).0, id(accuser).0);
                    packet.push(9_000, &Suspicion { id, incarnation, accuser });
                }
                if to != by {
                    self.wire.push((to, by, packet.into_bytes()));
                }
            }
            Happening::Changed { who, region } => {
                let (name, region) = (LIVE[who], format!("region-{region}"));
                let cluster_id = CLUSTER.into();
                let changed = Metadata { region, cluster_id, ..metadata(name) };
                self.nodes[who]
                    .handle_command(self.now, Command::SetMetadata(changed))
                    .expect("a living member may change");
                self.collect();
            }
        }
    }

    /// Rules M-2 and M-4: incarnations only rise, and nobody holds what was not signed.
    fn is_sound(&mut self) -> Result<(), TestCaseError> {
        for (n, node) in self.nodes.iter().enumerate() {
            let own = node.local().record().incarnation;
            prop_assert!(own >= self.signed[n]);
            self.signed[n] = own;
            prop_assert_eq!(node.member(node.id()).map(|member| member.state), Some(State::Alive));
        }
        for node in &self.nodes {
            for (n, name) in LIVE.iter().enumerate() {
                let held = node.member(id(name)).map(|member| member.incarnation());
                prop_assert!(held.is_none_or(|held| held <= self.signed[n]), "{} unsigned", name);
            }
        }
        Ok(())
    }

    fn present(node: &Node) -> BTreeSet<(MemberId, State, RecordHash)> {
        let members = node.table().members(List::Present);
        members.map(|member| (member.id(), member.state, member.record.hash())).collect()
    }

    fn agrees(&self) -> bool {
        let views: Vec<_> = self.nodes.iter().map(Self::present).collect();
        let digests: BTreeSet<u64> =
            self.nodes.iter().map(|node| node.view(self.now).digest()).collect();
        digests.len() == 1
            && views.windows(2).all(|pair| pair[0] == pair[1])
            && views[0].len() == LIVE.len()
            && views[0].iter().all(|(_, state, _)| *state == State::Alive)
    }
}

fn ends_in_agreement(config: &Config, story: &[Happening]) -> Result<(), TestCaseError> {
    let mut mesh = Mesh::new(config);
    for happening in story {
        mesh.happen(happening);
        mesh.is_sound()?;
    }
    let end = mesh.now + ENOUGH;
    while !mesh.agrees() {
        prop_assert!(
            mesh.now < end,
            "no agreement: {:#?}",
            mesh.nodes.iter().map(Mesh::present).collect::<Vec<_>>()
        );
        mesh.pass(mesh.now + Duration::from_millis(10));
        for (to, from, bytes) in std::mem::take(&mut mesh.wire) {
            mesh.deliver(to, from, &bytes);
        }
        mesh.exchange();
        mesh.is_sound()?;
    }
    Ok(())
}

fn baselines() -> [(Detector, Baseline); 3] {
    let large = Baseline { promise: false, ..Baseline::default() };
    [
        (Detector::Swim, Baseline::default()),
        (Detector::Lifeguard, Baseline::default()),
        (Detector::Lifeguard, large),
    ]
}

/// Rules M-3, R-3, F-7, A-2, H-1 and H-3: loss, repetition, disorder and lies pass.
#[test]
fn once_everything_is_delivered_all_hold_the_same() {
    let story = prop::collection::vec(happening(), 0..120);
    for (detector, baseline) in baselines() {
        let config = Config { detector, baseline, ..Config::new(CLUSTER) };
        check("mesh::once_everything_is_delivered_all_hold_the_same", 24, &story, |story| {
            ends_in_agreement(&config, &story)
        });
    }
}
