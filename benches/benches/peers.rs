//! What the list of 10,000 members costs who asks for it, and what it does to the agent's probes.
//!
//! `cargo bench -p mesh-gossip-benches --bench peers`
//!
//! One agent with its control server, three companions that it gossips with, on an engine of their
//! own, and members that have left, so that the list is long and nobody is dialled in vain: their
//! records are signed under certificates of their own and come by bulk sync, as any state does. Then
//! one client asks for `/control/peers` over HTTP as fast as it is answered, in turns with quiet:
//! the machine's moods meet both. In each turn is told
//!
//! - how long the answers took, first byte asked to last byte read;
//! - the round trips of the agent's own probes, from the decision to send until the ack was read,
//!   by the buckets of its `/metrics`: whatever delays the shard is in them;
//! - how long the shard took to get to an order that came at any moment: how late it is;
//! - how long it took to read so much plain memory as the list has records, a byte a page, that nobody
//!   had read since the turn before. Where that is slow the kernel watches who uses which page, and
//!   the first answer of a turn pays for it; large pages help (`GLIBC_TUNABLES=glibc.malloc.hugetlb=1`).
//!
//! The run fails, with exit code 1, where a probe failed; and at full size where an answer took longer
//! than 200 ms, or the probes beside it were late.
//!
//! Invariant: the list is complete in every answer, and an unchanged view is answered 304.

use std::error::Error;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use mesh_gossip::bootstrap::{CaValidity, CertificateAuthority, Subject};
use mesh_gossip::options::{
    Advertise, AgentOptions, ControlOptions, Delivery, EngineOptions, PeerLabels, UpkeepOptions,
};
use mesh_gossip::proto::Config;
use mesh_gossip::tls::authority::{Intermediates, MeshAuthority};
use mesh_gossip::tls::credentials::{Credentials, server_name};
use mesh_gossip::{Agent, Engine};
use mesh_gossip_proto::membership::record::first_record;
use mesh_gossip_proto::sync::snapshot;
use mesh_gossip_proto::{
    DenseTable, Incarnation, Instant as MeshInstant, Lifecycle, Member, MemberTable, Metadata,
    SignedRecord, State,
};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const CLUSTER: &str = "peers";
const VALIDITY: Duration = Duration::from_secs(86_400);
const COMPANIONS: usize = 3;
/// Short, so that a turn holds many probes.
const INTERVAL: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(10);
/// What an answer may take at full size.
const MOST_ANSWER: Duration = Duration::from_millis(200);
/// What a round trip of a probe may take in 99 of 100 cases, in milliseconds: a tenth of the interval in
/// which it has to be over.
const MOST_ROUND_TRIP_MS: f64 = 10.0;
/// Between two orders to the shard.
const ORDER_EVERY: Duration = Duration::from_millis(2);
/// Body of one frame of a bulk exchange: half of what a frame may hold.
const PIECE: usize = 16 * 1_024;
/// What a member takes in the agent's memory, record and certificate, about.
const A_RECORD: usize = 1_024;
const PAGE: usize = 4_096;
const PATH: &str = "/control/peers";

/// How much is done.
struct Extent {
    members: usize,
    /// After which a probe has failed; at full size it has to be over within its interval.
    ping_timeout: Duration,
    turns: usize,
    turn: Duration,
}

