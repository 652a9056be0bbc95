//! Nothing is allocated for a datagram once a mesh has settled: not for receiving it, finding and
//! opening its session, reading it, acting on it, sealing and sending what follows.
//!
//! A mesh lives on one backend in one thread, as on a shard: its sockets, sessions and nodes are
//! those of production, its time is virtual. The allocator counts what this thread asks for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration as Span, SystemTime};

#[path = "../src/io/counting.rs"]
mod counting;

use counting::{Counting, asked_by};
use mesh_gossip::bootstrap::{CaValidity, CertificateAuthority, Subject};
use mesh_gossip::io::{self, AnyDatagrams, Datagrams, SocketId};
use mesh_gossip::link::{HotKeys, LinkEvent, LinkOptions, Links, MOST_HOT};
use mesh_gossip::options::BackendChoice;
use mesh_gossip::proto::node::Birth;
use mesh_gossip::proto::{
    Command, Config, DenseTable, Duration, Event, Instant, Metadata, Node, WallTime,
};
use mesh_gossip::tls::authority::{Intermediates, MeshAuthority};
use mesh_gossip::tls::credentials::Credentials;

const CLUSTER: &str = "c";
const AGENTS: usize = 8;
/// Virtual time in which the mesh forms, and every table, queue and histogram finds its size.
const WARM_UP: Duration = Duration::from_secs(300);
/// Datagrams that are watched.
const WATCHED: u64 = 10_000;
/// Real turns that may find nothing of what is on its way over loopback.
const EMPTY_MAX_TURNS: usize = 200;
const PATIENCE: Span = Span::from_millis(50);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations by what they were made for.
#[derive(Debug, Default)]
struct Asked {
    datagrams: u64,
    timers: u64,
}

/// One agent as it sits on its shard.
struct Agent {
    node: Node<DenseTable>,
    links: Links,
    socket: SocketId,
    neighbours: Vec<mesh_gossip::proto::MemberId>,
}

struct Mesh {
    io: AnyDatagrams,
    now: Instant,
    agents: Vec<Agent>,
    by_socket: HashMap<SocketId, usize>,
    plain: Vec<u8>,
}

impl Mesh {
    fn new(mut io: AnyDatagrams) -> Self {
        let ca =
            CertificateAuthority::create("t", CLUSTER, SystemTime::now(), CaValidity::default())
                .unwrap();
        let keys = Arc::new(HotKeys::of(MOST_HOT));
        let now = Instant::ORIGIN + Duration::from_secs(60);
        let mut agents = Vec::new();
        let mut first = None;
        for number in 0..AGENTS {
            let socket = io::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = socket.local_addr().unwrap();
            let mut agent = Agent::born(now, &ca, number, address, io.open(socket).unwrap());
            agent.links.share_keys(Arc::clone(&keys));
            let seeds = Vec::from_iter(first);
            agent.node.handle_command(now, Command::Join(seeds)).unwrap();
            first.get_or_insert(address);
            agents.push(agent);
        }
        let by_socket = agents.iter().enumerate().map(|(at, agent)| (agent.socket, at)).collect();
        Self { io, now, agents, by_socket, plain: Vec::new() }
    }

    /// Lives on until `span` has passed or so many datagrams were received.
    fn live(&mut self, span: Duration, datagrams: u64) -> Asked {
        let (end, before) = (self.now + span, self.io.stats().received);
        let mut asked = Asked::default();
        loop {
            asked.datagrams += asked_by(|| self.settle());
            let received = self.io.stats().received - before;
            let due = self.agents.iter().filter_map(Agent::due).min().unwrap_or(end);
            if due >= end || received >= datagrams {
                return asked;
            }
            self.now = self.now.max(due);
            asked.timers += asked_by(|| {
                for agent in &mut self.agents {
                    agent.fire(self.now);
                }
            });
        }
    }

    /// Carries everything that is said in answer to each other at this moment.
    fn settle(&mut self) {
        let Self { io, now, agents, by_socket, plain } = self;
        let mut empty = 0;
        loop {
            for agent in &mut *agents {
                agent.drain(*now, io, plain);
            }
            let stats = io.stats();
            let waits = stats.sent - stats.send_failed > stats.received;
            let received = io
                .turn(
                    Some(if waits { PATIENCE } else { Span::ZERO }),
                    &mut |socket, from, bytes| {
                        let agent = &mut agents[by_socket[&socket]];
                        if let Some(delivery) = agent.links.receive(*now, from, bytes) {
                            let (from, path) = (delivery.from, delivery.path);
                            agent.node.handle_datagram(*now, from, path, delivery.payload);
                        }
                    },
                )
                .unwrap();
            let stats = io.stats();
            if received == 0 && stats.sent - stats.send_failed == stats.received {
                return;
            }
            empty = if received == 0 { empty + 1 } else { 0 };
            assert!(empty < EMPTY_MAX_TURNS, "loopback loses datagrams: {stats:?}");
        }
    }
}

