//! N nodes, one clock, one network.
//!
//! The world is another driver of `Node`: it owns many of them and replaces sockets, clock and
//! entropy. Whatever is to come stands in one calendar; handling it changes nodes, whose datagrams,
//! streams and deadlines go into the calendar again.
//!
//! Invariant: happenings are handled in order of (time, number), so that a run follows from its
//! seed alone; a past life's happenings die with its life number.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mesh_gossip_proto::{
    Command, Config, DenseTable, Duration, Instant, MemberId, Metadata, Node, State,
};

use crate::authority::Notary;
use crate::fault::{Fault, Fired};
use crate::ledger::{Books, Ledger, Sessions};
use crate::network::Network;
use crate::pool::{Buffer, Pool};
use crate::sessions::{Links, Parts, Target};
use crate::table::SimTable;
use crate::trace::{Kind, Trace};
use crate::watch::{Roll, Told, Watch};
use crate::wheel::Wheel;
use certificates::Papers;
use foresight::Foresight;
use views::Views;
pub use views::{Behind, Settling};

mod certificates;
mod checking;
mod driving;
mod faults;
mod foresight;
mod handshakes;
mod streams;
mod tracing;
mod views;
mod warm;

pub(crate) const CLUSTER: &str = "sim";
const EPOCH_MS: u64 = 1_700_000_000_000;
/// Nodes that one world can hold: what their addresses tell apart.
const MOST_NODES: usize = (1 << 24) - 2;

/// Something that is to come.
#[derive(Clone, Copy, Debug)]
enum What {
    Wake {
        node: u32,
    },
    Datagram {
        to: u32,
        from: u32,
        life: u32,
        serial: u32,
        bytes: Buffer,
    },
    Handshake {
        client: u32,
        target: Target,
        serial: u32,
        step: Step,
    },
    Hint {
        to: u32,
        from: u32,
    },
    /// The next step of a walk through the sessions under certificates before this one.
    Rekey {
        node: u32,
        edition: u32,
    },
    /// An old session is looked at, whose end was announced so often.
    Retire {
        node: u32,
        peer: u32,
        serial: u32,
        told: u8,
    },
    /// A peer says which session it sends on.
    Word {
        to: u32,
        from: u32,
        life: u32,
        serial: u32,
    },
    Exchange {
        from: u32,
        to: u32,
        life: u32,
        wish: u32,
        stalls: u32,
    },
    Fault {
        number: u32,
    },
    Fold,
}

/// A step of a handshake: what arrives, or a client's deadline.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A ClientHello, or a question for the rest of the answer: so many parts of that have come.
    Init { acknowledges: u8 },
    /// Parts of the server's flight.
    Resp { parts: Parts },
    /// Parts of the client's last flight.
    Last { parts: Parts },
    /// The server has the first part of that.
    Acked,
    /// The server's sealed confirmation.
    Confirm,
    /// The client's deadline.
    Retry,
}

/// One simulated machine. The fields stand in memory as they stand here: what every happening
/// needs is on the first two lines.
#[repr(C, align(64))]
struct Host<T: SimTable> {
    node: Option<Box<Node<T>>>,
    paused: Option<Box<Held>>,
    /// When the next wake-up in the calendar comes.
    wake: Option<Instant>,
    /// When the node wants one.
    due: Option<Instant>,
    life: u32,
    links: Links,
    skew_ms: i64,
}

/// What waits at a paused node.
#[derive(Default)]
struct Held {
    arrived: VecDeque<What>,
    leaving: VecDeque<(mesh_gossip_proto::Transmit, Buffer)>,
}