fn main() -> Outcome {
    // Without `--bench` this is a look whether it works at all.
    let in_full = std::env::args().any(|argument| argument == "--bench");
    let extent = if in_full {
        Extent { members: 10_000, ping_timeout: INTERVAL, turns: 12, turn: Duration::from_secs(5) }
    } else {
        Extent { members: 200, ping_timeout: PATIENCE, turns: 2, turn: Duration::from_millis(300) }
    };
    let office = CertificateAuthority::create(
        "peers.bench",
        CLUSTER,
        SystemTime::now(),
        CaValidity::default(),
    )?;
    let (engine, apart) =
        (Engine::start(EngineOptions::default())?, Engine::start(EngineOptions::default())?);
    let control = ControlOptions::at((Ipv4Addr::LOCALHOST, 0).into());
    let agent = Agent::start(&engine, options(&office, &extent, "agent", Some(control), None)?)?;
    let seed = Some(agent.local_address());
    let companions = (0..COMPANIONS)
        .map(|number| {
            Ok(Agent::start(
                &apart,
                options(&office, &extent, &format!("companion-{number}"), None, seed)?,
            )?)
        })
        .collect::<Outcome<Vec<Agent>>>()?;
    let begun = Instant::now();
    tell_of_the_departed(&office, &agent, extent.members - COMPANIONS - 1)?;
    wait("the list is complete", || Ok(agent.view().view.listed().count() == extent.members))?;
    wait("all agree and nothing waits", || {
        let mut calm = true;
        for one in companions.iter().chain([&agent]) {
            let inspection = one.inspect(PATIENCE)?;
            calm &= inspection.agrees && inspection.stats.queue_depth == 0;
        }
        Ok(calm)
    })?;
    println!("{} members listed after {:.1} s", extent.members, begun.elapsed().as_secs_f64());
    let at = agent.control_address().ok_or("it has a control server")?;
    unchanged_is_not_told_twice(at, extent.members)?;

    let mut made: Vec<Duration> = (0..20)
        .map(|_| {
            let begun = Instant::now();
            let bytes = agent.peers_json(PATIENCE)?.len();
            assert!(bytes > extent.members * 200, "{bytes} bytes");
            Ok(begun.elapsed())
        })
        .collect::<Outcome<_>>()?;
    println!("made in {:.1} ms without HTTP (median of 20)", ms(quantile(&mut made, 0.5)));

    let (mut quiet, mut loaded) = (Turns::default(), Turns::default());
    let idle = vec![1_u8; extent.members * A_RECORD];
    for number in 0..extent.turns {
        // Whichever comes first has no advantage in the long run.
        let under_load = number % 4 == 1 || number % 4 == 2;
        let turns = if under_load { &mut loaded } else { &mut quiet };
        let begun = Instant::now();
        let read: usize = idle.iter().step_by(PAGE).map(|byte| usize::from(black_box(*byte))).sum();
        assert_eq!(read, idle.len().div_ceil(PAGE));
        turns.machine.push(begun.elapsed());
        turns.take(&agent, extent.turn, under_load.then_some((at, extent.members)))?;
    }
    quiet.tell("quiet");
    loaded.tell("under load");
    let broken = [quiet.broken("quiet", in_full), loaded.broken("under load", in_full)].concat();
    if !broken.is_empty() {
        return Err(broken.join("; ").into());
    }
    println!("all kept: answers within {MOST_ANSWER:?}, probes in time, none failed");
    Ok(())
}

/// Of a node that is certified by `office`.
fn options(
    office: &CertificateAuthority,
    extent: &Extent,
    node_id: &str,
    control: Option<ControlOptions>,
    seed: Option<SocketAddr>,
) -> Outcome<AgentOptions> {
    let issued = office.issue(&Subject::new(node_id, "worker"), SystemTime::now(), VALIDITY)?;
    let mut protocol = Config::new(CLUSTER);
    protocol.interval = INTERVAL;
    protocol.ping_timeout = extent.ping_timeout;
    // Whoever has left stays listed.
    protocol.left_retention = Duration::from_secs(3_600);
    Ok(AgentOptions {
        protocol,
        node_id: node_id.into(),
        role: "worker".into(),
        region: "eu-central".into(),
        mesh_version: "1.0.0".into(),
        http3_support: false,
        labels: [("rack".to_owned(), "r1".to_owned())].into(),
        bind: (Ipv4Addr::LOCALHOST, 0).into(),
        advertise: Advertise::default(),
        seeds: seed.iter().map(ToString::to_string).collect(),
        seed_file: None,
        metadata_refresh: Duration::from_secs(30),
        events: Delivery::default(),
        tls: issued.tls_options(office),
        control,
        peer_labels: PeerLabels::Off,
        upkeep: UpkeepOptions::default(),
    })
}

/// Brings `count` members to the agent that have said goodbye, in one bulk exchange.
fn tell_of_the_departed(office: &CertificateAuthority, agent: &Agent, count: usize) -> Outcome {
    let mut table = DenseTable::for_cluster(CLUSTER, 8);
    for number in 0..count {
        table.put(departed(office, number)?);
    }
    let teller = office.issue(&Subject::new("teller", "worker"), SystemTime::now(), VALIDITY)?;
    let credentials = Credentials::load(&teller.tls_options(office), CLUSTER, "teller", "worker")?;
    let local =
        table.members(mesh_gossip_proto::membership::roster::List::Present).next().map(Member::id);
    let view = table.view(local.ok_or("there is one")?, 1, MeshInstant::ORIGIN);
    let tls = rustls::ClientConnection::new(Arc::clone(credentials.sync_client()), server_name())?;
    let stream = TcpStream::connect(agent.local_address())?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut stream = rustls::StreamOwned::new(tls, stream);
    let frame = |kind: u8, body: &[u8]| {
        let mut bytes = vec![kind, 0];
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(body);
        bytes
    };
    stream.write_all(&frame(1, b""))?;
    for piece in snapshot::pieces(&view, view.taken(), &[], PIECE) {
        stream.write_all(&frame(2, &piece.bytes))?;
    }
    stream.write_all(&frame(3, b""))?;
    stream.flush()?;
    // The agent's own state comes back, to the end.
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
}

