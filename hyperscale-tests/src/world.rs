//! N nodes, one clock, one network.
//!
//! Invariant: happenings are handled in order of (time, number), so that a run follows from its
//! seed alone; a crashed node's past happenings die with its life number.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mesh_gossip_proto::membership::roster::List;
use mesh_gossip_proto::node::Birth;
use mesh_gossip_proto::sync::snapshot;
use mesh_gossip_proto::{
    Command, Config, DenseTable, Destination, Duration, Event, Instant, Member, MemberId,
    MemberTable, Metadata, Node, State, StreamRequest, Transmit, WallTime,
};

use crate::authority::ModelAuthority;
use crate::network::Network;
use crate::trace::Trace;

const CLUSTER: &str = "sim";
const EPOCH_MS: u64 = 1_700_000_000_000;

/// An event of one node.
#[derive(Clone, Debug)]
pub struct Told {
    /// When.
    pub at: Instant,
    /// Index of the node.
    pub by: usize,
    /// What.
    pub event: Event,
}

enum Happening {
    Datagram { to: usize, from: usize, bytes: Vec<u8> },
    Proven { to: usize, peer: usize, seed: bool },
    Exchange { from: usize, to: usize, members: Vec<MemberId> },
    Wake { node: usize },
}

struct Scheduled {
    at: Instant,
    number: u64,
    life: (u32, u32),
    happening: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

struct Host<T: MemberTable> {
    node: Option<Node<T>>,
    id: MemberId,
    name: String,
    life: u32,
    wake: Option<Instant>,
    warm: BTreeSet<(usize, u32)>,
}

/// A simulation.
pub struct World<T: MemberTable = DenseTable> {
    /// The network, free to be changed between runs.
    pub network: Network,
    seed: u64,
    rng: fastrand::Rng,
    now: Instant,
    config: Config,
    hosts: Vec<Host<T>>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    next_number: u64,
    told: Vec<Told>,
    trace: Trace,
    datagrams: u64,
    buffer: Vec<u8>,
}

impl<T: MemberTable> World<T> {
    /// An empty world; everything in it follows from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self {
            network: Network::default(),
            seed,
            rng: fastrand::Rng::with_seed(seed),
            now: Instant::ORIGIN,
            config: Config::new(CLUSTER),
            hosts: Vec::new(),
            queue: BinaryHeap::new(),
            next_number: 0,
            told: Vec::new(),
            trace: Trace::default(),
            datagrams: 0,
            buffer: Vec::new(),
        }
    }

    /// The parameters of nodes added from here on.
    #[must_use]
    pub fn configured(mut self, edit: impl FnOnce(&mut Config)) -> Self {
        edit(&mut self.config);
        self
    }

    /// Adds `count` nodes that start at once; the first one is everybody's seed.
    #[must_use]
    pub fn nodes(mut self, count: usize) -> Self {
        for _ in 0..count {
            self.add();
        }
        self
    }

    /// Adds and starts one node; returns its index.
    pub fn add(&mut self) -> usize {
        let index = self.hosts.len();
        let name = format!("n{index}");
        let id = MemberId::derive(CLUSTER, &name);
        self.hosts.push(Host { node: None, id, name, life: 0, wake: None, warm: BTreeSet::new() });
        self.start(index);
        index
    }

    /// Kills a node without a goodbye.
    pub fn crash(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        host.node = None;
        host.life += 1;
        host.wake = None;
        host.warm.clear();
        self.trace.add(self.now.as_nanos(), 4, index, b"crash");
    }

    /// Starts a crashed node again, as a new life.
    pub fn restart(&mut self, index: usize) {
        assert!(self.hosts[index].node.is_none(), "{}: node {index} runs", self.replay());
        self.start(index);
    }

    /// Gives a node a command.
    pub fn command(&mut self, index: usize, command: Command) {
        let now = self.now;
        let replay = self.replay();
        let node = self.hosts[index].node.as_mut().unwrap_or_else(|| panic!("{replay}"));
        node.handle_command(now, command).unwrap_or_else(|error| panic!("{replay}: {error}"));
        self.drain(index);
    }

    /// Runs for `span` of virtual time.
    pub fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(at) = self.next_time().filter(|at| *at <= until) {
            self.step(at);
        }
        self.now = until;
    }

    /// Runs until `condition` holds; returns how long that took.
    ///
    /// # Panics
    /// When it does not hold within `limit`.
    pub fn run_until(&mut self, limit: Duration, condition: impl Fn(&Self) -> bool) -> Duration {
        let started = self.now;
        while !condition(self) {
            let next = self.next_time().filter(|at| *at <= started + limit);
            let Some(at) = next else {
                panic!("{}: the condition did not hold within {limit:?}", self.replay());
            };
            self.step(at);
        }
        self.now.since(started)
    }

    /// What node `a` believes of node `b`.
    pub fn sees(&self, a: usize, b: usize) -> Option<State> {
        let node = self.hosts[a].node.as_ref()?;
        node.member(self.hosts[b].id).map(|member| member.state)
    }

    /// Whether every running node holds every running node Alive and nobody else present.
    pub fn converged(&self) -> bool {
        let running = self.running();
        running.iter().all(|a| {
            let node = self.node(*a);
            node.table().counts().present() == running.len()
                && running.iter().all(|b| self.sees(*a, *b) == Some(State::Alive))
        })
    }

    /// Indices of the running nodes.
    pub fn running(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|index| self.hosts[*index].node.is_some()).collect()
    }

    /// A running node.
    pub fn node(&self, index: usize) -> &Node<T> {
        match &self.hosts[index].node {
            Some(node) => node,
            None => panic!("{}: node {index} does not run", self.replay()),
        }
    }

    /// The members that a node lists, present or departed.
    pub fn members_of(&self, index: usize, list: List) -> Vec<Member> {
        self.node(index).table().members(list).cloned().collect()
    }

    /// A node's metadata as configured at its start.
    pub fn metadata(&self, index: usize) -> Metadata {
        metadata(&self.hosts[index].name)
    }

    /// Id of a node.
    pub fn id(&self, index: usize) -> MemberId {
        self.hosts[index].id
    }

    /// Everything that was told, in order.
    pub fn told(&self) -> &[Told] {
        &self.told
    }

    /// Virtual time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Datagrams handed to the network.
    pub fn datagrams(&self) -> u64 {
        self.datagrams
    }

    /// Hash over every delivery and every event so far.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// What to say when something fails.
    pub fn replay(&self) -> String {
        format!("seed {:#x} at {:?} (replay: World::seeded({:#x}))", self.seed, self.now, self.seed)
    }

    fn start(&mut self, index: usize) {
        let authority = Arc::new(ModelAuthority::new(&self.hosts[index].name));
        let birth = Birth {
            config: self.config.clone(),
            metadata: self.metadata(index),
            addresses: vec![address(index)],
            born: WallTime(EPOCH_MS + self.now.as_nanos() / 1_000_000),
            authority,
            seed: self.seed ^ u64::from(self.hosts[index].life) << 32,
        };
        match Node::new(self.now, birth) {
            Ok(node) => self.hosts[index].node = Some(node),
            Err(error) => panic!("{}: {error}", self.replay()),
        }
        self.hosts[index].life += 1;
        self.command(index, Command::Join(vec![address(0)]));
    }

    fn next_time(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse(scheduled)| scheduled.at)
    }

    fn step(&mut self, at: Instant) {
        let Some(Reverse(scheduled)) = self.queue.pop() else { return };
        self.now = at;
        self.handle(scheduled);
    }

    fn handle(&mut self, Scheduled { life, happening, .. }: Scheduled) {
        let now = self.now;
        match happening {
            Happening::Wake { node: index } => {
                let host = &mut self.hosts[index];
                if host.life != life.1 || host.wake != Some(now) {
                    return;
                }
                host.wake = None;
                if let Some(node) = &mut host.node {
                    self.trace.add(now.as_nanos(), 0, index, &[]);
                    node.handle_timeout(now);
                }
                self.drain(index);
            }
            Happening::Datagram { to, from, bytes } => {
                let sender = self.hosts[from].id;
                if self.hosts[to].life != life.1 {
                    return;
                }
                self.trace.add(now.as_nanos(), 1, to, &bytes);
                if let Some(node) = &mut self.hosts[to].node {
                    node.handle_datagram(now, sender, address(from), &bytes);
                }
                self.drain(to);
            }
            Happening::Proven { to, peer, seed } => {
                let id = self.hosts[peer].id;
                if self.hosts[to].life != life.1 {
                    return;
                }
                self.trace.add(now.as_nanos(), 2, to, &id.0);
                if let Some(node) = &mut self.hosts[to].node {
                    node.handle_peer_proven(now, id, address(peer), seed);
                }
                self.drain(to);
            }
            Happening::Exchange { from, to, members } => self.exchange(life, from, to, &members),
        }
    }

    /// A stream carries whole states both ways, or one way where single members were asked for.
    fn exchange(&mut self, life: (u32, u32), from: usize, to: usize, members: &[MemberId]) {
        let now = self.now;
        if self.hosts[from].life != life.0 {
            return;
        }
        let cut = self.network.is_cut(from, to) || self.network.is_cut(to, from);
        let ids = (self.hosts[from].id, self.hosts[to].id);
        let state = |host: &Host<T>, wanted: &[MemberId]| {
            host.node.as_ref().map(|node| snapshot::encode(&node.view(now), now, wanted))
        };
        let theirs = if cut || self.hosts[to].life != life.1 {
            None
        } else {
            state(&self.hosts[to], members)
        };
        let ours = if members.is_empty() { state(&self.hosts[from], &[]) } else { None };
        self.trace.add(now.as_nanos(), 3, from, theirs.as_deref().unwrap_or(b"failed"));
        let complete = theirs.is_some();
        if complete && let (Some(ours), Some(node)) = (ours, &mut self.hosts[to].node) {
            node.handle_sync(now, ids.0, &ours);
        }
        if let Some(node) = &mut self.hosts[from].node {
            if let Some(theirs) = theirs {
                node.handle_sync(now, ids.1, &theirs);
            }
            node.handle_stream_closed(ids.1, complete);
        }
        self.drain(to);
        self.drain(from);
    }

    fn drain(&mut self, index: usize) {
        let now = self.now;
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(node) = &mut self.hosts[index].node {
            let Some(transmit) = node.poll_transmit(now, &mut buffer) else { break };
            self.carry(index, transmit, &buffer);
        }
        self.buffer = buffer;
        while let Some(node) = &mut self.hosts[index].node {
            let Some(event) = node.poll_event() else { break };
            self.trace.add(now.as_nanos(), 5, index, format!("{event:?}").as_bytes());
            self.told.push(Told { at: now, by: index, event });
        }
        while let Some(node) = &mut self.hosts[index].node {
            let Some(StreamRequest { address, members, .. }) = node.poll_stream() else { break };
            let to = usize::from(address.port() - 1);
            // A TCP handshake, a TLS handshake, the exchange.
            let delay = self.network.delay(&mut self.rng) * 6;
            let happening = Happening::Exchange { from: index, to, members };
            self.schedule(now + delay, index, to, happening);
        }
        let Some(node) = &self.hosts[index].node else { return };
        let wake = node.poll_timeout().map(|(at, _)| at.max(now));
        if let Some(at) = wake
            && self.hosts[index].wake.is_none_or(|set| at < set)
        {
            self.hosts[index].wake = Some(at);
            self.schedule(at, index, index, Happening::Wake { node: index });
        }
    }

    fn carry(&mut self, from: usize, transmit: Transmit, bytes: &[u8]) {
        self.datagrams += 1;
        let to = usize::from(transmit.address.port() - 1);
        let peer = (to, self.hosts[to].life);
        let cold = !self.hosts[from].warm.contains(&peer);
        let copies = self.network.carry(&mut self.rng, from, to);
        for delay in copies {
            let mut at = self.now + delay;
            if cold && self.hosts[to].node.is_some() {
                // A handshake goes before: the client has proof after one round trip, the
                // payload leaves after two.
                self.hosts[from].warm.insert(peer);
                let life = self.hosts[from].life;
                self.hosts[to].warm.insert((from, life));
                let proven = self.now + delay * 2;
                let seed = transmit.to == Destination::Seed;
                self.schedule(proven, to, from, Happening::Proven { to: from, peer: to, seed });
                at += delay * 4;
            }
            let happening = Happening::Datagram { to, from, bytes: bytes.to_vec() };
            self.schedule(at, from, to, happening);
        }
    }

    fn schedule(&mut self, at: Instant, from: usize, to: usize, happening: Happening) {
        let life = (self.hosts[from].life, self.hosts[to].life);
        let number = self.next_number;
        self.next_number += 1;
        self.queue.push(Reverse(Scheduled { at, number, life, happening }));
    }
}

/// A node's port is its index plus one.
fn address(index: usize) -> SocketAddr {
    let port = u16::try_from(index + 1).unwrap_or(u16::MAX);
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), port))
}

fn metadata(name: &str) -> Metadata {
    Metadata {
        node_id: name.into(),
        role: "worker".into(),
        region: "r1".into(),
        mesh_version: "1".into(),
        ..Metadata::default()
    }
}