/// A simulation.
pub struct World<T: SimTable = DenseTable> {
    /// The network, free to be changed between runs.
    pub network: Network,
    seed: u64,
    rng: fastrand::Rng,
    now: Instant,
    config: Arc<Config>,
    seeds: Vec<SocketAddr>,
    common: T::Common,
    notary: Notary,
    hosts: Vec<Host<T>>,
    /// Apart from the hosts: close together, so that they stay in the processor's cache.
    ids: Vec<MemberId>,
    /// Who was ever dialled as a seed.
    is_seed: Vec<bool>,
    roll: Roll,
    wheel: Wheel<What>,
    foresight: Foresight,
    pool: Pool,
    wishes: Vec<Vec<MemberId>>,
    spare_wishes: Vec<u32>,
    faults: Vec<Fault>,
    fired: Fired,
    books: Books,
    recording: bool,
    told: Vec<Told>,
    watches: Vec<Box<dyn Watch>>,
    /// Every pair of first lives has a session, without its being written down.
    acquainted: bool,
    /// What was said lately, for replays; kept only when asked for.
    tape: Option<VecDeque<Vec<u8>>>,
    trace: Trace,
    next_serial: u32,
    papers: Papers,
    /// Kept only of nodes that began behind the others.
    views: Option<Box<Views>>,
    buffer: Vec<u8>,
}

impl<T: SimTable> World<T> {
    /// An empty world; everything in it follows from `seed`.
    pub fn seeded(seed: u64) -> Self {
        let config = Config::new(CLUSTER);
        Self {
            network: Network::default(),
            seed,
            rng: fastrand::Rng::with_seed(seed),
            now: Instant::ORIGIN,
            common: T::common(&config),
            config: Arc::new(config),
            seeds: vec![address(0)],
            notary: Notary::default(),
            hosts: Vec::new(),
            ids: Vec::new(),
            is_seed: Vec::new(),
            roll: Roll::default(),
            wheel: Wheel::new(),
            foresight: Foresight::default(),
            pool: Pool::default(),
            wishes: Vec::new(),
            spare_wishes: Vec::new(),
            faults: Vec::new(),
            fired: Fired::default(),
            books: Books::new(),
            recording: true,
            told: Vec::new(),
            watches: Vec::new(),
            acquainted: false,
            tape: None,
            trace: Trace::default(),
            next_serial: 1,
            papers: Papers::default(),
            views: None,
            buffer: Vec::new(),
        }
    }

    /// The parameters of nodes added from here on.
    #[must_use]
    pub fn configured(mut self, edit: impl FnOnce(&mut Config)) -> Self {
        edit(Arc::make_mut(&mut self.config));
        if self.hosts.is_empty() {
            self.common = T::common(&self.config);
        }
        self
    }

    /// The nodes that everybody added from here on has as seeds; at first the first one alone.
    #[must_use]
    pub fn seeds(mut self, nodes: &[usize]) -> Self {
        self.seeds = nodes.iter().map(|node| address(*node)).collect();
        self
    }

    /// Whether events are kept for [`World::told`]: they are unless the world began
    /// [warm](World::warm).
    #[must_use]
    pub fn recording(mut self, keep: bool) -> Self {
        self.recording = keep;
        self
    }

    /// Shows every event to `watch` from here on.
    #[must_use]
    pub fn watched(mut self, watch: impl Watch) -> Self {
        self.watches.push(Box::new(watch));
        self
    }

    /// Every two nodes have met before: no first handshake is needed between them.
    #[must_use]
    pub fn acquainted(mut self) -> Self {
        self.acquainted = true;
        self
    }

    /// Adds `count` nodes that start at once and join through the seeds.
    #[must_use]
    pub fn nodes(mut self, count: usize) -> Self {
        for _ in 0..count {
            self.add();
        }
        self
    }

    /// Adds and starts one node, which joins through the seeds; returns its index.
    pub fn add(&mut self) -> usize {
        let index = self.enter();
        self.start(index);
        index
    }

    /// As [`World::add`], as a fault: a member that nobody knows comes later.
    pub fn join_cold(&mut self) -> usize {
        self.fired.joins += 1;
        self.add()
    }

    /// Kills a node without a goodbye.
    pub fn crash(&mut self, index: usize) {
        if self.hosts[index].node.is_some() {
            self.fired.crashes += 1;
        }
        self.end(index);
        self.trace.add(self.now.as_nanos(), Kind::Fault, index, b"crash");
    }