fn departed(office: &CertificateAuthority, number: usize) -> Outcome<Member> {
    let node_id = format!("node-{number:06}");
    let issued = office.issue(&Subject::new(&node_id, "worker"), SystemTime::now(), VALIDITY)?;
    let credentials = Credentials::load(&issued.tls_options(office), CLUSTER, &node_id, "worker")?;
    let authority = MeshAuthority::new(Arc::new(credentials), Arc::new(Intermediates::default()));
    let metadata = Metadata {
        cluster_id: CLUSTER.into(),
        node_id,
        role: "worker".into(),
        region: "eu-central".into(),
        mesh_version: "1.0.0".into(),
        labels: [("rack".to_owned(), "r1".to_owned())].into(),
        ..Metadata::default()
    };
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let incarnation = Incarnation { generation: since.as_millis() as u64, counter: 0 };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let mut record = first_record(CLUSTER, incarnation, vec![address], metadata);
    record.lifecycle = Lifecycle::Leaving;
    let record =
        Arc::new(SignedRecord::author(record, &authority).ok_or("every part fits its field")?);
    Ok(Member { record, state: State::Alive, since: MeshInstant::ORIGIN })
}

/// Asks, and asks again with the tag: 304 while the view stands.
fn unchanged_is_not_told_twice(at: SocketAddr, members: usize) -> Outcome {
    for _attempt in 0..20 {
        let (head, body) = get(at, "")?;
        assert!(head.starts_with("HTTP/1.0 200"), "{head}");
        assert_eq!(listed(&body), members);
        let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).ok_or("a tag")?;
        let begun = Instant::now();
        let (again, body) = get(at, &format!("If-None-Match: {tag}\r\n"))?;
        // The view may have changed in between.
        if again.starts_with("HTTP/1.0 304") {
            assert!(body.is_empty());
            println!("unchanged: 304 after {:.2} ms", ms(begun.elapsed()));
            return Ok(());
        }
    }
    Err("an unchanged view was told again 20 times".into())
}

fn get(at: SocketAddr, headers: &str) -> Outcome<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {PATH} HTTP/1.0\r\nHost: {at}\r\n{headers}\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or("a head")?;
    let body = answer.split_off(end + 4);
    Ok((String::from_utf8(answer)?, body))
}

fn listed(body: &[u8]) -> usize {
    body.windows(10).filter(|ten| ten == b"{\"nodeId\":").count()
}

/// What was found in turns of one kind.
#[derive(Default)]
struct Turns {
    answers: Vec<Duration>,
    orders: Vec<Duration>,
    /// To read again what had not been read since the last turn.
    machine: Vec<Duration>,
    /// Upper bounds of the buckets in milliseconds, and round trips in each.
    round_trips: Vec<(f64, u64)>,
    failed: u64,
    seconds: f64,
}

impl Turns {
    fn take(
        &mut self,
        agent: &Agent,
        turn: Duration,
        load: Option<(SocketAddr, usize)>,
    ) -> Outcome {
        let before = (round_trips(agent)?, agent.inspect(PATIENCE)?.stats.probes_failed);
        let (begun, over) = (Instant::now(), &AtomicBool::new(false));
        let answers = thread::scope(|scope| -> Outcome<Vec<Duration>> {
            let asking = load.map(|(at, members)| {
                scope.spawn(move || ask_on(at, members, over).map_err(|error| error.to_string()))
            });
            while begun.elapsed() < turn {
                let asked = Instant::now();
                agent.inspect(PATIENCE)?;
                self.orders.push(asked.elapsed());
                thread::sleep(ORDER_EVERY);
            }
            over.store(true, Ordering::Release);
            match asking {
                None => Ok(Vec::new()),
                Some(asking) => Ok(asking.join().map_err(|_| "a client panicked")??),
            }
        })?;
        self.seconds += begun.elapsed().as_secs_f64();
        self.answers.extend(answers);
        self.failed += agent.inspect(PATIENCE)?.stats.probes_failed - before.1;
        let after = round_trips(agent)?;
        self.round_trips.resize(after.len(), (0.0, 0));
        for ((sum, after), before) in self.round_trips.iter_mut().zip(after).zip(before.0) {
            *sum = (after.0, sum.1 + after.1 - before.1);
        }
        Ok(())
    }