impl Agent {
    fn born(
        now: Instant,
        ca: &CertificateAuthority,
        number: usize,
        address: SocketAddr,
        socket: SocketId,
    ) -> Self {
        let name = format!("n{number}");
        let lives = Span::from_secs(86_400);
        let issued = ca.issue(&Subject::new(&name, "worker"), SystemTime::now(), lives).unwrap();
        let credentials =
            Arc::new(Credentials::load(&issued.tls_options(ca), CLUSTER, &name, "worker").unwrap());
        let local = credentials.member_id();
        let authority =
            Arc::new(MeshAuthority::new(credentials, Arc::new(Intermediates::default())));
        let links = Links::new(LinkOptions {
            local,
            cluster_id: CLUSTER.into(),
            authority: authority.clone(),
            seed: number as u64,
            linger: Duration::from_secs(5),
        });
        let born = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let birth = Birth {
            config: Arc::new(Config::new(CLUSTER).validate().unwrap()),
            metadata: Metadata {
                node_id: name,
                role: "worker".into(),
                cluster_id: CLUSTER.into(),
                region: "r".into(),
                mesh_version: "1".into(),
                endpoint: address.to_string(),
                ..Metadata::default()
            },
            addresses: vec![address],
            born: WallTime(born.as_millis() as u64),
            least_generation: 0,
            authority,
            seed: number as u64,
        };
        Self { node: Node::new(now, birth).unwrap(), links, socket, neighbours: Vec::new() }
    }

    fn due(&self) -> Option<Instant> {
        Instant::earliest(self.node.poll_timeout().map(|(at, _)| at), self.links.poll_timeout())
    }

    fn fire(&mut self, now: Instant) {
        self.links.handle_timeout(now);
        if self.node.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.node.handle_timeout(now);
        }
    }

    fn drain(&mut self, now: Instant, io: &mut AnyDatagrams, plain: &mut Vec<u8>) {
        loop {
            while let Some(event) = self.links.poll_event() {
                if let LinkEvent::Proven { peer, path, seed } = event {
                    self.node.handle_peer_proven(now, peer, path, seed);
                }
            }
            while let Some((peer, address)) = self.node.poll_silent() {
                self.links.look_afresh(now, peer, address);
            }
            let mut any = false;
            while let Some(transmit) = self.node.poll_transmit(now, plain) {
                any = true;
                let links = &mut self.links;
                let mut seal = |room: &mut [u8]| links.send_into(now, &transmit, plain, room);
                io.send_with(self.socket, &mut seal);
            }
            while let Some((to, datagram)) = self.links.poll_transmit() {
                any = true;
                io.send(self.socket, to, &datagram);
            }
            if !any {
                break;
            }
        }
        if !self.node.neighbours().eq(self.neighbours.iter().copied()) {
            self.neighbours.clear();
            self.neighbours.extend(self.node.neighbours());
            self.links.keep_warm(self.neighbours.iter().copied());
        }
        while let Some(event) = self.node.poll_event() {
            assert!(!matches!(event, Event::Suspected { .. } | Event::Left { .. }), "{event:?}");
        }
        while let Some(wish) = self.node.poll_stream() {
            self.node.handle_stream_closed(wish.peer, wish.extent(), true);
        }
        while self.node.poll_list_wish().is_some() {}
    }
}

fn nothing_is_allocated_for_a_datagram(choice: BackendChoice) {
    let io = match io::start(choice) {
        Ok((io, _)) => io,
        Err(error) => {
            assert!(std::env::var_os("MESH_GOSSIP_BOTH_BACKENDS").is_none(), "{error}");
            return println!("SKIPPED: {error}");
        }
    };
    let mut mesh = Mesh::new(io);
    mesh.live(WARM_UP, u64::MAX);
    for agent in &mesh.agents {
        assert_eq!(agent.node.view(mesh.now).counts().present(), AGENTS, "the mesh has formed");
    }
    let (begun, before) = (mesh.now, mesh.io.stats());
    let asked = mesh.live(Duration::from_secs(86_400), WATCHED);
    let stats = mesh.io.stats();
    assert!(stats.received - before.received >= WATCHED, "{stats:?}");
    assert_eq!(asked.datagrams, 0, "{asked:?} while {WATCHED} datagrams went to and fro");
    // A look at a random member (rule D-11) gathers whom it need not look at: twice an interval at
    // most, whatever the traffic.
    let intervals =
        mesh.now.since(begun).as_secs_f64() / Config::new(CLUSTER).interval.as_secs_f64();
    let most = 2 * AGENTS as u64 * (intervals as u64 + 1);
    assert!(asked.timers <= most, "{asked:?} in {intervals} intervals");
}

#[test]
fn nothing_is_allocated_for_a_datagram_on_uring() {
    nothing_is_allocated_for_a_datagram(BackendChoice::Uring);
}

#[test]
fn nothing_is_allocated_for_a_datagram_on_mmsg() {
    nothing_is_allocated_for_a_datagram(BackendChoice::Mmsg);
}

/// The count counts.
#[test]
fn an_allocation_is_seen() {
    assert_eq!(asked_by(|| drop(std::hint::black_box(Box::new(7_u64)))), 1);
    assert_eq!(asked_by(|| ()), 0);
}
