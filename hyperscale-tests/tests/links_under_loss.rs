//! What the simulator says of sessions and handshakes is what the engine's links do, at every loss.
//!
//! The same nodes live twice in virtual time: in a simulated world, whose sessions are a model, and
//! over the engine's own links with TLS and keys as they are. Both networks lose as much and take as
//! long. What handshakes cost, and how many there are, must be alike.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use hyperscale_tests::World;
use mesh_gossip::bootstrap::{CaValidity, CertificateAuthority, Subject};
use mesh_gossip::link::{LinkEvent, LinkOptions, Links};
use mesh_gossip::tls::authority::{Intermediates, MeshAuthority};
use mesh_gossip::tls::credentials::Credentials;
use mesh_gossip_proto::node::Birth;
use mesh_gossip_proto::{Command, Config, DenseTable, Duration, Instant, Metadata, Node, WallTime};

const CLUSTER: &str = "links";
const NODES: usize = 8;
const SEEDS: u64 = 3;
/// Until views are complete and sessions made, without a loss; then the window.
const WARM_UP: Duration = Duration::from_secs(60);
/// Without a loss; sessions that nobody uses end after as long.
const WINDOW: Duration = Duration::from_secs(600);
/// With losses: a handshake beside a ping is rare at any of them (rule D-5), and
/// rarest where silences are most common.
const LOSSY_WINDOW: Duration = Duration::from_secs(10_800);
/// One-way latency, nanoseconds, as between simulated nodes.
const LATENCY: std::ops::RangeInclusive<u64> = 300_000..=1_000_000;
const UDP_IP: u64 = 28;
const LOSSES: [f64; 4] = [0.0, 0.05, 0.1, 0.2];
/// Means may differ by chance, and by what a certificate happens to be long.
const MOST_APART: f64 = 0.05;

/// What was counted in a window, over all seeds.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    handshakes: u64,
    handshake_datagrams: u64,
    handshake_bytes: u64,
    datagrams: u64,
    bytes: u64,
}

impl Counted {
    fn each(&self, other: &Self, act: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            handshakes: act(self.handshakes, other.handshakes),
            handshake_datagrams: act(self.handshake_datagrams, other.handshake_datagrams),
            handshake_bytes: act(self.handshake_bytes, other.handshake_bytes),
            datagrams: act(self.datagrams, other.datagrams),
            bytes: act(self.bytes, other.bytes),
        }
    }

    /// Datagrams and bytes of a handshake, on average.
    fn of_one(&self) -> [f64; 2] {
        let of = |count: u64| count as f64 / self.handshakes.max(1) as f64;
        [of(self.handshake_datagrams), of(self.handshake_bytes)]
    }
}

/// A node over its links.
struct Person {
    node: Node<DenseTable>,
    links: Links,
}

/// A datagram on its way.
struct Flying {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

struct Town {
    now: Instant,
    rng: fastrand::Rng,
    loss: f64,
    people: Vec<Person>,
    flying: BTreeMap<(Instant, u64), Flying>,
    departures: u64,
}

fn address(place: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, place as u8 + 1], 17_421))
}

fn place_of(address: SocketAddr) -> usize {
    match address {
        SocketAddr::V4(address) => usize::from(address.ip().octets()[3]) - 1,
        SocketAddr::V6(address) => panic!("nobody lives at {address}"),
    }
}

/// One certificate each for all seeds.
fn cast() -> &'static [Arc<Credentials>] {
    static CAST: OnceLock<Vec<Arc<Credentials>>> = OnceLock::new();
    CAST.get_or_init(|| {
        let (now, validity) = (SystemTime::now(), CaValidity::default());
        let ca = CertificateAuthority::create("links.local", CLUSTER, now, validity).unwrap();
        let credentials = |place: usize| {
            let name = format!("n{place}");
            let lives = Duration::from_secs(30 * 86_400);
            let issued = ca.issue(&Subject::new(&name, "worker"), now, lives).unwrap();
            let tls = issued.tls_options(&ca);
            Arc::new(Credentials::load(&tls, CLUSTER, &name, "worker").unwrap())
        };
        (0..NODES).map(credentials).collect()
    })
}