    /// Starts a crashed node again, as a new life.
    pub fn restart(&mut self, index: usize) {
        assert!(self.hosts[index].node.is_none(), "{}: node {index} runs", self.replay());
        self.fired.restarts += 1;
        self.start(index);
    }

    /// Makes a node slow, or ends that: it neither receives nor sends, its timers run on time.
    /// What arrives waits as in a socket's buffer, what it sends as well.
    pub fn pause(&mut self, index: usize, paused: bool) {
        if paused {
            self.pause_node(index);
        } else {
            self.resume_node(index);
        }
    }

    /// Gives a node a command.
    pub fn command(&mut self, index: usize, command: Command) {
        let (now, replay) = (self.now, self.replay());
        if command == Command::Leave {
            self.roll.leaves(index);
        }
        let node = self.hosts[index].node.as_mut().unwrap_or_else(|| panic!("{replay}"));
        node.handle_command(now, command).unwrap_or_else(|error| panic!("{replay}: {error}"));
        self.drain(index);
    }

    /// The host of a node says something to all; says whether the node took it.
    pub fn broadcast(&mut self, index: usize, broadcast: mesh_gossip_proto::Broadcast) -> bool {
        let now = self.now;
        let Some(node) = self.hosts[index].node.as_mut() else { return false };
        let taken = node.handle_command(now, Command::Broadcast(broadcast)).is_ok();
        self.drain(index);
        taken
    }

    /// A fault for later: `at` counts from the start of the world.
    pub fn schedule(&mut self, at: Duration, fault: Fault) {
        let number = self.faults.len() as u32;
        self.faults.push(fault);
        let at = (Instant::ORIGIN + at).max(self.now);
        self.wheel.push(at, What::Fault { number });
    }

    /// Runs for `span` of virtual time.
    pub fn run_for(&mut self, span: Duration) {
        let (until, started) = (self.now + span, std::time::Instant::now());
        while self.next_time().is_some_and(|at| at <= until) {
            self.step();
        }
        self.now = until;
        self.books.worked(started.elapsed());
    }

    /// Runs until `condition` holds, which is asked after every happening; returns how long that
    /// took.
    ///
    /// # Panics
    /// When it does not hold within `limit`.
    pub fn run_until(&mut self, limit: Duration, condition: impl Fn(&Self) -> bool) -> Duration {
        let (begun, started) = (self.now, std::time::Instant::now());
        while !condition(self) {
            if self.next_time().is_none_or(|at| at > begun + limit) {
                panic!("{}: the condition did not hold within {limit:?}", self.replay());
            }
            self.step();
        }
        self.books.worked(started.elapsed());
        self.now.since(begun)
    }

    /// Runs until `condition` holds, which is asked every `pace`; `None` when it does not hold
    /// within `limit`.
    pub fn run_until_every(
        &mut self,
        pace: Duration,
        limit: Duration,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        let begun = self.now;
        while !condition(self) {
            if self.now.since(begun) >= limit {
                return None;
            }
            self.run_for(pace);
        }
        Some(self.now.since(begun))
    }

    /// What node `a` believes of node `b`.
    pub fn sees(&self, a: usize, b: usize) -> Option<State> {
        let node = self.hosts[a].node.as_ref()?;
        node.member(self.ids[b]).map(|member| member.state)
    }

    /// Whether every running node holds every running node Alive and nobody else present.
    pub fn converged(&self) -> bool {
        self.agree(&self.running())
    }

    /// Whether each of these nodes holds all of them Alive and nobody else present.
    pub fn agree(&self, nodes: &[usize]) -> bool {
        let digest = self.digest_of(nodes);
        nodes.iter().all(|by| self.holds_alive(*by, nodes, digest))
    }

    /// Whether `by` holds these nodes Alive and nobody else present.
    fn agrees_with(&self, by: usize, nodes: &[usize]) -> bool {
        self.holds_alive(by, nodes, self.digest_of(nodes))
    }

    fn holds_alive(&self, by: usize, nodes: &[usize], digest: u64) -> bool {
        let table = self.node(by).table();
        let counts = table.counts();
        counts.present() == nodes.len()
            && counts.suspect == 0
            // Equal digests mean equal members; where a record is news to some, look closer.
            && (table.digest() == digest
                || nodes.iter().all(|other| self.sees(by, *other) == Some(State::Alive)))
    }