    /// Round trips of probes that ended.
    fn acknowledged(&self) -> u64 {
        self.round_trips.last().map_or(0, |(_, count)| *count)
    }

    /// Milliseconds that this share of the round trips did not exceed, as an upper bound of a bucket.
    fn round_trip(&self, share: f64) -> f64 {
        let wanted = (share * self.acknowledged() as f64).ceil() as u64;
        let bucket = self.round_trips.iter().find(|(_, below)| *below >= wanted);
        bucket.map_or(f64::INFINITY, |(bound, _)| *bound)
    }

    /// What was promised and not kept. Times count at full size alone, on a machine that has nothing
    /// else to do; counts always.
    fn broken(&self, name: &str, in_full: bool) -> Vec<String> {
        let mut broken = Vec::new();
        if self.acknowledged() == 0 || self.failed > 0 {
            let acknowledged = self.acknowledged();
            broken.push(format!("{name}: {} probes failed, {acknowledged} did not", self.failed));
        }
        let longest = self.answers.iter().max().copied().unwrap_or_default();
        if in_full && longest > MOST_ANSWER {
            broken.push(format!("{name}: an answer took {:.1} ms", ms(longest)));
        }
        let late = self.round_trip(0.99);
        if in_full && late > MOST_ROUND_TRIP_MS {
            broken.push(format!("{name}: 99 % of the probes' round trips took up to {late} ms"));
        }
        broken
    }

    fn tell(&mut self, name: &str) {
        let count = self.acknowledged();
        assert!(count > 0, "no probe was acknowledged");
        let bucket = |share: f64| self.round_trip(share);
        println!(
            "{name}: {count} round trips of probes, 50 % within {} ms, 99 % {} ms, all {} ms; {} failed",
            bucket(0.5),
            bucket(0.99),
            bucket(1.0),
            self.failed
        );
        let orders = [0.5, 0.99, 0.999, 1.0].map(|share| ms(quantile(&mut self.orders, share)));
        let [half, most, nearly, all] = orders;
        println!(
            "{name}: shard late by {half:.3} ms (50 %), {most:.3} ms (99 %), {nearly:.3} ms (99.9 %), {all:.3} ms (most), {} orders",
            self.orders.len()
        );
        let [half, most] = [0.5, 1.0].map(|share| ms(quantile(&mut self.machine, share)));
        println!("{name}: idle memory read again in {half:.1} ms (median), {most:.1} ms (most)");
        if !self.answers.is_empty() {
            let [half, most_of, most] =
                [0.5, 0.99, 1.0].map(|share| ms(quantile(&mut self.answers, share)));
            println!(
                "{name}: {} answers in {:.0} s, 50 % within {half:.1} ms, 99 % {most_of:.1} ms, all \
                 {most:.1} ms",
                self.answers.len(),
                self.seconds
            );
        }
    }
}

/// Asks until it is over; returns how long each answer took.
fn ask_on(at: SocketAddr, members: usize, over: &AtomicBool) -> Outcome<Vec<Duration>> {
    let mut took = Vec::new();
    while !over.load(Ordering::Acquire) {
        let begun = Instant::now();
        let (head, body) = get(at, "")?;
        took.push(begun.elapsed());
        assert!(head.starts_with("HTTP/1.0 200"), "{head}");
        assert_eq!(listed(&body), members);
    }
    Ok(took)
}

/// The buckets of the agent's round trips, cumulative: upper bound in milliseconds and count.
fn round_trips(agent: &Agent) -> Outcome<Vec<(f64, u64)>> {
    let text = agent.metrics_text(PATIENCE)?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("mesh_gossip_rtt_ms_bucket{"));
    lines
        .map(|line| {
            let (_, rest) = line.split_once("le=\"").ok_or("a bound")?;
            let (bound, rest) = rest.split_once('"').ok_or("a bound")?;
            let (_, count) = rest.split_once("} ").ok_or("a count")?;
            Ok((bound.replace("+Inf", "inf").parse()?, count.trim().parse::<f64>()? as u64))
        })
        .collect()
}

fn wait(what: &str, mut holds: impl FnMut() -> Outcome<bool>) -> Outcome {
    let until = Instant::now() + Duration::from_secs(120);
    while !holds()? {
        if Instant::now() > until {
            return Err(format!("after two minutes still not: {what}").into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The value that this share of the others is at most.
fn quantile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    let place = (share * values.len() as f64).ceil() as usize;
    values.get(place.saturating_sub(1)).copied().unwrap_or_default()
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}