impl Person {
    fn born(now: Instant, place: usize, seed: u64) -> Self {
        let credentials = Arc::clone(&cast()[place]);
        let local = credentials.member_id();
        let authority =
            Arc::new(MeshAuthority::new(credentials, Arc::new(Intermediates::default())));
        let seed = seed << 8 | place as u64;
        let links = Links::new(LinkOptions {
            local,
            cluster_id: CLUSTER.into(),
            authority: authority.clone(),
            seed,
            linger: Duration::from_secs(5),
        });
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let birth = Birth {
            config: Arc::new(Config::new(CLUSTER).validate().unwrap()),
            metadata: Metadata {
                node_id: format!("n{place}"),
                role: "worker".into(),
                cluster_id: CLUSTER.into(),
                region: "r1".into(),
                mesh_version: "1".into(),
                ..Metadata::default()
            },
            addresses: vec![address(place)],
            born: WallTime(since.as_millis() as u64),
            least_generation: 0,
            authority,
            seed,
        };
        Self { node: Node::new(now, birth).unwrap(), links }
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

    /// As a shard does it; what is to be sent comes back.
    fn drain(&mut self, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut out = Vec::new();
        loop {
            while let Some(event) = self.links.poll_event() {
                if let LinkEvent::Proven { peer, path, seed } = event {
                    self.node.handle_peer_proven(now, peer, path, seed);
                }
            }
            while let Some((peer, address)) = self.node.poll_silent() {
                self.links.look_afresh(now, peer, address);
            }
            let before = out.len();
            let (mut plain, mut sealed) = (Vec::new(), Vec::new());
            while let Some(transmit) = self.node.poll_transmit(now, &mut plain) {
                let path = self.links.send(now, &transmit, &plain, &mut sealed);
                out.extend(path.map(|path| (path, sealed.clone())));
            }
            out.extend(std::iter::from_fn(|| self.links.poll_transmit()));
            if out.len() == before {
                break;
            }
        }
        while self.node.poll_event().is_some() {}
        while let Some(wish) = self.node.poll_stream() {
            self.node.handle_stream_closed(wish.peer, wish.extent(), true);
        }
        while self.node.poll_list_wish().is_some() {}
        out
    }
}

impl Town {
    fn seeded(seed: u64) -> Self {
        let now = Instant::ORIGIN + Duration::from_secs(10);
        let people = (0..NODES).map(|place| Person::born(now, place, seed)).collect();
        let rng = fastrand::Rng::with_seed(seed);
        let mut town = Self { now, rng, loss: 0.0, people, flying: BTreeMap::new(), departures: 0 };
        for person in &mut town.people[1..] {
            person.node.handle_command(now, Command::Join(vec![address(0)])).unwrap();
        }
        (0..NODES).for_each(|place| town.collect(place));
        town
    }

    /// What leaves at one instant for one place arrives in order.
    fn collect(&mut self, place: usize) {
        let mut delays = BTreeMap::new();
        for (to, bytes) in self.people[place].drain(self.now) {
            let delay = *delays.entry(to).or_insert_with(|| self.rng.u64(LATENCY));
            if self.rng.f64() < self.loss {
                continue;
            }
            self.departures += 1;
            let at = self.now + Duration::from_nanos(delay);
            let flying = Flying { from: address(place), to, bytes };
            self.flying.insert((at, self.departures), flying);
        }
    }

    fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            let arrives = self.flying.first_key_value().map(|((at, _), _)| *at);
            let due = self.people.iter().filter_map(Person::due).min();
            let Some(next) = Instant::earliest(arrives, due).filter(|next| *next <= until) else {
                break;
            };
            self.now = self.now.max(next);
            if arrives == Some(next)
                && let Some((_, Flying { from, to, mut bytes })) = self.flying.pop_first()
            {
                let place = place_of(to);
                let person = &mut self.people[place];
                if let Some(delivery) = person.links.receive(self.now, from, &mut bytes) {
                    let (peer, path) = (delivery.from, delivery.path);
                    person.node.handle_datagram(self.now, peer, path, delivery.payload);
                }
                self.collect(place);
                continue;
            }
            for place in 0..self.people.len() {
                if self.people[place].due().is_some_and(|due| due <= self.now) {
                    self.people[place].fire(self.now);
                    self.collect(place);
                }
            }
        }
        self.now = until;
    }

    fn counted(&self) -> Counted {
        let mut sum = Counted::default();
        for person in &self.people {
            let links = person.links.stats();
            let own = Counted {
                handshakes: links.dials,
                handshake_datagrams: links.handshake_datagrams_out,
                handshake_bytes: links.handshake_bytes_out + UDP_IP * links.handshake_datagrams_out,
                datagrams: links.sealed,
                bytes: links.bytes_out - links.handshake_bytes_out + UDP_IP * links.sealed,
            };
            sum = sum.each(&own, |a, b| a + b);
        }
        sum
    }
}

fn window(loss: f64) -> Duration {
    match loss {
        0.0 => WINDOW,
        0.2 => LOSSY_WINDOW * 3 / 2,
        _ => LOSSY_WINDOW,
    }
}

fn over_links(loss: f64, seed: u64) -> Counted {
    let mut town = Town::seeded(seed);
    town.run_for(WARM_UP);
    let now = town.now;
    for person in &town.people {
        assert_eq!(person.node.view(now).counts().present(), NODES, "seed {seed}: the mesh forms");
    }
    let before = town.counted();
    town.loss = loss;
    town.run_for(window(loss));
    town.counted().each(&before, |after, before| after - before)
}

fn simulated(loss: f64, seed: u64) -> Counted {
    let mut world: World = World::seeded(seed).nodes(NODES);
    world.run_for(WARM_UP);
    assert!(world.converged(), "{}", world.replay());
    world.network.loss = loss;
    world.reset_ledger();
    world.run_for(window(loss));
    let total = world.ledger().total;
    Counted {
        handshakes: total.handshakes,
        handshake_datagrams: total.handshake_datagrams,
        handshake_bytes: total.handshake_bytes,
        datagrams: total.datagrams,
        bytes: total.bytes,
    }
}

/// Events of which there were `a` in one place and `b` in another are as frequent there as here: chance
/// alone parts them farther once in ten thousand times.
fn are_alike(a: u64, b: u64) -> bool {
    a.abs_diff(b) as f64 <= 4.0 * ((a + b) as f64).sqrt()
}

fn apart(a: f64, b: f64) -> f64 {
    (a - b).abs() / a.max(b).max(1e-9)
}

/// Rules S-5, S-6, S-9 and S-18 as the simulator knows them: handshakes begun, what each costs, and what
/// sessions say of themselves.
#[test]
fn modelled_links_cost_what_real_ones_do_at_every_loss() {
    for loss in LOSSES {
        let all = |play: fn(f64, u64) -> Counted| {
            let runs = (0..SEEDS).map(|seed| play(loss, seed));
            runs.fold(Counted::default(), |sum, one| sum.each(&one, |a, b| a + b))
        };
        let (real, model) = (all(over_links), all(simulated));
        let (each, modelled) = (real.of_one(), model.of_one());
        println!(
            "loss {loss}: real {real:?}, each {each:?}; modelled {model:?}, each {modelled:?}"
        );
        if loss == 0.0 {
            assert_eq!(real.handshakes, 0, "{real:?}");
            assert_eq!((model.datagrams, model.bytes), (real.datagrams, real.bytes));
            continue;
        }
        let why = format!("loss {loss}, seeds 0 to {}: {real:?} over links, {model:?}", SEEDS - 1);
        assert!(real.handshakes > 1_000, "{why}");
        assert!(are_alike(real.handshakes, model.handshakes), "handshakes, {why}");
        for (real, model) in each.into_iter().zip(modelled) {
            assert!(apart(real, model) <= MOST_APART, "{real} and {model} a handshake, {why}");
        }
        assert!(apart(real.datagrams as f64, model.datagrams as f64) <= MOST_APART, "{why}");
        assert!(apart(real.bytes as f64, model.bytes as f64) <= MOST_APART, "{why}");
    }
}