    /// Number of nodes ever added.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether no node was added.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
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

    /// A node's metadata as configured at its start.
    pub fn metadata(&self, index: usize) -> Metadata {
        metadata(index, self.network.region(index))
    }

    /// Id of a node.
    pub fn id(&self, index: usize) -> MemberId {
        self.ids[index]
    }

    /// Who is who, and who is well.
    pub fn roll(&self) -> &Roll {
        &self.roll
    }

    /// The parameters of nodes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Everything that was told, in order, as far as it was [recorded](World::recording).
    pub fn told(&self) -> &[Told] {
        &self.told
    }

    /// The watch of this kind that was [hired](World::watched) first.
    pub fn watch<W: Watch>(&self) -> Option<&W> {
        self.watches.iter().find_map(|watch| (&**watch as &dyn std::any::Any).downcast_ref())
    }

    /// As [`World::watch`], to change it.
    pub fn watch_mut<W: Watch>(&mut self) -> Option<&mut W> {
        self.watches
            .iter_mut()
            .find_map(|watch| (&mut **watch as &mut dyn std::any::Any).downcast_mut())
    }

    /// How often faults took effect.
    pub fn fired(&self) -> &Fired {
        &self.fired
    }

    /// What the network cost since the books were last [opened](World::reset_ledger).
    pub fn ledger(&self) -> Ledger {
        self.books.ledger(self.now)
    }

    /// What one node sent since the books were last opened.
    pub fn spent(&self, index: usize) -> crate::ledger::Spent {
        *self.books.sent_by(index)
    }

    /// The measured window begins.
    pub fn reset_ledger(&mut self) {
        self.books.reset(self.now);
    }

    /// Sessions that running nodes hold at present.
    pub fn sessions(&self) -> Sessions {
        let live = |host: &Host<T>| host.node.is_some().then(|| host.links.live(self.now));
        let mut counts: Vec<usize> = self.hosts.iter().filter_map(live).collect();
        counts.sort_unstable();
        Sessions {
            p50: counts.get(counts.len() / 2).copied().unwrap_or(0),
            max: counts.last().copied().unwrap_or(0),
        }
    }

    /// Virtual time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Protocol datagrams sent since the books were opened.
    pub fn datagrams(&self) -> u64 {
        self.books.ledger(self.now).total.datagrams
    }

    /// Hash over every delivery, wake-up, fault and event so far.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// What to say when something fails.
    pub fn replay(&self) -> String {
        format!("seed {:#x} at {:?} (replay: World::seeded({:#x}))", self.seed, self.now, self.seed)
    }

    /// XOR of what these nodes' own records contribute to a digest.
    fn digest_of(&self, nodes: &[usize]) -> u64 {
        let share = |index: &usize| {
            let node = self.node(*index);
            mesh_gossip_proto::membership::digest::share(node.id(), node.local().hash())
        };
        nodes.iter().map(share).fold(0, |digest, share| digest ^ share)
    }
}

/// A node's address is 10.0.0.0/8 plus its index plus one.
pub(crate) fn address(index: usize) -> SocketAddr {
    assert!(index < MOST_NODES, "{index} nodes are more than addresses");
    let [_, b, c, d] = (index as u32 + 1).to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(10, b, c, d), 17_421))
}

/// The index that an address stands for.
fn index_of(address: SocketAddr) -> Option<usize> {
    let SocketAddr::V4(address) = address else { return None };
    let [10, b, c, d] = address.ip().octets() else { return None };
    (u32::from_be_bytes([0, b, c, d]) as usize).checked_sub(1)
}

/// The name of a node, on which its id depends.
pub(crate) fn name(index: usize) -> String {
    format!("n{index}")
}

fn metadata(index: usize, region: u8) -> Metadata {
    Metadata {
        node_id: name(index),
        role: "worker".into(),
        region: format!("r{}", region + 1),
        mesh_version: "1".into(),
        ..Metadata::default()
    }
}
